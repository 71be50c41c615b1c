"""The recorder over a real Redis and a real SQLite file: every event once, whatever dies, is locked, or is poison."""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.core.errors import Unavailable
from proxy.core.ids import new_call_id
from proxy.ledger.errors import RedisUnavailable
from proxy.ledger.keys import Partition
from proxy.records.events import read_call_end
from proxy.records.recorder import Recorder
from proxy.records.streams import GROUP, depth_of_dead, lag
from proxy.sql.database import Step
from tests.support.redis_server import RedisServer
from tests.support.stores import Build, House, build, encoded, house, opened, own_redis, record_of, until

__all__ = ["build", "house", "own_redis"]


class Cut:
    """A connection on which commands with the given name fail, as if the process or Redis had died just before."""

    def __init__(self, house: House, name: str) -> None:
        self._house, self.name = house, name

    def execute(self, *args: Any) -> Awaitable[Any]:
        if args[0] == self.name:
            raise RedisUnavailable
        return self._house.redis.execute(*args)


async def add(house: House, partition: Partition, **fields: str | bytes | int) -> bytes:
    """An event that no script of ours would write."""
    return await house.redis.execute("XADD", partition.stream, "*", *[part for pair in fields.items() for part in pair])


def recorder_paused(recorder: Recorder) -> Callable[[], Awaitable[bool]]:
    async def paused() -> bool:
        return recorder.tally.failures > 0

    return paused


async def stream_length(house: House) -> int:
    return sum([await house.redis.execute("XLEN", partition.stream) for partition in house.partitions])


async def test_a_call_leaves_one_record_and_one_entry(house: House) -> None:
    account_id = await house.account()
    call_id = await house.call(account_id, 60)
    await house.record_all()
    row = await house.usage(call_id)
    assert row is not None
    assert (row["charge_microcredits"], row["outcome"], row["settlement_basis"]) == (60, "completed", "reported")
    assert json.loads(str(row["usage"])) == {"input": 3, "output": 4}
    assert json.loads(str(row["tags"])) == {"team": "red"}
    entries = await house.entries(account_id)
    assert [(entry["seq"], entry["kind"], entry["amount_microcredits"]) for entry in entries] == [
        (1, "topup", 100_000_000),
        (2, "charge", -60),
    ]
    assert entries[1]["call_id"] == call_id
    assert await lag(house.redis, house.partitions) == 0


async def test_a_call_that_cost_nothing_leaves_a_record_and_no_entry(house: House) -> None:
    account_id = await house.account()
    released, settled = await house.hold(account_id), await house.call(account_id, 0)
    record = record_of(account_id, released, outcome="upstream_failed", settlement_basis="none")
    await house.ledger.release(account_id, released, encoded(record))
    await house.record_all()
    assert [row["charge_microcredits"] for row in (await house.usage(released), await house.usage(settled)) if row] == [
        0,
        0,
    ]
    assert len(await house.entries(account_id)) == 1


async def test_an_abandoned_call_is_recorded_from_its_draft(house: House) -> None:
    account_id = await house.account()
    call_id = await house.hold(account_id, 100, lease_ms=50)
    draft = encoded(record_of(account_id, call_id, status=None, outcome="completed", hold_microcredits=100))
    await house.ledger.extend(account_id, call_id, 1, 100, 40, 1, draft)
    await asyncio.sleep(0.01)
    await house.ledger.expire(account_id, call_id)
    await house.record_all()
    row = await house.usage(call_id)
    assert row is not None
    assert (row["outcome"], row["settlement_basis"], row["charge_microcredits"]) == ("abandoned", "checkpoint", 40)


async def test_a_late_result_corrects_the_record_of_an_expired_call(house: House) -> None:
    account_id = await house.account()
    call_id = await house.hold(account_id, 100, lease_ms=1)
    await asyncio.sleep(0.01)
    await house.ledger.expire(account_id, call_id, "hold")
    recorder = await house.record_all()
    first = await house.usage(call_id)
    assert first is not None
    assert (first["charge_microcredits"], first["settlement_basis"]) == (100, "hold")
    await house.settle(account_id, call_id, 30)
    await house.record_all(recorder)
    row = await house.usage(call_id)
    assert row is not None
    assert (row["charge_microcredits"], row["outcome"], row["settlement_basis"]) == (30, "completed", "reported")
    assert [entry["amount_microcredits"] for entry in await house.entries(account_id)][1:] == [-100, 70]
    assert (await house.audit()).holds


