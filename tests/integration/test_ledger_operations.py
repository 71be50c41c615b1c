"""The ledger on real servers: races, repeats, lost replies, and what a server can do to it."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from proxy.core.errors import Conflict, InvalidRequest, NotFound, Unavailable
from proxy.core.ids import new_call_id
from proxy.core.limits import BUDGET_DAY, CONCURRENT, REQUESTS, Limit
from proxy.core.money import MAX_AMOUNT
from proxy.core.outcomes import Ended, Extended, Held, NotDue, Refused, Stale
from proxy.ledger.connection import Argument
from proxy.ledger.errors import EpochMismatch, RedisAmbiguous, ScriptRefused
from proxy.ledger.ledger import Ledger
from proxy.ledger.scripts import FOLDER, RedisScripts, load
from tests.support.ledger_house import ACCOUNT, LedgerHouse, connected, ledger_house
from tests.support.ledger_relay import relay_to
from tests.support.redis_server import RedisServer, start_redis

RECORD = b'{"record":true}'


@pytest.fixture
async def house(each_redis_url: str) -> AsyncIterator[LedgerHouse]:
    async with ledger_house(each_redis_url) as house:
        yield house


async def test_64_holds_at_once_on_credit_for_one(each_redis_url: str, house: LedgerHouse) -> None:
    async with ledger_house(each_redis_url) as other:
        answers = await asyncio.gather(
            *((house, other)[number % 2].ledger.hold(house.request(600)) for number in range(64))
        )
    assert sum(isinstance(answer, Held) for answer in answers) == 1
    refused = [answer for answer in answers if isinstance(answer, Refused)]
    assert len(refused) == 63
    assert all((answer.source, answer.available) == ("in_flight", 400) for answer in refused)
    assert await house.figures() == (1_000, 600, 1)


async def test_limits_hold_under_a_race(house: LedgerHouse) -> None:
    limits = (Limit("account", CONCURRENT, 3), Limit("key:k", REQUESTS, 5), Limit("key:k", BUDGET_DAY, 35))
    answers = await asyncio.gather(*(house.ledger.hold(house.request(10, limits=limits)) for _ in range(32)))
    assert sum(isinstance(answer, Held) for answer in answers) == 3
    assert {answer.source for answer in answers if isinstance(answer, Refused)} == {"concurrent"}


async def test_the_largest_amounts_are_exact(house: LedgerHouse) -> None:
    await house.ledger.credit(ACCOUNT, "op-max", "topup", MAX_AMOUNT - 1_000, "d", "", "", None)
    with pytest.raises(InvalidRequest):
        await house.ledger.credit(ACCOUNT, "op-more", "topup", 1, "d", "", "", None)
    request = house.request(MAX_AMOUNT - 1)
    assert await house.ledger.hold(request) == Held(MAX_AMOUNT, MAX_AMOUNT - 1, ())
    ended = await house.ledger.settle(ACCOUNT, request.call_id, MAX_AMOUNT, MAX_AMOUNT, RECORD)
    assert ended == Ended("settled", False, MAX_AMOUNT, 0, 0)
    with pytest.raises(InvalidRequest):
        await house.ledger.credit(ACCOUNT, "op-zero", "topup", 0, "d", "", "", None)


async def test_a_charge_that_cannot_be_counted_is_refused_and_its_hold_still_ends(house: LedgerHouse) -> None:
    first, second = house.request(), house.request(100, lease_ms=1)
    await house.ledger.hold(first)
    await house.ledger.hold(second)
    await house.ledger.extend(ACCOUNT, second.call_id, 1, 100, 50, 1, b"{}")
    await house.ledger.settle(ACCOUNT, first.call_id, MAX_AMOUNT - 20, 1, RECORD)
    before = await house.everything()
    with pytest.raises(InvalidRequest):
        await house.ledger.settle(ACCOUNT, second.call_id, 21, 1, RECORD)
    assert await house.everything() == before
    await asyncio.sleep(0.005)
    ended = await house.ledger.expire(ACCOUNT, second.call_id)
    assert ended == Ended("expired", False, 20, 1_000 - MAX_AMOUNT, 0)


async def test_every_change_is_answered_with_the_first_result_when_repeated(house: LedgerHouse) -> None:
    ledger, request = house.ledger, house.request()
    call_id = request.call_id
    await ledger.hold(request)
    assert await ledger.hold(request) == Held(1_000, 100, ())
    with pytest.raises(Conflict):
        await ledger.hold(house.request(101, call_id))
    assert await ledger.extend(ACCOUNT, call_id, 1, 150, 20, 60_000, b"{}") == Extended(True, 150)
    assert await ledger.extend(ACCOUNT, call_id, 1, 150, 20, 60_000, b"{}") == Extended(True, 150)
    assert await ledger.settle(ACCOUNT, call_id, 120, 5, RECORD) == Ended("settled", False, 120, 880, 0)
    for charge in (120, 1):
        assert await ledger.settle(ACCOUNT, call_id, charge, 5, RECORD) == Ended("settled", True, 120, 880, 0)
    assert await ledger.release(ACCOUNT, call_id, RECORD) == Ended("settled", True, 120, 880, 0)
    assert await ledger.expire(ACCOUNT, call_id) == Ended("settled", True, 120, 880, 0)
    with pytest.raises(Conflict):
        await ledger.hold(request)
    first = await ledger.credit(ACCOUNT, "op", "grant", 5, "d", "", "", None)
    again = await ledger.credit(ACCOUNT, "op", "grant", 5, "d", "", "", None)
    assert (again.seq, again.at_ms, again.repeated) == (first.seq, first.at_ms, True)
    with pytest.raises(Conflict):
        await ledger.credit(ACCOUNT, "op", "grant", 6, "e", "", "", None)
    assert await house.redis.execute("XLEN", ledger.partition_of(ACCOUNT).stream) == 3


async def test_what_is_unknown_changes_nothing(house: LedgerHouse) -> None:
    before = await house.everything()
    assert await house.ledger.settle(ACCOUNT, new_call_id(), 5, 5, RECORD) == Ended("unknown", False, 0, 1_000, 0)
    assert (await house.ledger.release("acct_nobody", new_call_id(), RECORD)).state == "unknown"
    with pytest.raises(NotFound):
        await house.ledger.credit("acct_nobody", "op", "topup", 5, "d", "", "", None)
    assert await house.ledger.balance("acct_nobody") is None
    assert await house.everything() == before


async def test_a_new_version_makes_cached_callers_stale(house: LedgerHouse) -> None:
    assert await house.ledger.set_version(ACCOUNT, 2) == 2
    assert await house.ledger.hold(house.request()) == Stale()
    assert await house.figures() == (1_000, 0, 0)


async def test_another_epoch_does_nothing(house: LedgerHouse) -> None:
    open_call = house.request()
    await house.ledger.hold(open_call)
    before = await house.everything()
    other = Ledger(RedisScripts(house.redis), 4, "epoch-2")
    for work in (
        other.hold(house.request()),
        other.extend(ACCOUNT, open_call.call_id, 1, 200, 0, 1_000, b"{}"),
        other.settle(ACCOUNT, open_call.call_id, 1, 1, RECORD),
        other.release(ACCOUNT, open_call.call_id, RECORD),
        other.expire(ACCOUNT, open_call.call_id),
        other.credit(ACCOUNT, "op", "topup", 1, "d", "", "", None),
        other.open_account("acct_2", 1),
        other.set_version(ACCOUNT, 5),
        other.balance(ACCOUNT),
        other.due_holds(other.partitions[0], 10),
    ):
        with pytest.raises(EpochMismatch):
            await work
    assert await house.everything() == before
    await house.redis.execute("FLUSHALL")
    with pytest.raises(EpochMismatch):
        await house.ledger.hold(house.request())
    assert await house.everything() == {}


async def test_scripts_flushed_in_the_middle_are_loaded_again(house: LedgerHouse) -> None:
    await house.redis.execute("SCRIPT", "FLUSH")
    answers = await asyncio.gather(*(house.ledger.hold(house.request(10)) for _ in range(20)))
    await house.redis.execute("SCRIPT", "FLUSH")
    answers += await asyncio.gather(*(house.ledger.hold(house.request(10)) for _ in range(20)))
    assert all(isinstance(answer, Held) for answer in answers)
    assert await house.figures() == (1_000, 400, 40)


async def test_out_of_memory_admits_nothing_and_still_settles(house: LedgerHouse) -> None:
    calls = [house.request(lease_ms=60_000) for _ in range(4)]
    for call in calls:
        await house.ledger.hold(call)
    await house.ledger.extend(ACCOUNT, calls[3].call_id, 1, 100, 7, 1, b"{}")
    await house.redis.execute("CONFIG", "SET", "maxmemory", "1mb")
    try:
        for work in (
            house.ledger.hold(house.request()),
            house.ledger.credit(ACCOUNT, "op", "topup", 1, "d", "", "", None),
        ):
            with pytest.raises(ScriptRefused) as refused:
                await work
            assert refused.value.kind == "OOM"
        assert await house.ledger.extend(ACCOUNT, calls[0].call_id, 1, 150, 0, 60_000, b"{}") == Extended(True, 150)
        assert (await house.ledger.settle(ACCOUNT, calls[0].call_id, 50, 5, RECORD)).state == "settled"
        assert (await house.ledger.release(ACCOUNT, calls[1].call_id, RECORD)).state == "released"
        assert isinstance(await house.ledger.expire(ACCOUNT, calls[2].call_id), NotDue)
        assert await house.ledger.expire(ACCOUNT, calls[3].call_id) == Ended("expired", False, 7, 943, 100)
        assert await house.ledger.set_version(ACCOUNT, 2) == 2
    finally:
        await house.redis.execute("CONFIG", "SET", "maxmemory", "0")
    assert await house.figures() == (943, 100, 1)


async def test_a_read_only_replica_refuses_and_changes_nothing(house: LedgerHouse) -> None:
    request = house.request()
    await house.ledger.hold(request)
    before = await house.everything()
    await house.redis.execute("REPLICAOF", "127.0.0.1", "1")
    try:
        for work in (house.ledger.hold(house.request()), house.ledger.settle(ACCOUNT, request.call_id, 1, 1, RECORD)):
            with pytest.raises(ScriptRefused) as refused:
                await work
            assert refused.value.kind == "READONLY"
    finally:
        await house.redis.execute("REPLICAOF", "NO", "ONE")
    assert await house.everything() == before


async def test_a_lost_reply_of_a_hold_is_repeated_once_and_taken_once(
    each_redis_server: RedisServer, house: LedgerHouse
) -> None:
    async with relay_to(each_redis_server.socket_path) as relay, ledger_house(relay.url) as lossy:
        relay.lose = 1
        assert await lossy.ledger.hold(house.request()) == Held(1_000, 100, ())
        assert relay.connections == 2
        assert await house.figures() == (1_000, 100, 1)


async def test_a_hold_whose_second_reply_is_lost_too_fails_and_is_left_to_the_reaper(
    each_redis_server: RedisServer, house: LedgerHouse
) -> None:
    async with relay_to(each_redis_server.socket_path) as relay, ledger_house(relay.url) as lossy:
        relay.lose = 1
        request = house.request()
        work = asyncio.get_running_loop().create_task(lossy.ledger.hold(request))
        # Every turn counts: the repeat leaves on the next one.
        while relay.connections < 2 or not lossy.redis.is_up:  # noqa: ASYNC110
            await asyncio.sleep(0)
        relay.lose = 1
        with pytest.raises(Unavailable):
            await work
        assert await house.figures() == (1_000, 100, 1)


async def test_lost_replies_of_settle_and_credit_are_for_the_caller_and_safe_to_repeat(
    each_redis_server: RedisServer, house: LedgerHouse
) -> None:
    request = house.request()
    await house.ledger.hold(request)
    async with relay_to(each_redis_server.socket_path) as relay, ledger_house(relay.url) as lossy:
        # The server knows the script from here on: what is lost below is its result, not the answer that it is missing.
        await lossy.ledger.settle(ACCOUNT, "another-call", 0, 0, RECORD)
        relay.lose = 1
        with pytest.raises(RedisAmbiguous):
            await lossy.ledger.settle(ACCOUNT, request.call_id, 80, 5, RECORD)
        assert await lossy.redis.ready(1)
        repeated = await lossy.ledger.settle(ACCOUNT, request.call_id, 80, 5, RECORD)
        assert repeated == Ended("settled", True, 80, 920, 0)
        relay.lose = 1
        with pytest.raises(RedisAmbiguous):
            await lossy.ledger.credit(ACCOUNT, "op", "topup", 5, "d", "", "", None)
        assert await lossy.redis.ready(1)
        assert (await lossy.ledger.credit(ACCOUNT, "op", "topup", 5, "d", "", "", None)).repeated
    assert await house.figures() == (925, 0, 0)


async def test_cancelled_waits_disturb_nobody(house: LedgerHouse) -> None:
    requests = [house.request(1) for _ in range(200)]
    loop = asyncio.get_running_loop()
    work = [loop.create_task(house.ledger.hold(request)) for request in requests]
    await asyncio.sleep(0)
    cancelled = set(random.Random(1).sample(range(200), 100))
    for number in cancelled:
        work[number].cancel()
    answers = await asyncio.gather(*work, return_exceptions=True)
    assert all(isinstance(answers[number], asyncio.CancelledError) for number in cancelled)
    held = [answer.held_microcredits for answer in answers if isinstance(answer, Held)]
    assert len(held) == 100
    assert held == sorted(held)  # each got its own reply: the sums rise in the order of sending
    assert await house.figures() == (1_000, 200, 200)  # a cancelled wait is not a cancelled script


async def test_a_frozen_server_is_given_up_within_a_second(each_redis_server: RedisServer, house: LedgerHouse) -> None:
    request = house.request(lease_ms=1)
    each_redis_server.signal(SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await house.ledger.hold(request)
        took_s = time.monotonic() - started
    finally:
        each_redis_server.signal(SIGCONT)
    assert took_s < 1.3  # the promise is a second; a busy machine may add a little
    assert await house.redis.ready(3)
    assert await house.ledger.balance(ACCOUNT) is not None


async def test_kill_9_of_the_server_loses_nothing_acknowledged(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = start_redis(Path(tmp_path_factory.mktemp("r", numbered=True)))
    try:
        async with ledger_house(server.url) as house:
            open_call, done = house.request(), house.request()
            await house.ledger.hold(open_call)
            await house.ledger.hold(done)
            await house.ledger.settle(ACCOUNT, done.call_id, 30, 1, RECORD)
            # While the disk is slow with a sync, a server holds its file's next bytes back, for two seconds at most.
            while b"aof_buffer_length:0" not in await house.redis.execute("INFO", "persistence"):  # noqa: ASYNC110 - only it knows
                await asyncio.sleep(0.01)
            server.kill()
            with pytest.raises(Unavailable):
                await house.ledger.hold(house.request())
            server.start()
            assert await house.redis.ready(5)
            assert await house.figures() == (970, 100, 1)
            assert (await house.ledger.settle(ACCOUNT, done.call_id, 30, 1, RECORD)).repeated
            assert (await house.ledger.settle(ACCOUNT, open_call.call_id, 10, 1, RECORD)).state == "settled"
    finally:
        server.kill()


async def test_trimming_keeps_what_is_pending_or_unread(house: LedgerHouse) -> None:
    partition = house.ledger.partition_of(ACCOUNT)
    assert await house.ledger.trim(house.ledger.partitions[partition.number - 1]) == (0, 0)
    for number in range(400):
        await house.ledger.credit(ACCOUNT, f"op-{number}", "topup", 1, "d", "", "", None)
    assert await house.ledger.trim(partition) == (0, 401)
    await house.redis.execute("XGROUP", "CREATE", partition.stream, "recorder", "0")
    assert await house.ledger.trim(partition) == (0, 401)
    reply = await house.redis.execute(
        "XREADGROUP", "GROUP", "recorder", "one", "COUNT", 350, "STREAMS", partition.stream, ">"
    )
    ids = [entry_id for entry_id, _ in reply[0][1]]
    assert await house.ledger.trim(partition) == (0, 401)
    pending = ids[220]
    await house.redis.execute("XACK", partition.stream, "recorder", *[entry for entry in ids if entry != pending])
    dropped, left = await house.ledger.trim(partition)
    assert 0 < dropped <= 220
    assert (await house.redis.execute("XRANGE", partition.stream, pending, pending))[0][0] == pending
    await house.redis.execute("XACK", partition.stream, "recorder", pending)
    assert (await house.ledger.trim(partition))[1] < left


async def test_all_accounts_of_a_partition_are_found_page_by_page(each_redis_url: str) -> None:
    async with ledger_house(each_redis_url, partitions=1) as house:
        names = {f"acct_x{number}" for number in range(1_200)}
        await asyncio.gather(*(house.ledger.open_account(name, 1) for name in names))
        found = [balance.account_id async for balance in house.ledger.balances(house.ledger.partitions[0])]
    assert len(found) == 1_201
    assert set(found) == names | {ACCOUNT}


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.lua") if path.stem != "trim"))
async def test_malformed_arguments_are_refused_before_anything_is_written(house: LedgerHouse, name: str) -> None:
    request = house.request()
    await house.ledger.hold(request)
    partition = house.ledger.partition_of(ACCOUNT)
    keys = [partition.epoch, partition.account(ACCOUNT), partition.hold(request.call_id), partition.deadlines]
    keys = [partition.deadlines, *keys[:3]] if name == "hold" else [*keys, partition.stream]
    before = await house.everything()
    runner = RedisScripts(house.redis)
    epoch, other = "epoch-1", "acct_2"
    malformed: list[list[Argument]] = [
        [],
        [epoch],
        [epoch, request.call_id, other, b"short"],
        [epoch, request.call_id, other, b"\xff" * 32, b"\xff" * 9, b"{}"],
        [epoch, request.call_id, other, "-1", "+", "1e3", "d", "", "", ""],
        [epoch, "-5"],
        [epoch, ACCOUNT, "nan"],
        [epoch, ACCOUNT, "9007199254740992"],
    ]
    for arguments in malformed:
        try:
            await runner.run(load(name), keys, arguments)
        except ScriptRefused as refused:
            assert refused.kind in {"ARGUMENT", "EPOCH", "ERR", "WRONGTYPE"}
    assert await house.everything() == before


async def test_a_connection_of_its_own_sees_the_same_ledger(each_redis_url: str, house: LedgerHouse) -> None:
    await house.ledger.hold(house.request())
    async with connected(each_redis_url) as redis:
        ledger = Ledger(RedisScripts(redis), 4, "epoch-1")
        balance = await ledger.balance(ACCOUNT)
    assert balance is not None
    assert (balance.available_microcredits, balance.seq, balance.version) == (900, 1, 1)


async def test_a_script_that_redis_has_forgotten_is_loaded_again(house: LedgerHouse) -> None:
    """Between any two scripts, and beside call ids of another length."""
    for request in (house.request(), house.request(call_id="short")):
        await house.redis.execute("SCRIPT", "FLUSH")
        assert isinstance(await house.ledger.hold(request), Held)
        await house.redis.execute("SCRIPT", "FLUSH")
        ended = await house.ledger.settle(ACCOUNT, request.call_id, 10, 1, RECORD)
        assert (ended.state, ended.repeated) == ("settled", False)
    assert house.ledger.ambiguous_holds == 0
    assert await house.figures() == (980, 0, 0)
