"""Many clients, mixed calls, small balances, clients that leave: nothing is overspent, nothing is lost, nothing is held on to."""

import itertools
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.books import Books, balances, is_quiet, open_accounts, stores_of
from tests.support.hammer import Attempt, CountingProvider, Outcome, attempts, drive, say, wait_until
from tests.support.installation import Installation, charge_of

WORKERS, CLIENTS = 4, 64
LEASE_S, SWEEP_S = 4, 0.5


@pytest.mark.parametrize(
    "count", [2_000, pytest.param(200_000, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])], ids=["short", "long"]
)
async def test_nothing_is_overspent_lost_or_held_on_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    seed = int(os.environ.get("FAREBOX_SEED", "2024"))
    settings = {"credits": f"lease_s = {LEASE_S}\nsweep_s = {SWEEP_S}\ncheckpoint_s = 1"}
    with CountingProvider() as provider, Installation(tmp_path, provider, workers=WORKERS, **settings) as farebox:
        keys = await open_accounts(farebox, _funds(count))
        load = itertools.islice(attempts(seed, list(keys.values()), slow_ms=40), count)
        began = time.monotonic()
        outcomes = await drive(farebox.port, load, CLIENTS)
        seconds = time.monotonic() - began
        async with stores_of(farebox) as stores:
            await wait_until(lambda: is_quiet(stores), LEASE_S + SWEEP_S + 10 + count / 2000)
            ends = await balances(stores)
        books = Books.read(farebox)
        farebox.command("audit", timeout_s=60 + count // 500)
    assert len(outcomes) == count
    for balance in ends.values():
        assert balance.held_microcredits == balance.open_holds_microcredits == balance.open_holds == 0
        assert balance.posted_microcredits >= 0
    assert books.lowest_balance() >= 0
    books.check_entries()
    records = books.by_tag()
    for outcome in outcomes:
        _check(outcome, provider, records.pop(outcome.attempt.tag, None))
    assert not records
    statuses = Counter(outcome.status for outcome in outcomes)
    reached = len(provider.served)
    say(capsys, f"seed {seed}: {count} attempts in {seconds:.1f} s, {reached} forwarded, by status {dict(statuses)}")
    assert statuses[200] > count / 10
    assert statuses[402] > count / 20


def _funds(count: int) -> dict[str, int]:
    """Balances in microcredits: two last for all of their calls, the others run out at different moments."""
    enough = count * 50_000
    return {
        f"hammer-{n}": share for n, share in enumerate([enough, enough, enough // 20, enough // 60, 1_000_000, 700_000])
    }


def _check(outcome: Outcome, provider: CountingProvider, record: dict[str, Any] | None) -> None:
    attempt, served = outcome.attempt, provider.served.get(outcome.attempt.tag)
    why = (outcome, served, record)
    if served is not None:
        assert served.times == 1, why
        assert record is not None, why
    if record is None:
        assert outcome.status in {402, None}, why
        assert outcome.status == 402 or outcome.left, why
        return
    assert outcome.status != 402, why
    assert outcome.call_id in {None, record["call_id"]}, why
    assert 0 <= record["charge_microcredits"] <= record["hold_microcredits"], why
    assert record["charge_microcredits"] == charge_of((record["input_tokens"], record["output_tokens"])), why
    _check_basis(attempt, outcome, record, reached=served is not None)


def _check_basis(attempt: Attempt, outcome: Outcome, record: dict[str, Any], *, reached: bool) -> None:
    basis, why = record["settlement_basis"], (outcome, record)
    usage = (record["input_tokens"], record["output_tokens"])
    if not outcome.left:
        assert outcome.error is None or "break_after" in attempt.mock, why
    if basis == "reported":
        assert reached, why
        assert usage == attempt.usage, why
    elif basis == "counted":
        assert outcome.left or {"omit_usage", "break_after"} & set(attempt.mock), why
        assert usage[0] > 0, why
        # An estimate: of a model whose tokenizer is not known a tenth more, rounded up.
        assert usage[1] <= -(-(attempt.usage[1] + 1) * 11 // 10), why
    else:
        assert basis == "none", why
        assert usage == (0, 0), why
        assert outcome.left or "status" in attempt.mock or "break_after" in attempt.mock, why