async def test_a_correction_that_comes_before_its_expiry_stands(house: House) -> None:
    account_id = await house.account()
    call_id = await house.hold(account_id, 100, lease_ms=1)
    await asyncio.sleep(0.01)
    await house.ledger.expire(account_id, call_id, "hold")
    await house.settle(account_id, call_id, 30)
    # Another recorder took the first two events and is slow; this one gets the correction.
    partition = house.ledger.partition_of(account_id)
    await house.recorder("slow")._streams.make_groups()
    await house.redis.execute("XREADGROUP", "GROUP", GROUP, "slow", "COUNT", 2, "STREAMS", partition.stream, ">")
    await house.record_all(house.recorder("fast", claim_after_s=1000))
    row = await house.usage(call_id)
    assert row is not None
    assert row["charge_microcredits"] == 30
    assert (await house.audit()).holds  # the missing half is still in the stream
    await house.record_all(house.recorder("slow"))
    assert await house.usage(call_id) == row
    assert len(await house.entries(account_id)) == 3
    assert (await house.audit()).holds


async def test_credit_answers_get_their_end_of_life_only_after_the_commit(house: House) -> None:
    account_id = await house.account()
    entry = await house.top_up(account_id, 5)
    key = house.ledger.partition_of(account_id).operation(str(entry.operation_id))
    assert await house.redis.execute("PTTL", key) == -1
    await house.record_all()
    assert 86_000_000 < await house.redis.execute("PTTL", key) <= 86_400_000


async def test_killed_between_commit_and_acknowledgement_nothing_is_written_twice(house: House) -> None:
    account_id = await house.account()
    call_ids = [await house.call(account_id) for _ in range(20)]
    with pytest.raises(Unavailable):
        await house.recorder("dying", redis=Cut(house, "XACK")).step()
    assert await house.usage(call_ids[-1]) is not None
    assert await lag(house.redis, house.partitions) == 21
    await house.record_all(house.recorder("dying"))
    assert await lag(house.redis, house.partitions) == 0
    assert len(await house.entries(account_id)) == 21
    assert (await house.audit()).holds


async def test_what_a_dead_recorder_left_is_taken_over(house: House) -> None:
    account_id = await house.account()
    call_ids = [await house.call(account_id) for _ in range(5)]
    dead = house.recorder("dead")
    await dead._streams.make_groups()
    assert len(await dead._streams.read_new(100)) == 6
    heir = house.recorder("heir", claim_after_s=0.05)
    await asyncio.sleep(0.1)
    await house.record_all(heir)
    assert heir.tally.claimed == 6
    assert all([await house.usage(call_id) for call_id in call_ids])
    assert await lag(house.redis, house.partitions) == 0


async def test_two_recorders_share_the_work(build: Build) -> None:
    first, second = await build(), await build()
    accounts = [await first.account() for _ in range(4)]
    running = [
        asyncio.gather(first.recorder("a", batch_size=7, poll_s=0.01).run()),
        asyncio.gather(second.recorder("b", batch_size=7, poll_s=0.01).run()),
    ]
    call_ids = [await first.call(accounts[number % 4], number) for number in range(200)]
    await until(first.is_recorded)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    report = await first.audit()
    assert report.holds, report.differences
    assert (report.calls, report.entries) == (200, 4 + 199)
    assert all([await first.usage(call_id) for call_id in call_ids])


