"""The scripts on real servers against the model in proxy/core/holds.py, and whether the comparison is worth anything."""

import pytest

from tests.support.ledger_histories import agrees, compare, noticed_in
from tests.support.ledger_machine import LedgerMachine
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


def test_tokens_that_come_back_fill_a_bucket_at_most(redis_server: RedisServer) -> None:
    """Two holds, the bucket full again in between; one is given back, then a debt: once found by a long run."""
    machine = LedgerMachine(redis_server, None, lambda _: None)
    try:
        machine.begin(5000, 1)
        for seed in (94, 25769, 127, 0, 1949, 486):
            machine.do(seed)
            machine.check()
        assert machine.model.ends, "a hold was released, as in the run that found it"
    finally:
        machine.close()
