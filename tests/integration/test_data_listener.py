"""The data listener on raw sockets: requests at any cut, bounds, deadlines, leaving clients, and nothing left behind."""

import asyncio
import contextlib
import gc
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise

import pytest

from proxy.config import Server as ServerConfig
from proxy.core.errors import FareboxError
from proxy.pipeline import large_body
from proxy.pipeline import server as server_module
from proxy.pipeline.client import ClientConnection
from proxy.pipeline.exchange import ClientLeft, Exchange
from proxy.pipeline.large_body import LARGE_BODY_BYTES
from proxy.pipeline.server import DataListener
from proxy.pipeline.turnstile import CALLS_A_TURN, CROWD
from proxy.tasks import Tasks
from tests.support.both_loops import both_loops
from tests.support.upstream_calls import until

Handler = Callable[[Exchange], Awaitable[None]]
PLAIN = [(b"content-type", b"application/octet-stream")]
MAX_BODY = 4 * 1024 * 1024


async def echo(exchange: Exchange) -> None:
    """Answers with what came; errors as the pipeline would."""
    try:
        body = await exchange.read_body(MAX_BODY, 5)
    except FareboxError as error:
        exchange.answer(error.status, PLAIN, error.code.encode())
        return
    head = json.dumps([exchange.method, exchange.path, exchange.query, len(exchange.headers)]).encode()
    exchange.answer(200, PLAIN, head + b"\n" + body)


@contextlib.asynccontextmanager
async def listening(handle: Handler = echo, **settings: float) -> AsyncIterator[tuple[DataListener, int]]:
    listener = DataListener(ServerConfig(**settings), handle)
    server = await asyncio.get_running_loop().create_server(listener.protocol, "127.0.0.1", 0)
    tasks = Tasks()
    listener.start(tasks)
    try:
        yield listener, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await listener.drain(0.2)
        await tasks.close()
        await server.wait_closed()
    assert not listener.connections
    assert not listener.open_calls