async def test_poison_does_not_stop_what_is_behind_it_and_its_money_is_kept(house: House) -> None:
    account_id = await house.account()
    good = await house.call(account_id)
    wrong_type = await house.hold(account_id)
    await house.ledger.settle(account_id, wrong_type, 5, 7, b'{"call_id": 1}')
    too_large = await house.call(account_id, 6, cost_nano_usd=2**70)
    last = await house.call(account_id)
    recorder = await house.record_all()
    assert recorder.tally.buried == 2
    assert [await house.usage(call_id) is not None for call_id in (good, wrong_type, too_large, last)] == [
        True, False, False, True,
    ]  # fmt: skip
    assert [entry["amount_microcredits"] for entry in await house.entries(account_id)][1:] == [-60, -5, -6, -60]
    assert await depth_of_dead(house.redis, house.partitions) == 2
    dead = await house.redis.execute("XRANGE", house.ledger.partition_of(account_id).dead, "-", "+")
    fields = dict(zip(dead[0][1][::2], dead[0][1][1::2], strict=True))
    assert b"cannot be read" in fields[b"reason"]
    assert read_call_end(fields[b"call"]).call_id == wrong_type
    assert await lag(house.redis, house.partitions) == 0
    report = await house.audit()
    assert [(difference.kind, difference.microcredits) for difference in report.differences] == [
        ("record", 5),
        ("record", 6),
    ]
    assert report.dead_events == 2


async def test_nul_in_a_text_does_not_cost_the_record(house: House) -> None:
    account_id = await house.account()
    call_id = await house.call(account_id, model="m\0n", tags={"a\0": "b\0"})
    await house.record_all()
    row = await house.usage(call_id)
    assert row is not None
    assert row["model"] == "m\ufffdn"
    assert json.loads(str(row["tags"])) == {"a\ufffd": "b\ufffd"}


@pytest.mark.parametrize(
    "fields",
    [{"x": "y"}, {"kind": "party", "account": "acct_1"}, {"kind": "credit", "account": "acct_1", "seq": "1.5"},
     {"kind": "call", "account": "acct_1", "call": "c", "state": "settled", "charge": "7", "record": "{}"},
     {"kind": "call", "account": "acct_1", "call": "c", "state": "asleep", "charge": "0", "record": "{}"},
     {"kind": b"\xff", "account": "acct_1"},
     {"kind": "credit", "account": "acct_1", "seq": 1, "entry": "topup", "amount": 5, "before": 0, "after": 6, "at": 1}],
)  # fmt: skip
async def test_what_is_no_event_is_put_aside(house: House, fields: dict[str, Any]) -> None:
    await add(house, house.partitions[1], **fields)
    account_id = await house.account()
    recorder = await house.record_all()
    assert (recorder.tally.buried, recorder.tally.written) == (1, 1)
    assert len(await house.entries(account_id)) == 1


async def test_another_entry_under_a_number_that_is_taken_is_put_aside_and_noticed(house: House) -> None:
    account_id = await house.account(1)
    await house.record_all()
    event = {
        "kind": "credit",
        "account": account_id,
        "seq": 1,
        "entry": "topup",
        "amount": 5,
        "before": 0,
        "after": 5,
        "at": 1,
    }
    await add(house, house.ledger.partition_of(account_id), **event, operation="op_other")
    recorder = await house.record_all()
    assert recorder.tally.buried == 1
    assert [entry["amount_microcredits"] for entry in await house.entries(account_id)] == [1_000_000]


async def test_the_same_event_twice_changes_nothing(house: House) -> None:
    account_id = await house.account()
    await house.call(account_id)
    partition = house.ledger.partition_of(account_id)
    for _, fields in await house.redis.execute("XRANGE", partition.stream, "-", "+"):
        await house.redis.execute("XADD", partition.stream, "*", *fields)
    recorder = await house.record_all()
    assert (recorder.tally.written, recorder.tally.buried) == (4, 0)
    assert len(await house.entries(account_id)) == 2
    assert (await house.audit()).holds


