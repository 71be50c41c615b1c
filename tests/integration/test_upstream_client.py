"""Calls over real sockets: what is sent and what is handed on, and that neither side can flood the other."""

import asyncio
import gc
import itertools
import random
from pathlib import Path

from proxy.pipeline.upstream import Exchange
from proxy.pipeline.upstream.answer import AnswerReader
from proxy.pipeline.upstream.connection import READ_HIGH_WATER, Connection
from tests.support.both_loops import both_loops
from tests.support.raw_upstream import RawUpstream, Talk, answers, saying
from tests.support.upstream_calls import OK, body_of, call, client_of, until


@both_loops
async def test_a_call_sends_what_it_was_given_and_hands_on_what_comes() -> None:
    async def script(talk: Talk) -> None:
        request = await talk.request()
        assert request.line == b"POST /v1/chat?q=1 HTTP/1.1"
        assert request.headers == [
            (b"host", b"127.0.0.1:%d" % upstream.port), (b"authorization", b"Bearer k"), (b"content-length", b"7"),
        ]  # fmt: skip
        assert request.body == b'{"a":1}'
        await talk.send(
            OK + b"X-One: 1\r\ncontent-encoding: gzip\r\ncontent-length: 6\r\n\r\nabc", b"def", pause_s=0.02
        )
        await talk.hang()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream)
        exchange = client.open(b"POST", b"/v1/chat?q=1", [(b"authorization", b"Bearer k")], b'{"a":1}')
        assert not exchange.sent
        assert upstream.connections == 0
        await exchange.start()
        assert exchange.sent
        assert exchange.status == 200
        assert exchange.headers == [(b"X-One", b"1"), (b"content-encoding", b"gzip"), (b"content-length", b"6")]
        assert await exchange.read() == b"abc"
        assert await exchange.read() == b"def"
        assert await exchange.read() == b""
        assert await exchange.read() == b""
        exchange.close()
        exchange.close()
        await client.close()


@both_loops
async def test_a_unix_socket_is_an_origin(tmp_path: Path) -> None:
    async with RawUpstream(answers, unix=tmp_path / "upstream.sock") as upstream:
        client = client_of(upstream)
        assert await call(client) == (200, b"ok")
        assert upstream.seen[0].values(b"host") == [b"localhost"]
        await client.close()


@both_loops
async def test_a_hundred_answers_at_random_cuts() -> None:
    chance = random.Random(7)
    text = bytes(chance.randrange(256) for _ in range(3000))

    async def script(talk: Talk) -> None:
        while True:
            await talk.request()
            framed = b"".join(b"%x\r\n%b\r\n" % (300, text[at : at + 300]) for at in range(0, len(text), 300))
            plain = OK + b"content-length: %d\r\n\r\n%b" % (len(text), text)
            chunked = OK + b"transfer-encoding: chunked\r\n\r\n" + framed + b"0\r\nx-sum: 1\r\n\r\n"
            data = chance.choice([plain, chunked, b"HTTP/1.1 100 Continue\r\n\r\n" + chunked])
            at = sorted({0, len(data), *(chance.randrange(len(data)) for _ in range(6))})
            await talk.send(*(data[start:end] for start, end in itertools.pairwise(at)), pause_s=0)

    async with RawUpstream(script) as upstream:
        client = client_of(upstream)
        for _ in range(100):
            assert await call(client) == (200, text)
        await client.close()


@both_loops
async def test_an_answer_without_length_ends_with_the_connection() -> None:
    async with RawUpstream(saying(OK + b"\r\nabc", b"def")) as upstream:
        client = client_of(upstream)
        assert await call(client) == (200, b"abcdef")
        assert client.stats.open == 0
        await client.close()


@both_loops
async def test_a_large_body_goes_out_whole_and_in_bounded_memory() -> None:
    body = random.Random(3).randbytes(12_000_000)
    buffered: list[int] = []

    async def script(talk: Talk) -> None:
        request = await talk.head()
        assert request.values(b"content-length") == [b"%d" % len(body)]
        received = bytearray()
        while len(received) < len(body):
            received += await talk.reader.read(300_000)
            connection = exchange._connection
            if connection is not None and connection._transport is not None:
                buffered.append(connection._transport.get_write_buffer_size())
        assert bytes(received) == body
        await talk.answer()
        await talk.hang()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream)
        exchange = client.open(b"POST", b"/", [], body)
        await exchange.start()
        assert await body_of(exchange) == b"ok"
        exchange.close()
        assert client.stats.idle == 1
        assert max(buffered) < 1_000_000
        await client.close()


@both_loops
async def test_an_early_success_that_streams_while_it_reads_gets_the_rest_of_the_body() -> None:
    async def script(talk: Talk) -> None:
        await talk.head()
        await talk.send(OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await talk.reader.readexactly(8_000_000)
        await talk.send(b"3\r\nend\r\n0\r\n\r\n")
        await talk.hang()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream)
        assert await call(client, b"x" * 8_000_000) == (200, b"hiend")
        assert client.stats.idle == 1
        await client.close()


@both_loops
async def test_an_answer_that_nobody_reads_stops_the_provider() -> None:
    total = 40_000_000
    sent = 0

    async def script(talk: Talk) -> None:
        nonlocal sent
        await talk.request()
        await talk.send(OK + b"content-length: %d\r\n\r\n" % total)
        for _ in range(total // 100_000):
            await talk.send(b"x" * 100_000)
            sent += 100_000
        await talk.hang()

    async with RawUpstream(script) as upstream:
        client = client_of(upstream)
        exchange = client.open(b"GET", b"/")
        await exchange.start()
        await asyncio.sleep(0.3)
        stopped_at = sent
        assert stopped_at < total
        await asyncio.sleep(0.1)
        assert sent == stopped_at
        assert exchange.buffered < 3 * READ_HIGH_WATER
        received = 0
        while piece := await exchange.read():
            received += len(piece)
        assert received == total
        exchange.close()
        assert client.stats.idle == 1
        await client.close()


@both_loops
async def test_what_has_ended_leaves_nothing_for_the_collector() -> None:
    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.answer()
        await talk.request()
        await talk.answer(headers=b"connection: close\r\n")

    async with RawUpstream(script) as upstream:
        client = client_of(upstream)
        await call(client)
        gc.collect()
        gc.disable()
        try:
            for _ in range(51):
                await call(client)
            await until(lambda: upstream.open == 0)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = [item for item in gc.garbage if isinstance(item, Exchange | Connection | AnswerReader)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert not left
        await client.close()
