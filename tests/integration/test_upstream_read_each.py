"""Pieces handed on in the callback that brings them: all of them, in order, until the reader wants to look itself."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.pipeline.upstream import Exchange, UpstreamClient
from proxy.pipeline.upstream.connection import READ_HIGH_WATER
from proxy.pipeline.upstream.errors import CallClosed, Truncated
from proxy.pipeline.upstream.exchange import STEP_BYTES
from tests.support.both_loops import both_loops
from tests.support.raw_upstream import RawUpstream, Talk
from tests.support.upstream_calls import OK, client_of, until

WORDS = [b"one", b"two", b"three", b"four", b"five", b"six"]


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


async def in_pieces(talk: Talk) -> None:
    await talk.request()
    head = OK + b"transfer-encoding: chunked\r\n\r\n"
    await talk.send(head, *(chunk(word) for word in WORDS), b"0\r\n\r\n", pause_s=0.01)
    await talk.hang()


async def torn(talk: Talk) -> None:
    await talk.request()
    await talk.send(OK + b"content-length: 99\r\n\r\n", *WORDS, pause_s=0.01)


async def begun(client: UpstreamClient) -> Exchange:
    exchange = client.open(b"GET", b"/")
    await exchange.start()
    return exchange


@both_loops
async def test_every_piece_comes_once_and_in_order_and_the_connection_serves_the_next_call() -> None:
    async with RawUpstream(in_pieces) as upstream:
        client = client_of(upstream)
        exchange = await begun(client)
        seen: list[bytes] = []
        asleep = asyncio.current_task()

        def each(piece: bytes) -> bool:
            seen.append(piece)
            awake.append(asyncio.current_task() is asleep)
            return True

        awake: list[bool] = []
        assert not await exchange.read_each(each)
        assert b"".join(seen) == b"".join(WORDS)
        assert len(seen) == len(WORDS)
        assert awake.count(True) <= 1  # what was there before; the others came without this task
        assert await exchange.read() == b""
        exchange.close()
        assert client.stats.idle == 1
        await client.close()


@both_loops
async def test_the_reader_may_stop_it_and_go_on_in_either_way() -> None:
    async with RawUpstream(in_pieces) as upstream:
        client = client_of(upstream)
        exchange = await begun(client)
        seen: list[bytes] = []

        def each(piece: bytes) -> bool:
            seen.append(piece)
            return len(seen) % 2 == 0  # stops at every other piece

        assert await exchange.read_each(each)
        seen.append(await exchange.read())
        more = True
        while more:
            more = await exchange.read_each(each)
            seen.append(await exchange.read())
        assert b"".join(seen) == b"".join(WORDS)
        exchange.close()
        await client.close()


@both_loops
async def test_what_the_reader_raises_is_the_readers() -> None:
    async with RawUpstream(in_pieces) as upstream:
        client = client_of(upstream)
        exchange = await begun(client)

        def each(piece: bytes) -> bool:
            raise LookupError(piece)

        with pytest.raises(LookupError):
            await exchange.read_each(each)
        rest = [piece async for piece in _pieces(exchange)]
        assert b"".join(rest) == b"".join(WORDS[1:])
        exchange.close()
        await client.close()


async def _pieces(exchange: Exchange) -> AsyncIterator[bytes]:
    while piece := await exchange.read():
        yield piece


@both_loops
async def test_a_torn_answer_is_handed_on_to_where_it_broke() -> None:
    async with RawUpstream(torn) as upstream:
        client = client_of(upstream)
        exchange = await begun(client)
        seen: list[bytes] = []

        def each(piece: bytes) -> bool:
            seen.append(piece)
            return True

        with pytest.raises(Truncated):
            await exchange.read_each(each)
        assert b"".join(seen) == b"".join(WORDS)
        exchange.close()
        await client.close()


@both_loops
async def test_a_call_that_is_closed_in_the_middle_of_a_piece_ends() -> None:
    async with RawUpstream(in_pieces) as upstream:
        client = client_of(upstream)
        exchange = await begun(client)

        def each(_: bytes) -> bool:
            exchange.abort(CallClosed())
            return True

        with pytest.raises(CallClosed):
            await exchange.read_each(each)
        assert client.stats.open == 0
        await client.close()
        await until(lambda: upstream.open == 0)


@both_loops
async def test_much_at_once_is_handed_on_in_steps_and_the_provider_goes_on_behind_the_last() -> None:
    async def much(talk: Talk) -> None:
        await talk.request()
        await talk.send(OK + b"content-length: %d\r\n\r\n" % (16 * STEP_BYTES))
        await talk.hang()

    async with RawUpstream(much) as upstream:
        client = client_of(upstream)
        exchange = await begun(client)
        connection = exchange._connection
        assert connection is not None
        half = b"x" * (STEP_BYTES // 2)
        shapes = (
            ([half + b"x"] * 4, 2),
            ([half] * 10, 5),
            ([half] * 5, 3),
            ([3 * half, half], 2),
            ([b"x" * 100] * 1000, 4),
        )
        for pieces, steps in shapes:
            size = sum(map(len, pieces))
            connection.data_received(b"".join(pieces))
            exchange.pieces[:] = pieces  # as they come in chunks
            assert exchange.buffered == size
            for step in range(steps):
                assert (connection.reading_paused or size <= READ_HIGH_WATER) == bool(size)
                size -= len(await exchange.read())
                assert exchange.buffered == size, step
            assert not size
            assert not connection.reading_paused
        exchange.close()
        await client.close()


@both_loops
async def test_streams_at_full_speed_lose_nothing_and_let_others_in_between() -> None:
    async def flood(talk: Talk) -> None:
        await talk.request()
        await talk.send(OK + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(100):
            await talk.send(chunk(b"x" * 208) * 200)
        await talk.send(b"0\r\n\r\n")
        await talk.hang()

    async def read(client: UpstreamClient) -> tuple[int, int]:
        exchange = await begun(client)
        sizes: list[int] = []

        def each(piece: bytes) -> bool:
            sizes.append(len(piece))
            return True

        assert not await exchange.read_each(each)
        exchange.close()
        return sum(sizes), max(sizes)

    async with RawUpstream(flood) as upstream, asyncio.timeout(20):
        client = client_of(upstream)
        for size, largest in await asyncio.gather(*(read(client) for _ in range(8))):
            assert size == 100 * 200 * 208
            assert largest < STEP_BYTES + 208
        await client.close()


@both_loops
async def test_a_reader_that_stops_stops_the_provider() -> None:
    sent = 0

    async def flood(talk: Talk) -> None:
        nonlocal sent
        await talk.request()
        await talk.send(OK + b"content-length: %d\r\n\r\n" % (64 * READ_HIGH_WATER))
        for _ in range(64):
            await talk.send(b"x" * READ_HIGH_WATER)
            sent += 1

    async with RawUpstream(flood) as upstream:
        client = client_of(upstream)
        exchange = await begun(client)
        size = 0

        def each(piece: bytes) -> bool:
            nonlocal size
            size += len(piece)
            return False

        assert await exchange.read_each(each)
        await asyncio.sleep(0.3)
        assert sent < 64  # the rest waits at the provider
        assert exchange.buffered <= 3 * READ_HIGH_WATER
        while await exchange.read_each(each):
            pass
        assert size == 64 * READ_HIGH_WATER
        exchange.close()
        await client.close()
