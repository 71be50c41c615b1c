"""Providers that misbehave: each fault has its own error, and no broken answer ends cleanly."""

import asyncio

import pytest

from proxy.pipeline.upstream import Exchange, Origin, PoolLimits, PoolStats, UpstreamClient
from proxy.pipeline.upstream.errors import (
    BadAnswer,
    CallClosed,
    ConnectFailed,
    Disconnected,
    Truncated,
)
from tests.support.both_loops import both_loops
from tests.support.raw_upstream import RawUpstream, Talk, answers, saying
from tests.support.upstream_calls import OK, call, client_of, until


async def _receive(exchange: Exchange, into: bytearray) -> None:
    await exchange.start()
    while piece := await exchange.read():
        into += piece


@pytest.mark.parametrize(
    ("answer", "start", "error"),
    [
        (b"", False, Disconnected),
        (b"HTTP/1.1 200 O", False, Disconnected),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False, Disconnected),
        (OK + b"content-length: 10\r\n\r\n12345", True, Truncated),
        (OK + b"content-length: 10\r\n\r\n", True, Truncated),
        (OK + b"transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n", True, Truncated),
        (OK + b"transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n", True, Truncated),
        (OK + b"transfer-encoding: chunked\r\n\r\na\r\n12345", True, Truncated),
        (OK + b"transfer-encoding: chunked\r\n\r\n5\r\n12345\r\nzz\r\n", True, BadAnswer),
        (b"<html>502</html>", False, BadAnswer),
        (b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nabc", False, BadAnswer),
        (OK + b"x: " + b"a" * 100_000, False, BadAnswer),
    ],
)
@both_loops
async def test_an_answer_that_breaks_off_is_never_a_clean_end(
    answer: bytes, start: bool, error: type[Exception]
) -> None:
    for pieces in ([answer], [answer[: len(answer) // 2], answer[len(answer) // 2 :]]):
        async with RawUpstream(saying(*pieces)) as upstream:
            client = client_of(upstream)
            exchange = client.open(b"GET", b"/v1?key=s3cret", [(b"x-api-key", b"s3cret")])
            received = bytearray()
            with pytest.raises(error) as caught:
                await _receive(exchange, received)
            assert bool(exchange.status) is start
            assert exchange.sent
            assert received in (b"", b"12345")
            assert received or b"12345" not in answer
            assert "s3cret" not in repr(caught.value)
            assert client.stats.open == 0
            exchange.close()
            assert upstream.connections == 1, "nothing is sent twice"
            await client.close()


@both_loops
async def test_a_reset_in_the_middle_is_a_truncation_even_without_length() -> None:
    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.send(OK + b"\r\nabc")
        await asyncio.sleep(0.05)
        talk.reset()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream)
        exchange = client.open(b"GET", b"/")
        await exchange.start()
        assert await exchange.read() == b"abc"
        with pytest.raises(Truncated):
            await exchange.read()
        exchange.close()
        await client.close()


@pytest.mark.parametrize("status", [b"413 Too Large", b"200 OK"])
@both_loops
async def test_an_answer_before_the_request_is_out_is_delivered_and_the_connection_closed(status: bytes) -> None:
    async def script(talk: Talk) -> None:
        await talk.head()
        await talk.answer(b"enough", status=status)
        await talk.hang()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream)
        for _ in range(2):
            assert await call(client, b"x" * 20_000_000) == (int(status[:3]), b"enough")
            assert client.stats.open == 0
        assert upstream.connections == 2
        await client.close()


@both_loops
async def test_abort_ends_a_call_wherever_it_is() -> None:
    class Stop(Exception):
        pass

    talks: list[Talk] = []

    async def script(talk: Talk) -> None:
        talks.append(talk)
        request = await talk.request()
        if b"silent" not in request.line:
            await talk.send(OK + b"content-length: 100\r\n\r\nabc")
        await talk.hang()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream)
        loop = asyncio.get_running_loop()

        before = client.open(b"GET", b"/")
        before.abort(Stop())
        with pytest.raises(Stop):
            await before.start()
        assert not before.sent

        waiting = client.open(b"GET", b"/silent")
        loop.call_later(0.03, waiting.abort, Stop())
        with pytest.raises(Stop):
            await waiting.start()

        reading = client.open(b"GET", b"/")
        await reading.start()
        assert await reading.read() == b"abc"
        loop.call_later(0.03, reading.abort, Stop())
        with pytest.raises(Stop):
            await reading.read()
        with pytest.raises(Stop):
            await reading.read()

        unread = client.open(b"GET", b"/")
        await unread.start()
        unread.abort(Stop())
        with pytest.raises(Stop):
            await unread.read()
        unread.close()
        with pytest.raises(Stop):
            await unread.read()

        closed = client.open(b"GET", b"/")
        await closed.start()
        loop.call_later(0.03, closed.close)
        await closed.read()
        with pytest.raises(CallClosed):
            await closed.read()
        assert client.stats == PoolStats(0, 0, 0)
        await until(lambda: upstream.open == 0)
        await client.close()


@both_loops
async def test_nobody_there_is_a_failed_connect_and_nothing_was_sent() -> None:
    async with RawUpstream(answers) as upstream:
        url = upstream.url
    client = UpstreamClient(Origin.parse(url))
    exchange = client.open(b"GET", b"/")
    with pytest.raises(ConnectFailed) as caught:
        await exchange.start()
    assert not exchange.sent
    assert isinstance(caught.value.__cause__, OSError)
    assert "127.0.0.1" not in caught.value.message
    assert client.stats.open == 0
    await client.close()


@both_loops
async def test_a_server_that_hangs_up_on_accept_is_no_connection() -> None:
    async def script(talk: Talk) -> None:
        talk.reset()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream, limits=PoolLimits(connections=2))
        for _ in range(6):
            with pytest.raises((ConnectFailed, Disconnected)):
                await call(client)
        assert client.stats.open == 0
        await client.close()
