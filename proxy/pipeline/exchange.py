"""One client request and its answer, as the pipeline sees them: head, body in bounds, and bytes going out.

The narrow interface towards the client. Answers are written straight to the transport, one write a piece: building them
through aiohttp's response classes was the second largest cost of a call. Nothing here knows of dialects or money.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from proxy.core.errors import InvalidRequest, RequestTimeout, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import StreamReader
    from aiohttp.http_parser import RawRequestMessage

    from proxy.pipeline.server import ClientConnection

RawHeaders = list[tuple[bytes, bytes]]

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus}
_BODYLESS = frozenset({204, 304})


class ClientLeft(Exception):
    """The client closed its connection, or never read and was cut off (`stalled`)."""


class Exchange:
    """One request: `method`, `path` (raw, without query), `query` (raw), `headers` (raw pairs, names in lower case)."""

    __slots__ = (
        "_chunked",
        "_finished",
        "_payload",
        "_version",
        "bytes_out",
        "connection",
        "head_sent",
        "headers",
        "keep_alive",
        "left",
        "method",
        "on_left",
        "path",
        "query",
        "stalled",
    )

    def __init__(self, message: RawRequestMessage, payload: StreamReader, connection: ClientConnection) -> None:
        self._payload = payload
        self.connection = connection
        self._version = message.version
        self.method: str = message.method
        self.path, _, self.query = message.path.partition("?")
        self.headers: RawHeaders = [(name.lower(), value) for name, value in message.raw_headers]
        self.keep_alive = not message.should_close
        self.left = False
        self.stalled = False
        self.on_left: Callable[[], None] | None = None
        self.head_sent = False
        self.bytes_out = 0
        self._chunked = False
        self._finished = False

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, by its name in lower case."""
        for known, value in self.headers:
            if known == name:
                return value
        return None

    async def read_body(self, max_bytes: int, timeout_s: float) -> bytes:
        """The whole body. Raises TooLarge, RequestTimeout, InvalidRequest (compressed), ClientLeft."""
        if (coding := self.header(b"content-encoding")) not in {None, b"identity"}:
            msg = (
                f"Content-Encoding {str(coding, 'latin-1')[:20]!r} is not accepted on requests; send the body as it is."
            )
            raise InvalidRequest(msg, code="unsupported_content_encoding")
        declared = self.header(b"content-length")
        if declared is not None and int(declared) > max_bytes:
            raise self._too_large(max_bytes)
        if self.header(b"expect") == b"100-continue":
            self.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        content = self._payload
        if content.is_eof() and content.total_bytes == 0:
            return b""
        self.connection.expect_body(timeout_s)
        try:
            return await self._collect(max_bytes)
        except TimeoutError as error:
            self.keep_alive = False
            raise RequestTimeout from error
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise ClientLeft from error
        finally:
            self.connection.body_done()

    async def _collect(self, max_bytes: int) -> bytes:
        content = self._payload
        pieces: list[bytes] = []
        size = 0
        while piece := await content.readany():
            size += len(piece)
            if size > max_bytes:
                raise self._too_large(max_bytes)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _too_large(self, max_bytes: int) -> TooLarge:
        self.keep_alive = False
        return TooLarge(f"The request body is larger than {max_bytes} bytes, which is what this proxy accepts.")

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Sends a whole answer in one write. Raises ClientLeft."""
        length = b"" if status in _BODYLESS else b"content-length: %d\r\n" % len(body)
        self._write(self._head(status, headers, length) + body)
        self._finished = True

    def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Sends the head of an answer whose body follows in pieces. Raises ClientLeft."""
        self._chunked = self._version >= (1, 1)
        if not self._chunked:
            self.keep_alive = False
        self._write(self._head(status, headers, b"transfer-encoding: chunked\r\n" if self._chunked else b""))

    async def send(self, piece: bytes) -> None:
        """Sends a piece of the body as it is; waits while the client reads too slowly. Raises ClientLeft."""
        if piece:
            self._write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)
        if self.connection.writing_paused:
            try:
                await self.connection.drained()
            except ConnectionError as error:
                raise ClientLeft from error

    def end(self) -> None:
        """Ends a body sent in pieces, so that the client sees a clean end."""
        if self._chunked:
            self._write(b"0\r\n\r\n")
        self._finished = True

    def cut(self) -> None:
        """Closes the connection without a clean end: a truncated upstream must look truncated to the client."""
        self.keep_alive = False
        self.connection.close_after_flush()

    def fail_body(self, error: Exception) -> None:
        """Ends a body that is being read: it is late, or the client is gone."""
        self._payload.set_exception(error)

    def client_left(self, *, stalled: bool) -> None:
        """Called by the connection when the client is gone."""
        self.left = True
        if not self._payload.is_eof():
            self.fail_body(ConnectionResetError("the client left"))
        self.stalled = stalled
        if self.on_left is not None and not self._finished:
            self.on_left()

    def _head(self, status: int, headers: Sequence[tuple[bytes, bytes]], framing: bytes) -> bytes:
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status]
        lines += [b"%b: %b\r\n" % pair for pair in headers]
        lines.append(framing)
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self.head_sent = True
        return b"".join(lines)

    def _write(self, data: bytes) -> None:
        if self.left:
            raise ClientLeft
        self.bytes_out += len(data)
        self.connection.send(data)
