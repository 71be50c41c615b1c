"""Runs the ledger machine on a server: all histories must agree, or, with a mutation, one must not."""

from random import Random

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from proxy.ledger.scripts import load
from tests.support.ledger_machine import FIRST_CREDITS, LedgerMachine
from tests.support.ledger_runner import Mutation
from tests.support.redis_server import RedisServer

STEPS = 50
SEED_BITS = 64
seeds = st.integers(0, 2**SEED_BITS - 1)


def compare(server: RedisServer, histories: int) -> None:
    """Drives this many histories of 50 steps; raises with the shortest one where scripts and model differ."""

    class Histories(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.machine = LedgerMachine(server, None, note)

        def teardown(self) -> None:
            self.machine.close()

        @initialize(first=st.sampled_from(FIRST_CREDITS), seed=seeds)
        def begin(self, first: int, seed: int) -> None:
            self.machine.begin(first, seed)

        @rule(seed=seeds)
        def do(self, seed: int) -> None:
            self.machine.do(seed)

        @invariant()
        def both_sides_are_equal(self) -> None:
            self.machine.check()

    run_state_machine_as_test(Histories, settings=_settings(histories))


def agrees(server: RedisServer, number: int, mutation: Mutation | None = None) -> bool:
    """Whether the history of a number, the same in every run, shows no difference between scripts and model."""
    random = Random(number)
    machine = LedgerMachine(server, mutation, lambda _: None)
    try:
        machine.begin(random.choice(FIRST_CREDITS), random.getrandbits(SEED_BITS))
        machine.check()
        for _ in range(STEPS):
            machine.do(random.getrandbits(SEED_BITS))
            machine.check()
    except (AssertionError, ValueError):  # the sides differ, or are not equally long
        return False
    finally:
        machine.close()
    return True


def noticed_in(server: RedisServer, mutation: Mutation, histories: int) -> int | None:
    """The number of a history that shows the mutation, the one that once did first; None where none of so many does."""
    assert mutation.old in load(mutation.script).text.decode(), "the mutation does not apply"
    numbers = (mutation.history, *range(histories))
    return next((number for number in numbers if not agrees(server, number, mutation)), None)


def _settings(histories: int) -> settings:
    return settings(
        max_examples=histories,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