async def test_while_sql_is_locked_the_lag_grows_and_nothing_is_lost(house: House, tmp_path: Path) -> None:
    account_id = await house.account()
    other = sqlite3.connect(tmp_path / "farebox.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    recorder = house.recorder(poll_s=0.01)
    running = asyncio.gather(recorder.run())
    call_ids = [await house.call(account_id) for _ in range(10)]
    await until(recorder_paused(recorder))
    assert await lag(house.redis, house.partitions) == 11
    other.execute("ROLLBACK")
    other.close()
    await until(house.is_recorded)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert all([await house.usage(call_id) for call_id in call_ids])
    assert (await house.audit()).holds


async def test_a_redis_that_is_killed_is_waited_for(own_redis: RedisServer, tmp_path: Path) -> None:
    async with opened(own_redis.url, tmp_path) as house:
        account_id = await house.account()
        recorder = house.recorder(poll_s=0.01)
        running = asyncio.gather(recorder.run())
        call_ids = [await house.call(account_id) for _ in range(10)]
        own_redis.kill()
        await until(recorder_paused(recorder))
        own_redis.start()
        assert await house.redis.ready(10)
        call_ids += [await house.call(account_id) for _ in range(10)]
        await until(house.is_recorded)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        report = await house.audit()
        assert report.holds, report.differences
        assert all([await house.usage(call_id) for call_id in call_ids])


async def test_cancelled_at_any_moment_nothing_is_lost(house: House) -> None:
    account_id = await house.account()
    for number in range(30):
        await house.call(account_id)
        task = asyncio.gather(house.recorder("same", batch_size=3).step())
        await asyncio.sleep(number * 0.0003)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await house.record_all(house.recorder("same"))
    report = await house.audit()
    assert report.holds, report.differences
    assert (report.calls, await lag(house.redis, house.partitions)) == (30, 0)


async def test_a_group_that_vanished_is_made_anew(house: House) -> None:
    account_id = await house.account()
    recorder = await house.record_all()
    partition = house.ledger.partition_of(account_id)
    await house.redis.execute("XGROUP", "DESTROY", partition.stream, GROUP)
    call_id = await house.call(account_id)
    for _ in range(3):
        await recorder.step()
    assert await house.usage(call_id) is not None
    assert (await house.audit()).holds


async def test_the_stream_is_trimmed_behind_what_is_acknowledged_and_never_further(house: House) -> None:
    account_id = await house.account()
    for _ in range(450):
        await house.call(account_id)
    partition = house.ledger.partition_of(account_id)
    recorder = house.recorder("one", trim_every_s=0.0, claim_after_s=1000)
    await recorder._streams.make_groups()
    # One event in the middle stays with a recorder that is slow.
    await house.redis.execute("XREADGROUP", "GROUP", GROUP, "one", "COUNT", 250, "STREAMS", partition.stream, ">")
    slow = await house.redis.execute("XREADGROUP", "GROUP", GROUP, "slow", "COUNT", 1, "STREAMS", partition.stream, ">")
    await house.record_all(recorder)
    first = (await house.redis.execute("XRANGE", partition.stream, "-", "+", "COUNT", 1))[0][0]
    assert recorder.tally.trimmed > 0
    assert first <= slow[0][1][0][0]
    assert await lag(house.redis, house.partitions) == 1
    assert (await house.audit()).holds
    await house.record_all(house.recorder("slow"))
    await house.record_all(recorder)
    assert await stream_length(house) <= 100
    assert (await house.audit()).holds


async def test_the_lag_counts_what_is_unread_and_what_is_unacknowledged(house: House) -> None:
    account_id = await house.account()
    await house.call(account_id)
    assert await lag(house.redis, house.partitions) == 2
    recorder = house.recorder()
    await recorder._streams.make_groups()
    assert await lag(house.redis, house.partitions) == 2
    await recorder._streams.read_new(1)
    assert await lag(house.redis, house.partitions) == 2
    await house.record_all(house.recorder())
    assert await lag(house.redis, house.partitions) == 0


async def test_a_batch_is_one_commit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    account_id = await house.account()
    for _ in range(49):
        await house.call(account_id)
    commits: list[int] = []
    real: Callable[..., Awaitable[list[int]]] = house.database.transaction

    async def counted(*steps: Step) -> list[int]:
        commits.append(
            sum(len(rows) for query, rows in steps if query in {"upsert_usage_record", "insert_ledger_entry"})
        )
        return await real(*steps)

    monkeypatch.setattr(house.database, "transaction", counted)
    await house.record_all(house.recorder(batch_size=25))
    assert commits == [49, 50]


async def test_an_unused_call_id_has_no_record(house: House) -> None:
    assert await house.usage(new_call_id()) is None
