"""Which connection serves a call: reuse, lines, limits, and that every slot comes back."""

import asyncio
from itertools import pairwise

import pytest

from proxy.core.errors import Unavailable
from proxy.pipeline.upstream import Origin, PoolLimits, PoolStats, UpstreamClient
from proxy.pipeline.upstream.errors import (
    ConnectFailed,
    Disconnected,
    PoolExhausted,
    Truncated,
)
from tests.support.both_loops import both_loops
from tests.support.raw_upstream import RawUpstream, Talk, answers, saying
from tests.support.upstream_calls import OK, body_of, call, client_of, until


@both_loops
async def test_connections_are_kept_and_the_last_used_is_taken_first() -> None:
    served: list[int] = []

    async def script(talk: Talk) -> None:
        while True:
            await talk.request()
            served.append(talk.number)
            await asyncio.sleep(0.01)
            await talk.answer()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream)
        await asyncio.gather(*(call(client) for _ in range(3)))
        assert client.stats.open == client.stats.idle == 3
        last = served[-1]
        for _ in range(4):
            await call(client)
        assert served[3:] == [last] * 4
        await client.close()
        assert client.stats.open == 0


@both_loops
async def test_reused_is_said() -> None:
    async with RawUpstream(answers) as upstream:
        client = client_of(upstream)
        for expected in (False, True, True):
            exchange = client.open(b"GET", b"/")
            await exchange.start()
            assert exchange.reused is expected
            await body_of(exchange)
            exchange.close()
        await client.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"connection: close\r\ncontent-length: 2\r\n\r\nok",
        OK + b"content-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
        OK + b"content-length: 2\r\n\r\nok\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore",
    ],
    ids=["HTTP/1.0", "close", "a second answer", "a line end", "behind chunks"],
)
@both_loops
async def test_a_connection_in_doubt_is_not_used_again(answer: bytes) -> None:
    async with RawUpstream(saying(answer, then_hang=True)) as upstream:
        client = client_of(upstream)
        for number in (1, 2):
            assert await call(client) == (200, b"ok")
            assert client.stats.open == 0
            assert upstream.connections == number
        await client.close()


@pytest.mark.parametrize("ending", ["close", "bytes", "reset"])
@both_loops
async def test_an_idle_connection_that_stirs_is_not_used_again(ending: str) -> None:
    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.answer()
        await asyncio.sleep(0.02)
        if ending == "bytes":
            await talk.send(OK + b"content-length: 6\r\n\r\npoison")
            await talk.hang()
        if ending == "reset":
            talk.reset()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream)
        for _ in range(3):
            assert await call(client) == (200, b"ok")
            assert client.stats.idle == 1
            await until(lambda: client.stats == PoolStats(0, 0, 0))
        assert upstream.connections == 3
        await client.close()


@both_loops
async def test_a_connection_that_closed_while_the_loop_was_busy_is_noticed_before_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("proxy.pipeline.upstream.connection._TRUSTED_IDLE_S", 0.0)
    talks: list[Talk] = []

    async def script(talk: Talk) -> None:
        talks.append(talk)
        await talk.request()
        await talk.answer()
        await talk.hang()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream)
        assert await call(client) == (200, b"ok")
        # Without giving the loop a turn in between: the end of the stream is in the socket, and nobody was told.
        talks[0].half_close()
        assert await call(client) == (200, b"ok")
        assert upstream.connections == 2
        await client.close()


@both_loops
async def test_a_cancelled_call_gives_back_what_it_had() -> None:
    async with RawUpstream(saying(b"", then_hang=True)) as upstream:
        client = client_of(upstream, limits=PoolLimits(connections=1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call(client), 0.05)
        in_line = [asyncio.ensure_future(call(client)) for _ in range(3)]  # noqa: TID251
        await asyncio.sleep(0.05)
        assert client.stats == PoolStats(1, 0, 2)
        for task in reversed(in_line):
            task.cancel()
        await asyncio.gather(*in_line, return_exceptions=True)
        assert client.stats == PoolStats(0, 0, 0)
        await client.close()


@both_loops
async def test_two_hundred_calls_over_twenty_connections() -> None:
    busy = most = 0

    async def script(talk: Talk) -> None:
        nonlocal busy, most
        while True:
            request = await talk.request()
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0.002)
            busy -= 1
            await talk.answer(request.body)

    async with RawUpstream(script) as upstream:
        client = client_of(upstream, limits=PoolLimits(connections=20, waiting=200))
        bodies = [b"%d" % number for number in range(200)]
        assert await asyncio.gather(*(call(client, body) for body in bodies)) == [(200, body) for body in bodies]
        assert upstream.connections == 20
        assert most <= 20
        assert client.stats == PoolStats(20, 20, 0)
        await client.close()
        await until(lambda: upstream.open == 0)


@both_loops
async def test_calls_wait_in_line_in_their_order_and_not_for_ever() -> None:
    async def script(talk: Talk) -> None:
        while True:
            request = await talk.request()
            await asyncio.sleep(0.8 if request.body == b"slow" else 0.01)
            await talk.answer(request.body)

    async with RawUpstream(script) as upstream:
        client = client_of(upstream, limits=PoolLimits(connections=1, waiting=3, wait_s=0.3))
        done: list[bytes] = []

        async def noted(body: bytes) -> None:
            done.append((await call(client, body))[1])

        await asyncio.gather(*(noted(b"%d" % number) for number in range(4)))
        assert done == [b"0", b"1", b"2", b"3"]

        results = await asyncio.gather(
            *(call(client, body) for body in [b"slow", b"a", b"b", b"c", b"d"]), return_exceptions=True
        )
        assert results[0] == (200, b"slow")
        assert all(isinstance(result, PoolExhausted) for result in results[1:])
        assert client.stats == PoolStats(1, 1, 0)
        await client.close()


