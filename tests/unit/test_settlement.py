"""What a charge rests on, for each row of the fault table."""

import pytest

from proxy.core import records
from proxy.core.settlement import Facts, counted_usage, settlement_basis
from proxy.core.usage import Usage

USAGE = Usage({"input": 3, "output": 4})


def facts(**given: object) -> Facts:
    return Facts(**{"sent": True, "status": 200, "outcome": records.COMPLETED, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "basis"),
    [
        (facts(reported=USAGE), records.REPORTED),
        (facts(), records.COUNTED),
        (facts(flagged=True), records.HOLD),
        (facts(sent=False, status=None, outcome=records.UPSTREAM_FAILED), records.NONE),
        (facts(sent=False, status=None, outcome=records.CLIENT_LEFT), records.NONE),
        (facts(status=None, outcome=records.CLIENT_LEFT), records.COUNTED),
        (facts(status=None, outcome=records.TIMED_OUT), records.NONE),
        (facts(status=None, outcome=records.UPSTREAM_FAILED), records.NONE),
        (facts(status=500, outcome=records.UPSTREAM_FAILED), records.NONE),
        (facts(status=429, outcome=records.UPSTREAM_FAILED, flagged=True), records.NONE),
        (facts(outcome=records.CLIENT_LEFT), records.COUNTED),
        (facts(outcome=records.CLIENT_LEFT, reported=USAGE), records.REPORTED),
        (facts(outcome=records.UPSTREAM_FAILED, error_event=True), records.NONE),
        (facts(outcome=records.UPSTREAM_FAILED, error_event=True, reported=USAGE), records.REPORTED),
        (facts(outcome=records.TIMED_OUT), records.COUNTED),
        (facts(status=None, outcome=records.TIMED_OUT, counts_late=True), records.COUNTED),
        (facts(status=None, outcome=records.UPSTREAM_FAILED, counts_late=True), records.NONE),
        (facts(sent=False, status=None, outcome=records.TIMED_OUT, counts_late=True), records.NONE),
        (facts(free=True, reported=USAGE), records.NONE),
        (facts(free=True, flagged=True), records.NONE),
        (facts(outcome=records.CLIENT_LEFT, waived=True, reported=USAGE), records.NONE),
        (facts(outcome=records.CLIENT_LEFT, waived=True, status=None), records.NONE),
        (facts(waived=True, reported=USAGE), records.REPORTED),
    ],
)
def test_basis(given: Facts, basis: str) -> None:
    assert settlement_basis(given) == basis


def test_a_count_keeps_what_was_reported_of_the_input() -> None:
    partial = Usage({"input": 10, "cache_read": 5, "output": 1})
    assert counted_usage(partial, 99, 40).counters == {"input": 10, "cache_read": 5, "output": 40}
    assert counted_usage(Usage({"input": 10, "output": 50}), 99, 40).output_tokens == 50
    assert counted_usage(None, 99, 40).counters == {"input": 99, "output": 40}
    heard = Usage({"input": 10, "output": 50, "reasoning": 7, "output_audio": 30, "output_image": 9})
    assert counted_usage(heard, 99, 40).counters == {"input": 10, "output": 57, "output_audio": 30, "output_image": 9}
    assert counted_usage(heard, 99, 60).counters["output"] == 60


def test_a_count_keeps_what_was_reported_of_the_output_alone() -> None:
    assert counted_usage(Usage({"output": 50, "web_searches": 2}), 99, 40).counters == {
        "input": 99,
        "output": 50,
        "web_searches": 2,
    }
    assert counted_usage(Usage({"input": 0, "output": 5}), 99, 40).counters == {"input": 99, "output": 40}
