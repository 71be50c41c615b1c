"""Every phase of a call has its own deadline and its own error, and none of them costs a timer a call."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.pipeline.upstream import Exchange, Origin, PoolLimits, PoolStats, Timeouts, UpstreamClient
from proxy.pipeline.upstream.errors import ConnectTimeout, FirstByteTimeout, IdleTimeout, PoolExhausted, TotalTimeout
from tests.support.both_loops import both_loops
from tests.support.raw_upstream import RawUpstream, Talk, saying
from tests.support.upstream_calls import OK, body_of, call, client_of, until

LONG = 5.0
SOON = 2.0  # far from LONG, and generous for a machine that is busy with other tests


@contextmanager
def nobody_accepts() -> Iterator[str]:
    """A listener whose queue is full: connecting neither succeeds nor fails."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        callers = []
        for _ in range(4):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
            callers.append(caller)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for caller in callers:
            caller.close()


async def time_of(work: asyncio.Future[object] | object, error: type[BaseException]) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(error):
        await work  # type: ignore[misc]
    return loop.time() - began


@both_loops
async def test_connect() -> None:
    with nobody_accepts() as url:
        client = UpstreamClient(Origin.parse(url), timeouts=Timeouts(connect_s=0.2, first_byte_s=LONG))
        exchange = client.open(b"GET", b"/")
        assert 0.15 < await time_of(exchange.start(), ConnectTimeout) < SOON
        assert not exchange.sent
        assert client.stats == PoolStats(0, 0, 0)
        await client.close()


@both_loops
async def test_connect_is_bounded_by_the_total_and_by_abort() -> None:
    class Stop(Exception):
        pass

    with nobody_accepts() as url:
        client = UpstreamClient(Origin.parse(url), timeouts=Timeouts(connect_s=LONG, total_s=0.2))
        assert await time_of(client.open(b"GET", b"/").start(), TotalTimeout) < SOON
        exchange = client.open(b"GET", b"/")
        asyncio.get_running_loop().call_later(0.02, exchange.abort, Stop())
        assert await time_of(exchange.start(), Stop) < SOON
        assert client.stats == PoolStats(0, 0, 0)
        await client.close()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200", b"HTTP/1.1 100 Continue\r\n\r\n"])
@both_loops
async def test_first_byte(said: bytes) -> None:
    async with RawUpstream(saying(said, then_hang=True)) as upstream:
        client = client_of(upstream, timeouts=Timeouts(first_byte_s=0.2, idle_s=LONG))
        exchange = client.open(b"GET", b"/")
        assert 0.15 < await time_of(exchange.start(), FirstByteTimeout) < SOON
        assert exchange.sent
        assert client.stats.open == 0
        await client.close()


