"""Answers of surfaces that are too long for one turn of the event loop, over real connections."""

import asyncio
import contextlib
import http.client
from collections.abc import AsyncIterator

from proxy.config import Server as ServerConfig
from proxy.pipeline.exchange import ClientLeft, Exchange
from proxy.pipeline.server import DataListener
from proxy.surfaces import serving
from proxy.tasks import Tasks
from tests.support.both_loops import both_loops
from tests.support.upstream_calls import until

BODY = b"".join(b"%07d," % number for number in range(500_001))[:-1]
HEADERS = [(b"content-type", b"application/json")]


@contextlib.asynccontextmanager
async def listening(ended: list[type[BaseException] | None]) -> AsyncIterator[int]:
    """A listener that answers everything with the long body; how each answer ended is added to `ended`."""

    async def handle(exchange: Exchange) -> None:
        try:
            await serving._send_long(exchange, 200, HEADERS, memoryview(BODY))
        except ClientLeft:
            ended.append(ClientLeft)
            raise
        ended.append(None)

    listener = DataListener(ServerConfig(), handle)
    server = await asyncio.get_running_loop().create_server(listener.protocol, "127.0.0.1", 0)
    tasks = Tasks()
    listener.start(tasks)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await listener.drain(0.2)
        await tasks.close()
        await server.wait_closed()


def asked_twice(port: int) -> list[tuple[int, str | None, bytes]]:
    """Two answers on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    found = []
    for _ in range(2):
        connection.request("GET", "/")
        answer = connection.getresponse()
        found.append((answer.status, answer.getheader("content-type"), answer.read()))
    connection.close()
    return found


@both_loops
async def test_a_long_answer_arrives_whole_and_the_connection_goes_on() -> None:
    ended: list[type[BaseException] | None] = []
    async with listening(ended) as port:
        found = await asyncio.to_thread(asked_twice, port)
    assert found == [(200, "application/json", BODY)] * 2
    assert ended == [None, None]


@both_loops
async def test_a_client_that_leaves_in_the_middle_ends_the_answer() -> None:
    ended: list[type[BaseException] | None] = []
    async with listening(ended) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert not ended, "more is left than buffers hold"
        writer.transport.abort()
        await until(lambda: bool(ended))
    assert ended == [ClientLeft]
