"""kill -9 of workers, the recorder and Redis under load: one record a call, no charge twice, and how much was undercharged."""

import asyncio
import itertools
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.books import Books, balances, is_quiet, open_accounts, stores_of
from tests.support.hammer import CountingProvider, attempts, drive, say, wait_until
from tests.support.installation import Installation
from tests.support.processes import is_running

CLIENTS = 24
LEASE_S, SWEEP_S, CLAIM_S = 4, 0.5, 2
BALANCE = 1_000_000_000_000
_SETTINGS = {
    "credits": f"lease_s = {LEASE_S}\nsweep_s = {SWEEP_S}\ncheckpoint_s = 1",
    "recorder": f"claim_after_s = {CLAIM_S}",
}


@pytest.mark.parametrize(
    "kills", [5, pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])], ids=["short", "long"]
)
async def test_every_call_that_reached_the_provider_has_one_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kills: int
) -> None:
    seed = int(os.environ.get("FAREBOX_SEED", "2024"))
    rng = random.Random(seed)
    with CountingProvider() as provider, Installation(tmp_path, provider, workers=2, **_SETTINGS) as farebox:
        keys = await open_accounts(farebox, {f"crash-{n}": BALANCE for n in range(3)})
        load = drive(farebox.port, attempts(seed, list(keys.values()), slow_ms=400), CLIENTS, over := _Over())
        outcomes, killed = await asyncio.gather(load, _kill_at_random(farebox, rng, kills, over))
        async with stores_of(farebox) as stores:
            await wait_until(lambda: is_quiet(stores), LEASE_S + SWEEP_S + CLAIM_S + 30)
            ends = await balances(stores)
        books = Books.read(farebox)
        audit = farebox.command("audit", timeout_s=300)
    assert audit["ok"]
    assert all(balance.held_microcredits == balance.open_holds == 0 for balance in ends.values())
    books.check_entries()
    records = books.by_tag()
    assert not [tag for tag, served in provider.served.items() if tag not in records or served.times != 1]
    _check_those_who_saw_the_end(outcomes, records)
    bases = dict(Counter(record["settlement_basis"] for record in records.values()))
    say(
        capsys,
        f"seed {seed}: killed {dict(killed)}; {len(outcomes)} attempts, {len(provider.served)} reached the provider\n"
        f"records by settlement basis: {bases}\n{_undercharge(provider, records)}",
    )


class _Over:
    """Set when the last kill is done; the load asks it before each attempt."""

    def __init__(self) -> None:
        self.now = False

    def __call__(self) -> bool:
        return self.now


async def _kill_at_random(farebox: Installation, rng: random.Random, kills: int, over: _Over) -> Counter[str]:
    killed: Counter[str] = Counter()
    try:
        await asyncio.sleep(1)
        for role in itertools.islice(_victims(rng), kills):
            pid = rng.choice(await _running(farebox, role))
            os.kill(pid, signal.SIGKILL)
            killed[role] += 1
            await asyncio.sleep(rng.uniform(0.2, 2.0))
        await asyncio.sleep(1)
    finally:
        over.now = True
    return killed


def _victims(rng: random.Random) -> Iterator[str]:
    """Each kind of process in every round of five, in random order."""
    while True:
        yield from rng.sample(["worker", "worker", "worker", "recorder", "redis"], 5)


async def _running(farebox: Installation, role: str) -> list[int]:
    """The role's processes; waits for the successor of one that was killed before."""
    found: list[int] = []

    async def any_alive() -> bool:
        found[:] = [pid for pid in farebox.pids(role) if is_running(pid)]
        return bool(found)

    await wait_until(any_alive, 20)
    return found


def _check_those_who_saw_the_end(outcomes: list[Any], records: dict[int, dict[str, Any]]) -> None:
    """A client that got a whole answer finds it charged as the provider reported it."""
    ok = [outcome for outcome in outcomes if outcome.whole and outcome.status == 200]
    assert ok
    for outcome in ok:
        record = records[outcome.attempt.tag]
        if record["settlement_basis"] == "reported":
            assert (record["input_tokens"], record["output_tokens"]) == outcome.attempt.usage
        assert record["call_id"] == outcome.call_id
        assert record["charge_microcredits"] > 0, (outcome, record)
    refused = [outcome for outcome in outcomes if outcome.status == 503]
    assert not [outcome for outcome in refused if records.get(outcome.attempt.tag, {}).get("charge_microcredits")]


def _undercharge(provider: CountingProvider, records: dict[int, dict[str, Any]]) -> str:
    """The provider's own figures for each call that reached it, less what was charged, in microcredits."""
    served = provider.served
    differences = [served[tag].charge_microcredits - records[tag]["charge_microcredits"] for tag in served]
    short = [amount for amount in differences if amount > 0]
    more = -sum(amount for amount in differences if amount < 0)
    total = sum(one.charge_microcredits for one in served.values())
    return (
        f"undercharged: {len(short)} calls, at most {max(short, default=0)} microcredits, {sum(short)} of {total} in all; "
        f"counted above the provider's figures: {more}"
    )
