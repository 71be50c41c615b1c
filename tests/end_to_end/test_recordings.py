"""Recorded traffic of real providers through a running Farebox: the recorded status and bytes come back, and each call's
usage record has the provider's own totals, or none for a reason that is stated and held here.
"""

from pathlib import Path

import pytest

from tests.support.replay import Recorded, recordings
from tests.support.replay_run import Verdict, run, show, upstream_of
from tests.support.replay_totals import family_of

# Of each provider, interface, framing and status. The soak test replays everything in pieces.
SPREAD_OF_EACH = 4


def test_every_recorded_exchange_comes_back_with_the_providers_own_totals(tmp_path: Path) -> None:
    assert_all_well(run(tmp_path, recordings(), split=False))


def test_a_spread_of_them_at_random_splits(tmp_path: Path) -> None:
    exchanges = spread()
    assert len({upstream_of(exchange).name for exchange in exchanges}) >= 20
    assert_all_well(run(tmp_path, exchanges, split=True, seed=7))


def test_exchanges_without_usage_are_few_and_each_has_its_reason() -> None:
    reasons = [Verdict(exchange, "", family_of(exchange)).reason for exchange in recordings()]
    assert "unexplained" not in reasons
    assert sum(reason is not None for reason in reasons) < len(reasons) // 20


def spread() -> tuple[Recorded, ...]:
    """Some exchanges of each kind, evenly over the recordings."""
    groups: dict[tuple[str, str, bool, int], list[Recorded]] = {}
    for exchange in recordings():
        key = (upstream_of(exchange).name, family_of(exchange), exchange.sse, exchange.status)
        groups.setdefault(key, []).append(exchange)
    return tuple(exchange for group in groups.values() for exchange in group[:: max(1, len(group) // SPREAD_OF_EACH)])


def assert_all_well(verdicts: list[Verdict]) -> None:
    show(verdicts)
    wrong = [
        f"{verdict.exchange.id} {verdict.provider}: {verdict.problems}" for verdict in verdicts if verdict.problems
    ]
    if wrong:
        pytest.fail("\n".join([f"{len(wrong)} of {len(verdicts)} exchanges:", *wrong[:40]]), pytrace=False)
