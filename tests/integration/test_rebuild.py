"""The rebuild: after Redis was lost, every account comes back from SQL, and nothing was served in between."""

import pytest

from proxy.core.errors import Conflict
from proxy.core.ids import new_call_id
from proxy.core.outcomes import HoldRequest
from proxy.ledger.errors import EpochMismatch
from proxy.ledger.ledger import Ledger
from proxy.records.epoch import EpochLost, agree
from proxy.records.rebuild import Rebuild, Rebuilt
from tests.support.stores import CREDIT, PARTITIONS, Build, House, build, house

__all__ = ["build", "house"]


async def rebuilt(house: House, *, force: bool = False) -> Rebuilt:
    return await Rebuild(house.redis, house.scripts, house.database, house.partitions).run(force=force)


async def reopened(house: House) -> Ledger:
    return Ledger(house.scripts, PARTITIONS, await agree(house.redis, house.database, house.partitions))


async def test_every_balance_comes_back_after_a_flush(house: House, build: Build) -> None:
    accounts = [await house.account(number) for number in range(1, 8)]
    for number, account_id in enumerate(accounts):
        for _ in range(number):
            await house.call(account_id, 60)
    await house.directory.set_limits(accounts[0], {"concurrent": 2})
    await house.record_all()
    before = [await house.ledger.balance(account_id) for account_id in accounts]
    await house.redis.execute("FLUSHALL")
    with pytest.raises(EpochLost):
        await agree(house.redis, house.database, house.partitions)

    result = await rebuilt(house)
    assert (result.accounts, result.entries, result.gaps) == (7, 7 + 21, [])
    assert result.credited_microcredits == 28 * CREDIT
    assert result.spent_microcredits == 21 * 60
    with pytest.raises(EpochMismatch):  # a process that knew the Redis before must not touch this one
        await house.ledger.balance(accounts[0])
    again = await build()
    assert [await again.ledger.balance(account_id) for account_id in accounts] == before
    assert (await again.audit()).holds
    call_id = await again.hold(accounts[1])
    await again.settle(accounts[1], call_id)
    await again.top_up(accounts[1], 5)
    await again.record_all()
    assert [entry["seq"] for entry in await again.entries(accounts[1])] == [1, 2, 3, 4]
    assert (await again.audit()).holds


async def test_a_redis_that_is_not_empty_is_left_alone_unless_forced(house: House, build: Build) -> None:
    account_id = await house.account()
    await house.record_all()
    open_call = await house.hold(account_id)
    with pytest.raises(Conflict, match="--force"):
        await rebuilt(house)
    assert (await house.audit()).holds
    result = await rebuilt(house, force=True)
    assert result.keys_dropped > 0
    again = await build()
    balance = await again.ledger.balance(account_id)
    assert balance is not None
    assert (balance.posted_microcredits, balance.held_microcredits) == (100 * CREDIT, 0)
    assert (await again.settle(account_id, open_call)).state == "unknown"
    assert (await again.audit()).holds


async def test_keys_of_others_in_the_same_redis_are_left_alone(house: House) -> None:
    await house.redis.execute("SET", "theirs", "1")
    await house.account()
    await house.record_all()
    await rebuilt(house, force=True)
    assert await house.redis.execute("GET", "theirs") == b"1"


async def test_an_interrupted_rebuild_serves_nobody_and_is_run_again(house: House, build: Build) -> None:
    account_id = await house.account()
    await house.record_all()
    await house.redis.execute("FLUSHALL")
    await rebuilt(house)
    for partition in house.partitions:  # killed before the last step
        await house.redis.execute("DEL", partition.epoch)
    with pytest.raises(EpochLost):
        await build()
    with pytest.raises(Conflict):
        await rebuilt(house)
    await rebuilt(house, force=True)
    assert (await (await build()).audit()).holds
    balance = await (await reopened(house)).balance(account_id)
    assert balance is not None
    assert balance.posted_microcredits == 100 * CREDIT


async def test_a_topup_that_was_answered_survives_even_if_it_was_not_recorded(house: House, build: Build) -> None:
    account_id = await house.account()
    await house.record_all()
    lost_call = await house.call(account_id, 60)
    lost = await house.top_up(account_id, 7, "k")
    assert lost.seq == 3
    await house.redis.execute("FLUSHALL")
    result = await rebuilt(house)
    assert result.topups_entered_again == 1
    again = await build()
    entries = await again.entries(account_id)
    assert [(entry["seq"], entry["amount_microcredits"]) for entry in entries] == [(1, 100 * CREDIT), (2, 7)]
    repeated = await again.top_up(account_id, 7, "k")
    assert (repeated.seq, repeated.before_microcredits, repeated.operation_id) == (2, 100 * CREDIT, lost.operation_id)
    assert await again.usage(lost_call) is None
    report = await again.audit()
    assert report.holds, report.differences


async def test_an_account_that_never_had_an_entry_comes_back_with_its_version(house: House) -> None:
    account_id = await house.account(0)
    await house.directory.suspend(account_id)
    await house.redis.execute("FLUSHALL")
    await rebuilt(house)
    balance = await (await reopened(house)).balance(account_id)
    assert balance is not None
    assert (balance.version, balance.seq) == (2, 0)


async def test_missing_entries_are_reported(house: House) -> None:
    account_id = await house.account()
    await house.call(account_id)
    await house.call(account_id)
    await house.record_all()
    await house.sql("DELETE FROM ledger_entries WHERE account_id = ? AND seq = 2", account_id)
    await house.redis.execute("FLUSHALL")
    assert (await rebuilt(house)).gaps == [account_id]


async def test_holds_of_a_process_that_slept_through_it_are_refused(house: House) -> None:
    account_id = await house.account()
    await house.record_all()
    await house.redis.execute("FLUSHALL")
    request = HoldRequest(account_id, new_call_id(), 1, 1, 60_000, (), 1, b"{}")
    with pytest.raises(EpochMismatch):
        await house.ledger.hold(request)
    await rebuilt(house)
    with pytest.raises(EpochMismatch):
        await house.ledger.hold(request)
