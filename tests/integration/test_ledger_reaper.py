"""Abandoned holds end, once, at what their policy says, and nobody waits for them for ever."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.core.outcomes import Ended
from proxy.ledger.reaper import Reaper
from tests.support.ledger_house import ACCOUNT, LedgerHouse, ledger_house
from tests.support.ledger_runner import named_event


@pytest.fixture
async def house(each_redis_url: str) -> AsyncIterator[LedgerHouse]:
    async with ledger_house(each_redis_url) as house:
        yield house


async def abandoned(house: LedgerHouse, checkpoint: int) -> str:
    """A hold of 100 whose worker has gone, its lease over."""
    request = house.request(lease_ms=60_000)
    await house.ledger.hold(request)
    await house.ledger.extend(ACCOUNT, request.call_id, 1, 100, checkpoint, 1, b'{"draft":2}')
    await asyncio.sleep(0.005)
    return request.call_id


@pytest.mark.parametrize(("policy", "charge"), [("checkpoint", 40), ("hold", 100), ("free", 0)])
async def test_an_abandoned_hold_is_charged_by_policy(house: LedgerHouse, policy: str, charge: int) -> None:
    seen: list[tuple[str, Ended]] = []
    call_id = await abandoned(house, 40)
    kept = house.request()
    await house.ledger.hold(kept)
    reaper = Reaper(house.ledger, policy=policy, on_expired=lambda call, ended: seen.append((call, ended)))
    sweep = await reaper.sweep()
    assert (sweep.expired, sweep.charged_microcredits, sweep.open_holds) == (1, charge, 1)
    assert sweep.oldest_hold_ms is not None
    assert 0 <= sweep.oldest_hold_ms < 60_000
    assert seen == [(call_id, Ended("expired", False, charge, 1_000 - charge, 100))]
    assert (await reaper.sweep()).expired == 0
    partition = house.ledger.partition_of(ACCOUNT)
    (_, pairs), *_ = await house.redis.execute("XREVRANGE", partition.stream, "+", "-", "COUNT", 1)
    event = named_event(pairs)
    assert (event[b"state"], event[b"record"]) == (b"expired", b'{"draft":2}')


async def test_any_number_of_reapers_end_a_hold_once(house: LedgerHouse) -> None:
    for _ in range(5):
        await abandoned(house, 10)
    sweeps = await asyncio.gather(*(Reaper(house.ledger).sweep() for _ in range(4)))
    assert sum(sweep.expired for sweep in sweeps) == 5
    assert await house.figures() == (950, 0, 0)


async def test_more_than_a_batch_is_swept_in_one_round(house: LedgerHouse) -> None:
    requests = [house.request(1, lease_ms=1) for _ in range(250)]
    await asyncio.gather(*(house.ledger.hold(request) for request in requests))
    await asyncio.sleep(0.005)
    assert (await Reaper(house.ledger).sweep()).expired == 250
    assert await house.figures() == (1_000, 0, 0)


async def test_a_deadline_without_its_hold_is_cleared(house: LedgerHouse) -> None:
    partition = house.ledger.partition_of(ACCOUNT)
    await house.redis.execute("ZADD", partition.deadlines, 1, "call-stray")
    assert (await Reaper(house.ledger).sweep()).expired == 0
    assert await house.redis.execute("ZCARD", partition.deadlines) == 0


async def test_a_partition_that_refuses_does_not_stop_the_others(house: LedgerHouse) -> None:
    await abandoned(house, 10)
    others = [partition for partition in house.ledger.partitions if partition != house.ledger.partition_of(ACCOUNT)]
    await house.redis.execute("SET", others[0].epoch, "another")
    assert (await Reaper(house.ledger).sweep()).expired == 1
