"""One client request and its answer, as the pipeline sees them: head, body in bounds, and bytes going out.

The narrow interface towards the client. Answers are written straight to the transport, one write a piece. Nothing here
knows of dialects or money.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from proxy.core.errors import InvalidRequest, RequestTimeout, TooLarge

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.pipeline.client import ClientConnection
    from proxy.pipeline.request_head import RequestHead

RawHeaders = list[tuple[bytes, bytes]]

Headers = Sequence[tuple[bytes, bytes]]

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode("ascii") for status in HTTPStatus}
_BODYLESS = frozenset({204, 304})


class ClientLeft(Exception):
    """The client closed its connection, or never read and was cut off (`stalled`)."""


class Exchange:
    """One request: `method`, `path` (raw, without query), `query` (raw), `headers` (raw pairs, names in lower case).

    `named` are the headers by name, the last of several; the head with all of them may be other requests' as well.
    `declared_bytes` is the body's length where the head says it, else 0; `body_wanted` that somebody waits for it; `swept` that a sweep of
    deadlines has met it.
    """

    __slots__ = (
        "_body_error",
        "_body_waiter",
        "_chunked",
        "_dropping",
        "_finished",
        "_pieces",
        "body_complete",
        "body_wanted",
        "bytes_out",
        "connection",
        "declared_bytes",
        "head",
        "head_sent",
        "headers",
        "keep_alive",
        "left",
        "method",
        "named",
        "on_left",
        "path",
        "query",
        "received_bytes",
        "stalled",
        "swept",
    )

    def __init__(self, connection: ClientConnection, head: RequestHead, declared_bytes: int = 0) -> None:
        self.connection = connection
        self.head = head
        self.method = head.method
        self.path = head.path
        self.query = head.query
        self.headers = head.headers
        self.named = head.named
        self.keep_alive = head.keep_alive
        self.declared_bytes = declared_bytes
        self.received_bytes = 0
        self.body_complete = False
        self.body_wanted = False
        self._pieces: list[bytes] = []
        self._body_waiter: asyncio.Future[None] | None = None
        self._body_error: Exception | None = None
        self._dropping = False
        self.left = False
        self.stalled = False
        self.swept = False
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

    @property
    def client_address(self) -> str:
        """The client's IP address as text, as a trusted proxy says it where there is one; empty where nobody can say."""
        listener, transport = self.connection._listener, self.connection._transport  # noqa: SLF001 - two halves of one thing
        name = None if transport is None else transport.get_extra_info("peername")
        return listener.addresses.of(str(name[0]) if isinstance(name, tuple) else "", self.headers)

    def framing(self) -> bytes | None:
        """The header that says where the body ends; None for a request without one."""
        if self.declared_bytes:
            return b"content-length: %d" % self.declared_bytes
        return None if self.header(b"transfer-encoding") is None else b"transfer-encoding: chunked"

    async def read_body(self, max_bytes: int, timeout_s: float) -> bytes:
        """The whole body. Raises TooLarge, RequestTimeout, InvalidRequest (compressed, not HTTP), ClientLeft.

        A large one is a bytearray, which serves wherever bytes are only read.
        """
        if not self.body_complete:
            self._require_plain()
            if self.declared_bytes > max_bytes:
                raise self._too_large(max_bytes)
            await self._receive(max_bytes, timeout_s)
        return self.whole_body(max_bytes)

    def whole_body(self, max_bytes: int) -> bytes:
        """As `read_body`, of a body that is complete."""
        self._require_plain()
        if self.received_bytes > max_bytes:
            raise self._too_large(max_bytes)
        pieces = self.take_pieces()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _require_plain(self) -> None:
        if b"content-encoding" in self.named and (coding := self.header(b"content-encoding")) != b"identity":
            msg = f"Content-Encoding {str(coding or b'', 'latin-1')[:20]!r} is not accepted on requests; send the body as it is."
            raise InvalidRequest(msg, code="unsupported_content_encoding")

    async def _receive(self, max_bytes: int, timeout_s: float) -> None:
        if self.header(b"expect") == b"100-continue":
            self.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.body_wanted = True
        self.connection.read_body(self, timeout_s)
        try:
            while not self.body_complete and self.received_bytes <= max_bytes:
                await self._body_moves()
        except TimeoutError as error:
            self.keep_alive = False
            raise RequestTimeout from error
        except ConnectionError as error:
            raise ClientLeft from error
        finally:
            self.body_wanted = False
            self.connection.body_deadline = None

    async def drop_body(self) -> None:
        """Waits for the end of a body that nobody wants. Raises ConnectionError when the client leaves."""
        self._dropping = True
        self._pieces.clear()
        while not self.body_complete:
            await self._body_moves()

    async def _body_moves(self) -> None:
        self._raise_body_error()
        self._body_waiter = self.connection.loop.create_future()  # asking for the running loop costs a system call
        await self._body_waiter
        self._raise_body_error()

    def _raise_body_error(self) -> None:
        if self._body_error is not None:
            raise self._body_error

    # What the connection says of the body.

    def body_came(self, piece: bytes) -> int:
        """One more piece; returns how much of the body is here."""
        self.received_bytes += len(piece)
        if not self._dropping:
            self._pieces.append(piece)
        if self._body_waiter is not None:
            self._wake()
        return self.received_bytes

    def body_ended(self) -> None:
        """That was the last piece."""
        self.body_complete = True
        if self._body_waiter is not None:
            self._wake()

    def whole_body_came(self, body: bytes | bytearray) -> None:
        """The whole body at once."""
        self._pieces = [cast("bytes", body)]
        self.received_bytes = len(body)
        self.body_ended()

    def take_pieces(self) -> list[bytes]:
        """What is here of the body, handed over."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def fail_body(self, error: Exception) -> None:
        """The rest of the body will not come: it is late, cannot be read, or the client is gone."""
        self._body_error = error
        self._wake()

    def _wake(self) -> None:
        waiter, self._body_waiter = self._body_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _too_large(self, max_bytes: int) -> TooLarge:
        self.keep_alive = False
        return TooLarge(f"The request body is larger than {max_bytes} bytes, which is what this proxy accepts.")

    def answer(self, status: int, headers: Headers, body: bytes, lines: Sequence[bytes] = ()) -> None:
        """Sends a whole answer in one write; `lines` are headers that are written already. Raises ClientLeft."""
        length = b"" if status in _BODYLESS else b"content-length: %d" % len(body)
        data = self._head(status, headers, lines, length, b"" if self.method == "HEAD" else body)
        if self.left:
            raise ClientLeft
        self.bytes_out += len(data)
        self.connection.send(data, soon=True)
        self._finished = True

    def begin(self, status: int, headers: Headers, lines: Sequence[bytes] = ()) -> None:
        """Sends the head of an answer whose body follows in pieces. Raises ClientLeft."""
        bodyless = (
            status in _BODYLESS
        )  # such an answer ends with its head: an end of chunks would be read as the next one
        self._chunked = not self.head.http_1_0 and not bodyless
        if not self._chunked and not bodyless:
            self.keep_alive = False
        self._write(self._head(status, headers, lines, b"transfer-encoding: chunked" if self._chunked else b""))

    async def send(self, piece: bytes) -> None:
        """Sends a piece of the body as it is; waits while the client reads too slowly. Raises ClientLeft."""
        self.write(piece)
        await self.drained()

    def write(self, piece: bytes) -> None:
        """As `send`, without waiting: `connection.paused_since` says whether the client reads too slowly. Raises ClientLeft."""
        if not piece:
            return
        if self.left:
            raise ClientLeft
        data = b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece
        self.bytes_out += len(data)
        self.connection.send(data)

    async def drained(self) -> None:
        """Waits while the client reads too slowly. Raises ClientLeft."""
        if self.connection.paused_since is not None:
            await self.connection.drained()
            if self.left:
                raise ClientLeft

    def end(self) -> None:
        """Ends a body sent in pieces, so that the client sees a clean end."""
        if self._chunked:
            self._write(b"0\r\n\r\n")
        self._finished = True

    def cut(self) -> None:
        """Closes the connection without a clean end: a truncated upstream must look truncated to the client."""
        self.keep_alive = False
        if self.head.http_1_0 and self.head_sent:
            self.connection.reset()  # where the end of the connection is the end of the body, nothing else tells
        else:
            self.connection.close_after_flush()

    def client_left(self, *, stalled: bool) -> None:
        """Called by the connection when the client is gone; what there is to do about it comes with `part`."""
        self.left = True
        self.stalled = stalled

    def part(self) -> None:
        """The call hears that its client is gone; a second time changes nothing."""
        if not self.body_complete:
            self.fail_body(ConnectionResetError("the client left"))
        on_left, self.on_left = self.on_left, None
        if on_left is not None and not self._finished:
            on_left()

    def _head(self, status: int, headers: Headers, ready: Sequence[bytes], framing: bytes, body: bytes = b"") -> bytes:
        """The head, and behind it the body that goes out with it. Joined in C: a line at a time costs three times as much."""
        if not self.body_complete and self.header(b"expect") is not None:
            # Its client may hold the body back now: what follows could be the body or the next request.
            self.keep_alive = False
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown" % status, *map(b": ".join, headers), *ready]
        if framing:
            lines.append(framing)
        if not self.keep_alive:
            lines.append(b"connection: close")
        lines += (b"", body)
        self.head_sent = True
        return b"\r\n".join(lines)

    def _write(self, data: bytes) -> None:
        if self.left:
            raise ClientLeft
        self.bytes_out += len(data)
        self.connection.send(data)
