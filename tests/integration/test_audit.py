"""The audit: silent while everything is right, under live traffic too, and loud about each kind of difference."""

import asyncio
import random

import pytest

from proxy.core.ids import new_call_id
from proxy.records.audit import Audit
from tests.support.ledger_rows import change_account
from tests.support.stores import CREDIT, Build, House, build, house

__all__ = ["build", "house"]


async def kinds(house: House) -> list[str]:
    return sorted(difference.kind for difference in (await house.audit()).differences)


async def test_totals_are_those_of_both_stores(house: House) -> None:
    accounts = [await house.account(10) for _ in range(3)]
    for account_id in accounts:
        await house.call(account_id, 60)
    await house.hold(accounts[0], 100)
    for recorded in (False, True):
        if recorded:
            await house.record_all()
        report = await house.audit()
        assert report.holds, report.differences
        assert (report.accounts, report.entries, report.open_holds) == (3, 6, 1)
        assert (report.posted_microcredits, report.held_microcredits) == (30 * CREDIT - 180, 100)
        assert (report.credited_microcredits, report.spent_microcredits) == (30 * CREDIT, 180)
        assert report.calls == (3 if recorded else 0)


async def test_an_account_without_entries_is_right(house: House) -> None:
    await house.account(0)
    assert (await house.audit()).holds


async def test_it_is_exact_under_live_traffic(build: Build) -> None:
    house, other = await build(), await build()
    accounts = [await house.account() for _ in range(6)]
    traffic = random.Random(7)
    stop = asyncio.Event()

    async def spend(number: int) -> None:
        while not stop.is_set():
            account_id = traffic.choice(accounts)
            lease = traffic.choice([1, 60_000, 60_000])
            call_id = await house.hold(account_id, 100, lease_ms=lease)
            if lease == 1:
                await asyncio.sleep(0.003)
                await house.ledger.expire(account_id, call_id, "hold")
            if traffic.random() < 0.9:
                await house.settle(account_id, call_id, traffic.randrange(100))
            if number == 0:
                await house.top_up(account_id, 5)

    recording = asyncio.gather(other.recorder("r", batch_size=5, poll_s=0.005, trim_every_s=0.0).run())
    spending = [asyncio.gather(spend(number)) for number in range(4)]
    for _ in range(12):
        report = await other.audit()
        assert report.holds, report.differences
    stop.set()
    await asyncio.gather(*spending)
    recording.cancel()
    await asyncio.gather(recording, return_exceptions=True)
    await house.record_all(house.recorder("r"))
    report = await house.audit()
    assert report.holds, report.differences
    assert report.calls > 50


async def test_memory_is_bounded_by_pages_and_pages_hide_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_ACCOUNTS", "_ROWS", "_EVENTS"):
        monkeypatch.setattr(f"proxy.records.audit.{name}", 3)
    accounts = [await house.account() for _ in range(8)]
    for _ in range(7):
        await house.call(accounts[0])
    await house.record_all(house.recorder(batch_size=1))
    for _ in range(10):
        await house.call(accounts[0])
    assert (await house.audit()).holds
    await house.sql("DELETE FROM ledger_entries WHERE account_id = ? AND seq = 8", accounts[0])
    await house.redis.execute("XTRIM", house.ledger.partition_of(accounts[0]).stream, "MAXLEN", 10)
    assert "gap" in await kinds(house)


async def seeded(house: House) -> tuple[str, bytes, str]:
    """An account of 100 credits with one call of 60 microcredits, all recorded and nothing left in the streams."""
    account_id = await house.account()
    call_id = await house.call(account_id, 60)
    await house.record_all()
    for partition in house.partitions:
        await house.redis.execute("XTRIM", partition.stream, "MAXLEN", 0)
    assert (await house.audit()).holds
    return account_id, house.ledger.partition_of(account_id).account(account_id), call_id