@both_loops
async def test_a_head_that_trickles_is_no_first_byte() -> None:
    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.send(*(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" for _ in range(100)), pause_s=0.03)

    async with RawUpstream(script) as upstream:
        client = client_of(upstream, timeouts=Timeouts(first_byte_s=0.2, idle_s=LONG))
        assert await time_of(client.open(b"GET", b"/").start(), FirstByteTimeout) < SOON
        await client.close()


@both_loops
async def test_a_provider_that_does_not_take_the_body() -> None:
    async def script(talk: Talk) -> None:
        talk.writer.transport.pause_reading()
        await asyncio.sleep(LONG)

    async with RawUpstream(script) as upstream:
        client = client_of(upstream, timeouts=Timeouts(first_byte_s=0.2))
        exchange = client.open(b"POST", b"/", [], b"x" * 20_000_000)
        assert await time_of(exchange.start(), FirstByteTimeout) < SOON
        await client.close()


@both_loops
async def test_a_slow_upload_is_not_a_late_answer() -> None:
    async def script(talk: Talk) -> None:
        await talk.head()
        received = 0
        while received < 16_000_000:
            received += len(await talk.reader.read(400_000))
            await asyncio.sleep(0.04)
        await talk.answer()
        await talk.hang()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream, timeouts=Timeouts(first_byte_s=1.0))
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await call(client, b"x" * 16_000_000) == (200, b"ok")
        assert loop.time() - began > 1.2
        await client.close()


@pytest.mark.parametrize("said", [b"content-length: 9\r\n\r\nabc", b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"])
@both_loops
async def test_idle(said: bytes) -> None:
    async with RawUpstream(saying(OK + said, then_hang=True)) as upstream:
        client = client_of(upstream, timeouts=Timeouts(first_byte_s=LONG, idle_s=0.2))
        exchange = client.open(b"GET", b"/")
        await exchange.start()
        await asyncio.sleep(0.5)
        assert await exchange.read() == b"abc", "what came before is still ours"
        assert await time_of(exchange.read(), IdleTimeout) < SOON
        exchange.close()
        assert client.stats.open == 0
        await client.close()


@both_loops
async def test_idle_is_between_bytes_and_not_in_all() -> None:
    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.send(OK + b"content-length: 25\r\n\r\n", *[b"x"] * 25, pause_s=0.04)
        await talk.hang()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream, timeouts=Timeouts(idle_s=0.5))
        assert await call(client) == (200, b"x" * 25)
        await client.close()


@both_loops
async def test_a_slow_reader_is_not_an_idle_provider() -> None:
    size = 20_000_000
    async with RawUpstream(saying(OK + b"content-length: %d\r\n\r\n" % size, b"x" * size, then_hang=True)) as upstream:
        client = client_of(upstream, timeouts=Timeouts(idle_s=0.2))
        exchange = client.open(b"GET", b"/")
        await exchange.start()
        await asyncio.sleep(0.6)
        assert len(await body_of(exchange)) == size
        exchange.close()
        await client.close()


@both_loops
async def test_total() -> None:
    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.send(OK + b"content-length: 1000\r\n\r\n", *[b"x"] * 1000, pause_s=0.01)

    async with RawUpstream(script) as upstream:
        client = client_of(upstream, timeouts=Timeouts(idle_s=LONG, total_s=0.3))
        assert 0.25 < await time_of(call(client), TotalTimeout) < SOON
        assert client.stats.open == 0
        await client.close()


@both_loops
async def test_the_line() -> None:
    async with RawUpstream(saying(b"", then_hang=True)) as upstream:
        client = client_of(upstream, limits=PoolLimits(connections=1, waiting=1, wait_s=0.2))
        holder = client.open(b"GET", b"/")
        holding = asyncio.ensure_future(holder.start())  # noqa: TID251
        await asyncio.sleep(0.02)
        waiter = client.open(b"GET", b"/")
        waiting = asyncio.ensure_future(time_of(waiter.start(), PoolExhausted))  # noqa: TID251
        await asyncio.sleep(0.02)
        assert await time_of(client.open(b"GET", b"/").start(), PoolExhausted) < SOON, "the line has a length"
        assert 0.15 < await waiting < SOON
        assert not waiter.sent
        holder.close()
        await asyncio.gather(holding, return_exceptions=True)
        assert client.stats == PoolStats(0, 0, 0)
        await client.close()


@both_loops
async def test_there_is_one_timer_while_calls_are_open_and_none_without() -> None:
    async with RawUpstream(saying(b"", then_hang=True)) as upstream:
        client = client_of(upstream)
        assert client._sweep._timer is None
        calls: list[Exchange] = [client.open(b"GET", b"/") for _ in range(5)]
        starts = [asyncio.ensure_future(each.start()) for each in calls]  # noqa: TID251
        await asyncio.sleep(0.02)
        timer = client._sweep._timer
        assert timer is not None
        for each in calls:
            each.close()
        await asyncio.gather(*starts, return_exceptions=True)
        assert client._sweep._timer is timer
        await until(lambda: client._sweep._timer is None)
        await client.close()


@both_loops
async def test_the_timer_is_slow_for_idle_connections_and_quick_again_for_a_call() -> None:
    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.answer()
        await talk.hang()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream, timeouts=Timeouts(first_byte_s=0.1))
        await call(client)
        await until(lambda: client._sweep._slow)
        silent = asyncio.ensure_future(call(client))  # noqa: TID251
        await asyncio.sleep(0)
        assert not client._sweep._slow
        assert await time_of(silent, FirstByteTimeout) < SOON
        await client.close()
