"""Runs the ledger machine on a server: all histories must agree, or, with a mutation, one must not."""

from contextlib import redirect_stdout
from io import StringIO

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from proxy.ledger.scripts import load
from tests.support.ledger_machine import LedgerMachine, Mutation
from tests.support.redis_server import RedisServer

STEPS = 50


def compare(server: RedisServer, histories: int) -> None:
    """Drives this many histories of 50 steps; raises with the shortest one where scripts and model differ."""
    machine = type("Machine", (LedgerMachine,), {"server": server})
    run_state_machine_as_test(machine, settings=_settings(histories))


def notices(server: RedisServer, mutation: Mutation, histories: int) -> bool:
    """Whether one of so many histories shows the mutation. The histories are the same in every run."""
    assert mutation.old in load(mutation.script).text.decode(), "the mutation does not apply"
    machine = type("Mutated", (LedgerMachine,), {"server": server, "mutation": mutation})
    try:
        with redirect_stdout(StringIO()):
            run_state_machine_as_test(
                machine, settings=settings(_settings(histories), derandomize=True, phases=[Phase.generate])
            )
    except (AssertionError, ValueError):  # the sides differ, or are not equally long
        return True
    return False


def _settings(histories: int) -> settings:
    return settings(
        max_examples=histories,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