class Client:
    """A raw client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        async with asyncio.timeout(10):
            head = await self._reader.readuntil(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in lines[1:-2])
            body = await self._reader.readexactly(int(headers.get(b"content-length", b"0")))
        return int(lines[0].split()[1]), headers, body

    async def rest(self) -> bytes:
        async with asyncio.timeout(10):
            try:
                return await self._reader.read(-1)
            except ConnectionError:
                return b""

    async def closed(self) -> bool:
        return not await self.rest()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def client_of(port: int) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 24))
    try:
        yield client
    finally:
        await client.close()


def request(body: bytes = b"", *, method: str = "POST", target: str = "/p?q=1", headers: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body


def chunked(body: bytes, size: int, trailer: bytes = b"") -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    framed = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    head = b"POST /chunked HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + framed + b"0\r\n" + trailer + b"\r\n"


@both_loops
async def test_clients_that_hang_up_together_are_closed_few_in_a_turn() -> None:
    async with listening() as (listener, port):
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
        await until(lambda: len(listener.connections) == 200)
        for _, writer in clients:
            writer.close()
        time.sleep(0.05)  # noqa: ASYNC251 - all of them have hung up before the loop looks again
        left = [200]
        async with asyncio.timeout(5):
            while left[-1]:
                await asyncio.sleep(0)
                left.append(len(listener.connections))
        assert max(before - after for before, after in pairwise(left)) <= 32


@both_loops
async def test_a_request_is_read_whole_and_answered() -> None:
    async with listening() as (_, port), client_of(port) as client:
        await client.send(request(b"hello", headers="X-Two:  padded \t\r\n"))
        status, _, body = await client.answer()
        assert (status, body) == (200, b'["POST", "/p", "q=1", 3]\nhello')
        await client.send(request(method="GET", target="/a%2Fb"))
        assert (await client.answer())[2] == b'["GET", "/a%2Fb", "", 2]\n'


@both_loops
async def test_any_cut_of_any_mixture_of_requests() -> None:
    source = random.Random(7)
    bodies = [
        source.randbytes(size)
        for size in (0, 1, 300, 70_000, LARGE_BODY_BYTES, LARGE_BODY_BYTES + 1, 600_000, 1_500_000, 17)
    ]
    async with listening() as (_, port):
        for _ in range(6):
            source.shuffle(bodies)
            wire = b"".join(
                request(body) if source.random() < 0.6 else chunked(body, source.choice((7_000, 100_000)), b"t: v\r\n")
                for body in bodies
            )
            async with client_of(port) as client:

                async def send(client: Client = client, wire: bytes = wire) -> None:
                    start = 0
                    while start < len(wire):
                        size = source.choice((1, 20, 1_000, 65_536, 200_000, 900_000))
                        await client.send(wire[start : start + size])
                        start += size
                        if source.random() < 0.3:
                            await asyncio.sleep(0)

                async with asyncio.TaskGroup() as group:
                    group.create_task(send())
                    for body in bodies:
                        status, _, answer = await client.answer()
                        assert status == 200
                        assert answer.partition(b"\n")[2] == body


@both_loops
async def test_a_large_body_goes_around_the_parser_and_the_next_request_is_read_by_it() -> None:
    body = random.Random(1).randbytes(1_000_000)
    async with listening() as (_, port), client_of(port) as client:
        await client.send(request(body) + request(b"next"))
        assert (await client.answer())[2].endswith(body)
        assert (await client.answer())[2].endswith(b"\nnext")
        # The parser that starts anew is as strict as the first one.
        await client.send(b"NONSENSE\r\n\r\n")
        assert (await client.answer())[0] == 400
        assert await client.closed()


@both_loops
@pytest.mark.parametrize(
    "wire",
    [
        b"hello\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\na b: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\0y\r\n\r\n",
        b"GET / HTTP/3.7\r\nhost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5, 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300 + b"\r\n",
        b"GET / HTTP/1.1\r\na: " + b"b" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"b" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\na: " + b"b" * 400_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_not_clean_http_is_refused_and_the_connection_closed(wire: bytes) -> None:
    async with listening() as (_, port), client_of(port) as client:
        await client.send(request(b"good"))
        assert (await client.answer())[0] == 200
        await client.send(wire)
        status, headers, body = await client.answer()
        assert (status, headers[b"connection"]) == (400, b"close")
        assert json.loads(body)["error"]["code"] == "bad_http_request"
        assert await client.closed()


@both_loops
@pytest.mark.parametrize(
    "framed",
    [
        b"zz\r\n",
        b"5\r\nhelloworld\r\n",
        b"ffffffffffffffffffff\r\nhello",
        b"5;" + b"e" * 70_000,
        b"5\r\nhello\r\n0\r\n" + b"t: " + b"v" * 400_000,
    ],
    ids=["no size", "too long", "a huge size", "an endless extension", "an endless trailer"],
)
async def test_a_body_that_cannot_be_read_ends_its_call(framed: bytes) -> None:
    async with listening() as (_, port), client_of(port) as client:
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.02)
        with contextlib.suppress(ConnectionError):
            await client.send(framed)
        status, headers, body = await client.answer()
        assert (status, headers[b"connection"], body) == (400, b"close", b"bad_http_request")


@both_loops
async def test_requests_in_line_are_answered_in_their_order_and_bounded() -> None:
    let_go = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await let_go.wait()
        await echo(exchange)

    async with listening(slow) as (listener, port), client_of(port) as client:
        sending = asyncio.gather(client.send(b"".join(request(b"%06d" % number) for number in range(50_000))))
        await until(lambda: listener.open_calls == 1)
        await asyncio.sleep(0.1)
        (connection,) = listener.connections
        # What one read held is in line; then the client waits.
        assert len(connection._line) < 10_000
        assert connection._reading_paused
        let_go.set()
        for number in range(50_000):
            assert (await client.answer())[2].endswith(b"\n%06d" % number)
        await sending


@both_loops
async def test_an_early_answer_is_seen_although_the_body_is_still_coming() -> None:
    async def refuse(exchange: Exchange) -> None:
        exchange.answer(401, PLAIN, b"no")

    async with listening(refuse) as (_, port), client_of(port) as client:
        for size in (100, 300_000, 3_000_000):
            await client.send(request(b"x" * size))
            assert (await client.answer())[0] == 401


@both_loops
async def test_a_large_body_comes_a_megabyte_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_body, "_A_TURN_BYTES", 4096)
    sizes: list[int] = []
    came = large_body.LargeBody.buffer_updated

    def note(self: large_body.LargeBody, nbytes: int) -> None:
        sizes.append(nbytes)
        came(self, nbytes)

    monkeypatch.setattr(large_body.LargeBody, "buffer_updated", note)
    body = random.Random(1).randbytes(1_000_000)
    async with listening() as (_, port), client_of(port) as client:
        for _ in range(2):
            await client.send(request(body))
            assert (await client.answer())[2].endswith(body)
        await client.send(request(body)[:-50_000])
        client.abort()
    assert max(sizes) == 4096
    assert sizes.count(4096) > 100


@both_loops
async def test_a_body_that_nobody_reads_stops_the_client() -> None:
    let_go = asyncio.Event()

    async def later(exchange: Exchange) -> None:
        await let_go.wait()
        await echo(exchange)

    body = b"x" * 3_000_000
    for wire in (request(body), chunked(body, 50_000)):
        let_go.clear()
        async with listening(later) as (listener, port), client_of(port) as client:
            sending = asyncio.gather(client.send(wire))
            await until(lambda: listener.open_calls == 1)
            await asyncio.sleep(0.2)
            (connection,) = listener.connections
            assert connection.exchange is not None
            assert connection.exchange.received_bytes < 1_100_000
            let_go.set()
            assert (await client.answer())[2].endswith(body)
            await sending


@both_loops
async def test_a_body_above_the_bound_is_refused_whether_it_is_declared_or_not() -> None:
    async with listening() as (_, port):
        for wire in (request(b"x" * (MAX_BODY + 1)), chunked(b"x" * (MAX_BODY + 1), 100_000)):
            async with client_of(port) as client:
                sending = asyncio.gather(client.send(wire))
                status, headers, body = await client.answer()
                assert (status, headers[b"connection"], body) == (413, b"close", b"request_too_large")
                await asyncio.gather(sending, return_exceptions=True)


@both_loops
@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
async def test_another_protocol_is_not_taken_up(upgrade: str) -> None:
    async with listening() as (_, port), client_of(port) as client:
        await client.send(request(headers=f"connection: upgrade\r\nupgrade: {upgrade}\r\n") + b"\x81\x00\x81\x00")
        status, headers, _ = await client.answer()
        assert (status, headers[b"connection"]) == (200, b"close")
        assert await client.closed()


@both_loops
@pytest.mark.parametrize("framed", [request(b"hello"), chunked(b"hello", 2), chunked(b"hello", 5, b"x: y\r\n")])
async def test_a_body_behind_an_offer_of_another_protocol_is_read(framed: bytes) -> None:
    # As the HTTP client of the JDK sends its first request to a server without TLS.
    offer = b"\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAA\r\n"
    wire = framed.replace(b"\r\n", offer, 1)
    async with listening() as (_, port):
        for at in (len(wire), wire.index(b"\r\n\r\n") + 4, wire.index(b"\r\n\r\n") + 2, len(wire) - 1):
            async with client_of(port) as client:
                await client.send(wire[:at])
                await asyncio.sleep(0)
                await client.send(wire[at:] + wire + request(b"next"))
                for expected in (b"hello", b"hello", b"next"):
                    status, _, body = await client.answer()
                    assert (status, body.partition(b"\n")[2]) == (200, expected)


@both_loops
async def test_http_1_0_and_connection_close_end_the_connection() -> None:
    async with listening() as (_, port):
        for wire in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"):
            async with client_of(port) as client:
                await client.send(wire)
                assert (await client.answer())[1][b"connection"] == b"close"
                assert await client.closed()


@both_loops
async def test_head_is_answered_without_a_body() -> None:
    async with listening() as (_, port), client_of(port) as client:
        await client.send(request(method="HEAD") + request(b"next"))
        assert b"content-length" in await client._reader.readuntil(b"\r\n\r\n")
        assert (await client.answer())[2].endswith(b"next")


@both_loops
async def test_a_client_is_told_to_continue_once_its_body_is_wanted() -> None:
    async with listening() as (_, port), client_of(port) as client:
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        assert await client._reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hello")
        assert (await client.answer())[2].endswith(b"hello")


@both_loops
async def test_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.05)

    async def hurried(exchange: Exchange) -> None:
        try:
            await exchange.read_body(MAX_BODY, 0.3)
        except FareboxError as error:
            exchange.answer(error.status, PLAIN, error.code.encode())

    async with listening(hurried, header_timeout_s=0.3, idle_timeout_s=0.3) as (_, port):
        for wire in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n"):
            async with client_of(port) as client:
                await client.send(wire)
                assert await client.closed()
        for size in (100, 1_000_000):
            async with client_of(port) as client:
                await client.send(request(b"x" * size)[:-50])
                assert (await client.answer())[0] == 408
    async with listening(idle_timeout_s=0.3) as (_, port), client_of(port) as client:
        await client.send(request(b"one"))
        assert (await client.answer())[0] == 200
        assert await client.closed()


@both_loops
async def test_a_client_that_never_reads_is_cut_and_said_to_have_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.05)
    seen: list[bool] = []

    async def pour(exchange: Exchange) -> None:
        exchange.begin(200, PLAIN)
        try:
            while True:
                await exchange.send(b"x" * 100_000)
        except ClientLeft:
            seen.append(exchange.stalled)
            raise

    async def quietly(exchange: Exchange) -> None:
        with contextlib.suppress(ClientLeft):
            await pour(exchange)

    async with listening(quietly, write_stall_s=0.3) as (_, port), client_of(port) as client:
        await client.send(request())
        await until(lambda: bool(seen))
    assert seen == [True]


@both_loops
@pytest.mark.parametrize("size", [10, 1_000_000])
async def test_a_client_that_leaves_is_noticed_wherever_its_call_is(size: int) -> None:
    seen: list[str] = []

    async def notice(exchange: Exchange) -> None:
        try:
            await exchange.read_body(MAX_BODY, 5)
        except ClientLeft:
            seen.append("body")
            return
        left = asyncio.Event()
        exchange.on_left = left.set
        await left.wait()
        seen.append("answer" if exchange.left and not exchange.stalled else "?")

    async with listening(notice) as (listener, port):
        for cut, expected in ((5, "body"), (0, "answer")):
            async with client_of(port) as client:
                wire = request(b"x" * size)
                await client.send(wire[: len(wire) - cut])
                await until(lambda: listener.open_calls == 1)
                await asyncio.sleep(0.05)
                client.abort()
                await until(lambda: listener.open_calls == 0)
            assert seen.pop() == expected


@both_loops
async def test_clients_of_long_calls_are_taken_off_the_loop_and_leave_few_in_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.02)
    left: list[Exchange] = []

    async def wait(exchange: Exchange) -> None:
        await exchange.read_body(MAX_BODY, 5)
        gone = asyncio.Event()
        exchange.on_left = gone.set
        await gone.wait()
        left.append(exchange)

    async with listening(wait) as (listener, port):
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(150)]
        for _, writer in clients:
            writer.write(request(b"hello"))
        await until(lambda: len(listener.lookout) == 150)
        for number, (_, writer) in enumerate(clients):
            if number % 2:
                writer.transport.abort()
            else:
                writer.close()
        open_calls = [150]
        async with asyncio.timeout(5):
            while open_calls[-1]:
                await asyncio.sleep(0)
                open_calls.append(listener.open_calls)
        assert max(before - after for before, after in pairwise(open_calls)) <= 4
        assert len(left) == 150
        assert all(exchange.left and not exchange.stalled for exchange in left)
        assert not len(listener.lookout)


@both_loops
async def test_a_client_of_a_long_call_is_listened_to_again_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.02)
    let_go = asyncio.Event()

    async def later(exchange: Exchange) -> None:
        await let_go.wait()
        await echo(exchange)

    async with listening(later) as (listener, port), client_of(port) as client:
        for said_meanwhile in (False, True):
            let_go.clear()
            await client.send(request(b"one"))
            await until(lambda: len(listener.lookout) == 1)
            if said_meanwhile:
                await client.send(request(b"two"))
                await asyncio.sleep(0.05)
                assert listener.open_calls == 1
            let_go.set()
            assert (await client.answer())[2].endswith(b"one")
            assert not len(listener.lookout)
        assert (await client.answer())[2].endswith(b"two")


@both_loops
async def test_who_sends_on_is_not_taken_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_SWEEP_S", 0.02)
    async with listening() as (listener, port), client_of(port) as client:
        wire = request(b"x" * 1000)
        await client.send(wire[:-100])
        await until(lambda: listener.open_calls == 1)
        await asyncio.sleep(0.2)
        assert not len(listener.lookout)
        await client.send(wire[-100:])
        assert (await client.answer())[0] == 200


@both_loops
async def test_a_crowd_begins_few_in_a_turn() -> None:
    begun, all_begun = 0, asyncio.Event()

    async def count(exchange: Exchange) -> None:
        nonlocal begun
        begun += 1
        await all_begun.wait()
        exchange.answer(200, PLAIN, b"ok")

    async with listening(count) as (listener, port):
        clients = [Client(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(200)]
        await until(lambda: len(listener.connections) == 200)
        for client in clients:
            await client.send(request(b"x"))
        time.sleep(0.05)  # noqa: ASYNC251 - all of them have asked before the loop looks again
        seen = [begun]
        async with asyncio.timeout(5):
            while seen[-1] < 200:
                await asyncio.sleep(0)
                seen.append(begun)
        first, *others = (after - before for before, after in pairwise(seen) if after > before)
        assert first <= CROWD + CALLS_A_TURN
        assert max(others) <= CALLS_A_TURN
        all_begun.set()
        for client in clients:
            assert (await client.answer())[0] == 200
            await client.close()


@both_loops
async def test_drain_closes_the_idle_and_lets_the_busy_finish() -> None:
    let_go = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        if exchange.path == "/slow":
            await let_go.wait()
        await echo(exchange)

    async with listening(slow) as (listener, port), client_of(port) as idle, client_of(port) as busy:
        await idle.send(request(b"one"))
        assert (await idle.answer())[0] == 200
        await busy.send(request(b"two", target="/slow"))
        await until(lambda: listener.open_calls == 1)
        draining = asyncio.gather(listener.drain(5))
        assert await idle.closed()
        let_go.set()
        status, headers, _ = await busy.answer()
        assert status == 200
        assert headers.get(b"connection") in {None, b"close"}
        assert await busy.closed()
        await draining


@both_loops
async def test_a_cut_call_that_does_not_end_hears_that_there_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.pipeline.server._COUNT_S", 0.1)
    let_go = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await let_go.wait()
        exchange.cut()

    async with listening(slow) as (listener, port), client_of(port) as client:
        await client.send(request(b"x"))
        await until(lambda: listener.open_calls == 1)
        await listener.drain(0, let_go.set)
        assert not listener.open_calls


@both_loops
async def test_what_has_ended_leaves_nothing_for_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        async with listening() as (listener, port):
            for size in (10, 1_000_000):
                async with client_of(port) as client:
                    await client.send(request(b"x" * size))
                    assert (await client.answer())[0] == 200
                await until(lambda: not listener.connections)
            await asyncio.sleep(0.05)
            assert not [thing for thing in gc.get_objects() if isinstance(thing, ClientConnection | Exchange)]
    finally:
        gc.enable()
