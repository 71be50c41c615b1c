"""The scripts on real servers against the model in proxy/core/holds.py, and whether the comparison is worth anything."""

import pytest

from tests.support.ledger_histories import agrees, compare, noticed_in
from tests.support.ledger_mutations import MUTATIONS
from tests.support.ledger_runner import Mutation
from tests.support.redis_server import RedisServer

HISTORIES = 40
HISTORIES_TO_NOTICE = 400  # where the one that a mutation names shows it no more; most are noticed within ten


def test_scripts_and_model_agree(each_redis_server: RedisServer) -> None:
    compare(each_redis_server, HISTORIES)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.script}: {mutation.name}")
def test_a_rule_taken_out_of_a_script_is_noticed(redis_server: RedisServer, mutation: Mutation) -> None:
    number = noticed_in(redis_server, mutation, HISTORIES_TO_NOTICE)
    assert number is not None
    assert agrees(redis_server, number)  # so that it was the mutation
