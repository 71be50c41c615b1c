"""A provider that does on the wire exactly what a test says, bytes and manners: plain TCP, TLS or a unix socket.

    async def script(talk: Talk) -> None:
        request = await talk.request()
        await talk.send(b"HTTP/1.1 200 OK\\r\\n", b"content-length: 2\\r\\n\\r\\nok")

    async with RawUpstream(script) as upstream:
        ...upstream.url...

The script runs once for each connection; when it returns, the connection is closed in good order. A script that waits for
a request that does not come simply ends.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class RawRequest:
    """A request as it arrived; names are lower-cased, values and body are not touched."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for found, value in self.headers if found == name]


class Talk:
    """One connection, as the script drives it."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: list[RawRequest]
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self._seen = seen

    async def head(self) -> RawRequest:
        """The head of the next request; its body is left where it is."""
        line, *rest = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
        pairs = [row.split(b": ", 1) for row in rest]
        return RawRequest(line, [(name.lower(), value) for name, value in pairs], b"")

    async def request(self) -> RawRequest:
        """The next request with its body."""
        head = await self.head()
        length = int((head.values(b"content-length") or [b"0"])[0])
        request = RawRequest(head.line, head.headers, await self.reader.readexactly(length))
        self._seen.append(request)
        return request

    async def send(self, *pieces: bytes, pause_s: float = 0.0) -> None:
        """Each piece in a write of its own; `pause_s` between them lets the other side see them apart."""
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(pause_s)
            if self.writer.is_closing():
                raise ConnectionResetError("the client has gone")
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self, body: bytes = b"ok", *, status: bytes = b"200 OK", headers: bytes = b"") -> None:
        """A well-formed answer of known length."""
        await self.send(b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, headers, len(body), body))

    def reset(self) -> None:
        """Closes with a RST: what the other side has not read yet may be lost."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def half_close(self) -> None:
        """Ends our side of the stream at once, without the loop."""
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as twin:
            twin.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Closes TCP without a word of TLS."""
        self.writer.transport.abort()

    async def hang(self) -> None:
        """Nothing more, until the other side closes."""
        while await self.reader.read(65536):
            pass


Script = Callable[[Talk], Awaitable[None]]


class RawUpstream:
    """The server; `seen` has every request that was read whole, `connections` counts them, `open` those that stand."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, unix: Path | None = None) -> None:
        self._script = script
        self._tls = tls
        self._unix = unix
        self._running: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.connections = 0
        self.open = 0
        self.seen: list[RawRequest] = []
        self.errors: list[BaseException] = []

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        if self._unix is not None:
            return f"unix:{self._unix}"
        return f"{'https' if self._tls else 'http'}://{'localhost' if self._tls else '127.0.0.1'}:{self.port}"

    async def __aenter__(self) -> Self:
        if self._unix is not None:
            self._server = await asyncio.start_unix_server(self._serve, self._unix)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._server.wait_closed()
        if error is None and self.errors:
            raise self.errors[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self.connections += 1
        self.open += 1
        try:
            await self._script(Talk(self.connections, reader, writer, self.seen))
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        except AssertionError as error:
            self.errors.append(error)
        finally:
            self.open -= 1
            self._running.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await asyncio.wait_for(writer.wait_closed(), 1)


async def answers(talk: Talk) -> None:
    """The well-behaved script: `ok` to every request, on a connection that is kept."""
    while True:
        await talk.request()
        await talk.answer()


def saying(*pieces: bytes, pause_s: float = 0.002, then_hang: bool = False) -> Script:
    """A script that reads a request and writes these pieces, then closes (or keeps quiet)."""

    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.send(*pieces, pause_s=pause_s)
        if then_hang:
            await talk.hang()

    return script