@pytest.mark.parametrize(
    ("field", "change", "expected"),
    [
        ("credited", 1, ["credited"]),
        ("credited", -1, ["credited"]),
        ("spent", 1, ["spent"]),
        ("held", 1, ["held"]),
        ("held", -1, ["held"]),
        ("seq", 1, ["gap"]),
        ("seq", -1, ["ahead", "spent"]),
    ],
)
async def test_a_wrong_figure_in_redis_is_found(house: House, field: str, change: int, expected: list[str]) -> None:
    _, key, _ = await seeded(house)
    await change_account(house.redis, key, field, change)
    assert await kinds(house) == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM ledger_entries WHERE seq = 2", ["charge", "gap", "spent"]),
        ("DELETE FROM ledger_entries WHERE seq = 1", ["credited", "gap"]),
        ("UPDATE ledger_entries SET amount_microcredits = -61 WHERE seq = 2", ["chain", "charge", "spent"]),
        ("UPDATE ledger_entries SET before_microcredits = before_microcredits + 1 WHERE seq = 2", ["chain", "chain"]),
        ("UPDATE usage_records SET charge_microcredits = 61", ["charge", "sum"]),
        ("DELETE FROM usage_records", ["record", "sum"]),
        ("UPDATE usage_sums SET calls = calls + 1 WHERE grain = 'day'", ["sum"]),
        ("DELETE FROM usage_sums WHERE grain = 'model_hour'", ["sum"]),
        ("UPDATE ledger_entries SET kind = 'refund' WHERE seq = 2", ["charge", "credited", "spent"]),
    ],
)
async def test_a_wrong_row_in_sql_is_found(house: House, statement: str, expected: list[str]) -> None:
    await seeded(house)
    await house.sql(statement)
    report = await house.audit()
    assert sorted(difference.kind for difference in report.differences) == expected
    assert not report.holds


async def test_an_entry_that_differs_between_sql_and_the_stream_is_found(house: House) -> None:
    account_id = await house.account()
    call_id = await house.call(account_id, 60)
    await house.record_all()
    await house.call(account_id, 60)
    await house.sql("UPDATE ledger_entries SET amount_microcredits = -61 WHERE call_id = ?", call_id)
    await house.sql("DELETE FROM ledger_entries WHERE seq = 1")
    assert "conflict" in await kinds(house)


async def test_an_event_that_vanished_before_it_was_recorded_is_found(house: House) -> None:
    account_id = await house.account()
    await house.record_all()
    await house.call(account_id, 60)
    await house.redis.execute("XTRIM", house.ledger.partition_of(account_id).stream, "MAXLEN", 0)
    assert await kinds(house) == ["gap", "spent"]


async def test_an_account_that_only_one_store_knows_is_found(house: House) -> None:
    _, key, _ = await seeded(house)
    await house.ledger.open_account("acct_stranger", 1)
    assert await kinds(house) == ["stranger"]
    await house.redis.execute("DEL", key)
    assert await kinds(house) == ["lost", "stranger"]


async def test_a_hold_without_its_amount_in_held_is_found(house: House) -> None:
    account_id = await house.account()
    call_id = await house.hold(account_id)
    await house.redis.execute("DEL", house.ledger.partition_of(account_id).hold(call_id))
    assert await kinds(house) == ["held"]


async def test_one_account_is_audited_alone(house: House) -> None:
    right, wrong = await house.account(), await house.account()
    await change_account(house.redis, house.ledger.partition_of(wrong).account(wrong), "spent", 5)
    audit = Audit(house.ledger, house.redis, house.database)
    assert (await audit.account(right)).holds
    report = await audit.account(wrong)
    assert (report.difference_count, report.difference_microcredits) == (1, 5)
    assert not (await audit.account(new_call_id())).accounts
    await house.record_all()
    await house.redis.execute("DEL", house.ledger.partition_of(wrong).account(wrong))
    assert [difference.kind for difference in (await audit.account(wrong)).differences] == ["lost"]
