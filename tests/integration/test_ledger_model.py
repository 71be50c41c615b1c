"""The scripts on real servers against the model in proxy/core/holds.py, and whether the comparison is worth anything."""

import pytest

from tests.support.ledger_histories import compare, notices
from tests.support.ledger_machine import Mutation
from tests.support.ledger_mutations import MUTATIONS
from tests.support.redis_server import RedisServer

HISTORIES = 40
HISTORIES_TO_NOTICE = 400  # most mutations are noticed within ten


def test_scripts_and_model_agree(each_redis_server: RedisServer) -> None:
    compare(each_redis_server, HISTORIES)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.script}: {mutation.name}")
def test_a_rule_taken_out_of_a_script_is_noticed(redis_server: RedisServer, mutation: Mutation) -> None:
    assert notices(redis_server, mutation, HISTORIES_TO_NOTICE)