@both_loops
async def test_those_in_line_are_served_when_connections_break() -> None:
    async def script(talk: Talk) -> None:
        await talk.request()
        await asyncio.sleep(0.005)
        if talk.number % 2:
            talk.reset()
        else:
            await talk.answer(headers=b"connection: close\r\n")

    async with RawUpstream(script) as upstream:
        client = client_of(upstream, limits=PoolLimits(connections=3))
        results = await asyncio.gather(*(call(client) for _ in range(30)), return_exceptions=True)
        assert sum(result == (200, b"ok") for result in results) == 15
        assert sum(isinstance(result, Disconnected) for result in results) == 15
        assert client.stats == PoolStats(0, 0, 0)
        await client.close()


@both_loops
async def test_calls_of_a_provider_that_closes_everything_fail_few_in_a_turn() -> None:
    hang_up = asyncio.Event()

    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.send(OK, b"content-length: 10\r\n\r\nhalf")
        await hang_up.wait()

    failed = 0

    async def broken_off(client: UpstreamClient) -> None:
        nonlocal failed
        with pytest.raises(Truncated):
            await call(client)
        failed += 1

    async with RawUpstream(script) as upstream:
        client = client_of(upstream)
        async with asyncio.timeout(5), asyncio.TaskGroup() as calls:
            for _ in range(120):
                calls.create_task(broken_off(client))
            await until(lambda: upstream.connections == 120)
            hang_up.set()
            seen = [0]
            while seen[-1] < 120:
                await asyncio.sleep(0)
                seen.append(failed)
        assert max(after - before for before, after in pairwise(seen)) <= 16
        assert client.stats == PoolStats(open=0, idle=0, waiting=0)
        await client.close()


@both_loops
async def test_idle_connections_are_closed_after_their_time() -> None:
    async with RawUpstream(answers) as upstream:
        client = client_of(upstream, limits=PoolLimits(keepalive_s=0.4))
        await asyncio.gather(*(call(client) for _ in range(3)))
        assert client.stats.idle == 3
        await asyncio.sleep(0.1)
        assert client.stats.idle == 3
        await until(lambda: client.stats.open == 0 and upstream.open == 0 and client._sweep._timer is None)
        assert await call(client) == (200, b"ok")
        await client.close()


@both_loops
async def test_a_retired_client_serves_those_that_chose_it_and_keeps_nothing() -> None:
    async with RawUpstream(answers) as upstream:
        client = client_of(upstream)
        assert await call(client) == (200, b"ok")
        assert client.stats == PoolStats(1, 1, 0)
        client.retire()
        assert client.stats == PoolStats(0, 0, 0)
        # A call that was routed before the client was replaced, and comes back from the ledger only now.
        assert await call(client) == (200, b"ok")
        assert client.stats == PoolStats(0, 0, 0)
        await until(lambda: upstream.open == 0)
        await client.close()


@both_loops
async def test_a_closed_client_lets_open_calls_end_and_opens_no_more() -> None:
    async with RawUpstream(
        saying(OK + b"content-length: 6\r\n\r\nabc", b"def", pause_s=0.1, then_hang=True)
    ) as upstream:
        client = client_of(upstream)
        exchange = client.open(b"GET", b"/")
        await exchange.start()
        await client.close()
        with pytest.raises(Unavailable):
            client.open(b"GET", b"/")
        assert await body_of(exchange) == b"abcdef"
        exchange.close()
        await asyncio.sleep(0.02)
        assert client.stats.open == 0


@both_loops
async def test_those_in_line_are_served_when_connecting_fails() -> None:
    async with RawUpstream(answers) as upstream:
        port = upstream.port
    limits = PoolLimits(connections=1, wait_s=3)
    client = UpstreamClient(Origin("http", "127.0.0.1", port), limits=limits)
    results = await asyncio.gather(*(call(client) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectFailed] * 5
    assert client.stats == PoolStats(0, 0, 0)
    await client.close()


@both_loops
async def test_a_turn_that_comes_in_the_moment_of_a_cancellation_is_handed_back() -> None:
    async def script(talk: Talk) -> None:
        request = await talk.request()
        if request.body == b"silent":
            await talk.hang()
        await talk.answer()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream, limits=PoolLimits(connections=1))
        holder = client.open(b"POST", b"/", [], b"silent")
        holding = asyncio.ensure_future(holder.start())  # noqa: TID251
        await until(lambda: holder.sent)
        in_line = asyncio.ensure_future(call(client))  # noqa: TID251
        await until(lambda: client.stats.waiting == 1)
        holder.close()
        assert client.stats == PoolStats(1, 0, 0), "the slot is the next one's already"
        in_line.cancel()
        await asyncio.gather(holding, in_line, return_exceptions=True)
        assert client.stats == PoolStats(0, 0, 0)
        assert await call(client) == (200, b"ok")
        await client.close()
