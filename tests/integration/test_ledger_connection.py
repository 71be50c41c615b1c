"""The connection: replies in order, fast failure, recovery, and no work while nothing waits."""

import asyncio
import gc
import logging
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from proxy.core.errors import Unavailable
from proxy.ledger.connection import RedisConnection
from proxy.ledger.errors import RedisAmbiguous, RedisUnavailable, ScriptRefused, ServerUnfit
from proxy.ledger.link import Link
from proxy.ledger.server import check_server
from tests.support.both_loops import both_loops
from tests.support.ledger_house import connected
from tests.support.ledger_relay import relay_to
from tests.support.redis_server import RedisServer, start_redis


@both_loops
async def test_replies_reach_those_who_asked(redis_url: str) -> None:
    async with connected(redis_url) as redis:
        replies = await asyncio.gather(*(redis.execute("ECHO", f"word {number}") for number in range(2_000)))
    assert replies == [f"word {number}".encode() for number in range(2_000)]


@both_loops
async def test_large_values_pass_in_both_directions(redis_url: str) -> None:
    value = bytes(range(256)) * 20_000
    async with connected(redis_url, timeout_s=5) as redis:
        assert await redis.execute("SET", "large", value) == b"OK"
        assert await redis.execute("GET", "large") == value


@both_loops
async def test_a_cancelled_wait_keeps_its_place(redis_url: str) -> None:
    async with connected(redis_url) as redis:
        waits = [redis.execute("ECHO", str(number)) for number in range(300)]
        for wait in waits[::3]:
            wait.cancel()
        await asyncio.sleep(0)
        for wait in waits[1::3]:  # sent by now
            wait.cancel()
        assert [await wait for wait in waits[2::3]] == [str(number).encode() for number in range(2, 300, 3)]


@both_loops
async def test_an_error_reply_is_its_own_and_nobody_elses(redis_url: str) -> None:
    async with connected(redis_url) as redis:
        await redis.execute("SET", "text", "a")
        good, bad, also_good = redis.execute("PING"), redis.execute("INCR", "text"), redis.execute("PING")
        assert await good == await also_good == b"PONG"
        with pytest.raises(ScriptRefused) as refused:
            await bad
        assert refused.value.kind == "ERR"


@both_loops
async def test_nothing_runs_while_nothing_waits(redis_url: str) -> None:
    async with connected(redis_url, timeout_s=0.1) as redis:
        await redis.execute("PING")
        await asyncio.sleep(0.1)
        link = redis._link
        assert link is not None
        assert link._watchdog is None
        assert not link._sent_marks
        assert redis.pending == 0


@both_loops
async def test_no_server_fails_at_once_and_with_a_reason() -> None:
    redis = RedisConnection("unix:///nowhere/redis.sock")
    with pytest.raises(RedisUnavailable, match="cannot be reached"):
        await redis.start(timeout_s=0.1)
    started = time.monotonic()
    for _ in range(1_000):
        with pytest.raises(RedisUnavailable):
            redis.execute("PING")
    assert time.monotonic() - started < 0.2
    assert not await redis.ready(0.01)
    await redis.close()


async def test_it_comes_up_when_the_server_does_and_says_so(redis_server: RedisServer) -> None:
    events: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fb-", dir="/tmp") as directory:
        link = Path(directory) / "s"
        redis = RedisConnection(
            f"unix://{link}", on_up=lambda: events.append("up"), on_down=lambda: events.append("down")
        )
        with pytest.raises(RedisUnavailable):
            await redis.start(timeout_s=0.05)
        link.symlink_to(redis_server.socket_path)
        assert await redis.ready(3)
        assert await redis.execute("PING") == b"PONG"
        await redis.close()
    assert events == ["up", "down"]


async def test_a_lost_line_fails_what_waits_and_is_replaced(redis_server: RedisServer) -> None:
    async with relay_to(redis_server.socket_path) as relay, connected(relay.url) as redis:
        redis_server.signal(SIGSTOP)
        try:
            waits = [redis.execute("PING") for _ in range(3)]
            await asyncio.sleep(0.05)
            relay.cut()
            for wait in waits:
                with pytest.raises(RedisAmbiguous):
                    await wait
        finally:
            redis_server.signal(SIGCONT)
        assert await redis.ready(3)
        assert await redis.execute("PING") == b"PONG"


async def test_a_silent_server_is_found_out_by_the_watchdog(redis_server: RedisServer) -> None:
    async with connected(redis_server.url, timeout_s=0.2) as redis:
        redis_server.signal(SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(RedisAmbiguous):
                await redis.execute("PING")
            assert 0.15 < time.monotonic() - started < 0.6
            with pytest.raises(RedisUnavailable):
                redis.execute("PING")
        finally:
            redis_server.signal(SIGCONT)
        assert await redis.ready(3)


async def test_a_stall_of_our_own_loop_is_not_blamed_on_the_server(redis_server: RedisServer) -> None:
    async with connected(redis_server.url, timeout_s=0.1) as redis:
        for _ in range(5):
            wait = redis.execute("PING")
            await asyncio.sleep(0)
            time.sleep(0.3)  # noqa: ASYNC251 - the stall
            assert await wait == b"PONG"


async def test_more_than_may_wait_is_refused_before_it_is_sent(redis_server: RedisServer) -> None:
    redis = RedisConnection(redis_server.url, max_pending=10)
    await redis.start()
    waits = [redis.execute("PING") for _ in range(10)]
    with pytest.raises(RedisUnavailable, match="Too many"):
        redis.execute("PING")
    assert await asyncio.gather(*waits) == [b"PONG"] * 10
    assert await redis.execute("PING") == b"PONG"
    await redis.close()


async def test_what_waits_at_the_close_fails(redis_server: RedisServer) -> None:
    redis = RedisConnection(redis_server.url)
    await redis.start()
    redis_server.signal(SIGSTOP)
    try:
        wait = redis.execute("PING")
        await redis.close()
        with pytest.raises(Unavailable):
            await wait
    finally:
        redis_server.signal(SIGCONT)
    with pytest.raises(RedisUnavailable):
        redis.execute("PING")


async def test_a_server_that_is_no_redis_is_not_believed() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    redis = RedisConnection(f"redis://127.0.0.1:{port}")
    with pytest.raises(RedisUnavailable):
        await redis.start(timeout_s=0.2)
    await redis.close()
    server.close()
    await server.wait_closed()


async def test_credentials_and_database(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = start_redis(tmp_path_factory.mktemp("r"))
    try:
        server.command("CONFIG", "SET", "requirepass", "right-secret")
        for credentials in ("", ":wrong-secret@", "someone:wrong-secret@"):
            redis = RedisConnection(f"unix://{credentials}{server.socket_path}")
            with pytest.raises(RedisUnavailable, match="refuses our credentials") as refused:
                await redis.start(timeout_s=0.3)
            await redis.close()
            assert "secret" not in str(refused.value)
        async with connected(f"unix://:right-secret@{server.socket_path}?db=3") as redis:
            assert b" db=3 " in await redis.execute("CLIENT", "INFO")
    finally:
        server.kill()
    assert "secret" not in caplog.text


async def test_only_a_fit_server_may_hold_money(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = start_redis(tmp_path_factory.mktemp("r"), appendonly=False)
    try:
        async with connected(server.url) as redis:
            with pytest.raises(ServerUnfit, match="append-only"):
                await check_server(redis)
            facts = await check_server(redis, require_append_only=False)
            assert not facts.append_only
            await redis.execute("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
            await redis.execute("REPLICAOF", "127.0.0.1", "1")
            with pytest.raises(ServerUnfit) as unfit:
                await check_server(redis)
            assert len(unfit.value.refusals) == 3
    finally:
        server.kill()


async def test_the_embedded_kind_of_server_is_fit(each_redis_url: str) -> None:
    async with connected(each_redis_url) as redis:
        facts = await check_server(redis)
    assert facts.append_only


async def test_replies_that_come_together_wake_few_calls_in_a_turn() -> None:
    link = Link(1.0, 10_000, lambda _: None)
    link.connection_made(Wire())
    waits = [link.send(b"*1\r\n$4\r\nPING\r\n") for _ in range(300)]
    await asyncio.sleep(0)
    link.data_received(b"+PONG\r\n" * 150)
    link.data_received(b"+PONG\r\n" * 100)
    answered = [0, sum(wait.done() for wait in waits)]
    while answered[-1] < 250:
        await asyncio.sleep(0)
        answered.append(sum(wait.done() for wait in waits))
        assert answered[-1] > answered[-2]
    assert max(after - before for before, after in pairwise(answered)) <= 40
    link.connection_lost(None)


async def test_a_reply_that_arrived_before_the_end_is_no_less_a_reply() -> None:
    link = Link(1.0, 10_000, lambda _: None)
    link.connection_made(Wire())
    waits = [link.send(b"*1\r\n$4\r\nPING\r\n") for _ in range(120)]
    await asyncio.sleep(0)
    link.data_received(b"+PONG\r\n" * 110)
    link.connection_lost(None)
    assert [wait.result() for wait in waits[:110]] == [b"PONG"] * 110
    assert [type(wait.exception()) for wait in waits[110:]] == [RedisAmbiguous] * 10
    await asyncio.sleep(0)  # what was left for this turn finds nothing more


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing


async def test_a_turn_is_one_write_and_what_was_not_written_was_not_sent() -> None:
    lost: list[Link] = []
    link, wire = Link(1.0, 100, lost.append), Wire()
    with pytest.raises(RedisUnavailable):
        link.send(b"too early")
    link.connection_made(wire)
    first = [link.send(b"a"), link.send(b"b"), link.send(b"c")]
    await asyncio.sleep(0)
    assert wire.writes == [b"abc"]
    late = link.send(b"d")
    wire.closing = True
    with pytest.raises(RedisUnavailable):
        link.send(b"e")
    await asyncio.sleep(0)
    assert wire.writes == [b"abc"]
    link.connection_lost(None)
    assert lost == [link]
    for future in first:
        assert isinstance(future.exception(), RedisAmbiguous)
    assert isinstance(late.exception(), RedisUnavailable)
    with pytest.raises(RedisUnavailable):
        link.send(b"e")
    gc.collect()
