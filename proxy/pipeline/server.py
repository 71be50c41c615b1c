"""The data listener: aiohttp's HTTP/1.1 server with the deadlines that it lacks.

aiohttp parses and keeps connections; this adds deadlines on slow heads, slow bodies and clients that never read, and
tells the exchange when its client leaves. One sweep twice a second looks at all connections: no timer per call.
Times are loop seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, ClassVar, cast

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from proxy.pipeline.exchange import ClientLeft, Exchange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import StreamReader

    from proxy.config import Server as ServerConfig
    from proxy.tasks import Tasks

log = logging.getLogger("farebox.server")

_MAX_LINE_BYTES = 16 * 1024
_MAX_FIELD_BYTES = 32 * 1024
_WRITE_HIGH_WATER_BYTES = 256 * 1024
_READ_HIGH_WATER_BYTES = 512 * 1024
_SWEEP_S = 0.5
_LINGER_S = 3.0  # how long an unread body is read on after an early answer, so that the client sees the answer
_SETTLE_S = 5.0  # for calls that were cut at the end of the grace to settle
_BAD_REQUEST_HEAD = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nx-should-retry: false\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n"
)
_BAD_REQUEST = (
    b'{"error":{"message":"The HTTP request could not be read.","type":"invalid_request_error","param":null,'
    b'"code":"bad_http_request"}}'
)


class ClientConnection(RequestHandler):
    """One client connection and the deadlines that run on it."""

    __slots__ = ("_body_deadline", "_head_since", "_listener", "_paused_since", "exchange")

    def __init__(self, listener: DataListener, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            listener.aiohttp_server,
            loop=loop,
            keepalive_timeout=listener.config.idle_timeout_s,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_FIELD_BYTES,
            access_log=None,  # type: ignore[arg-type] # aiohttp's own default, mistyped there
            auto_decompress=False,
            read_bufsize=_READ_HIGH_WATER_BYTES,
        )
        self._listener = listener
        self.exchange: Exchange | None = None
        self._head_since: float | None = None
        self._body_deadline: float | None = None
        self._paused_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected; its first head is due."""
        super().connection_made(transport)
        # uvloop's transports are asyncio's in all but their bases.
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=_WRITE_HIGH_WATER_BYTES)
        self._head_since = self._loop.time()
        self._listener.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came; the head deadline runs while they do not make a whole head."""
        super().data_received(data)
        if self.exchange is None:
            if self._messages:
                self._head_since = None
            elif self._head_since is None:
                self._head_since = self._loop.time()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client is gone: whoever waits on its behalf hears of it at once."""
        self._listener.connections.discard(self)
        exchange = self.exchange
        # aiohttp would cancel the task that serves the connection; ours settles the call first.
        super().connection_lost(exc)
        if exchange is not None:
            exchange.client_left(stalled=self._paused_since is not None)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        super().pause_writing()
        self._paused_since = self._loop.time()

    def resume_writing(self) -> None:
        """The client caught up."""
        super().resume_writing()
        self._paused_since = None

    def send(self, data: bytes) -> None:
        """Writes to the client. Raises ClientLeft when it is gone."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ClientLeft
        transport.write(data)

    async def drained(self) -> None:
        """Waits until the client has read. Raises ConnectionError when it leaves instead."""
        await self._drain_helper()

    def close_after_flush(self) -> None:
        """Closes the connection once what was written is out."""
        if self.transport is not None:
            self.transport.close()

    def expect_body(self, timeout_s: float) -> None:
        """From now on the body is due within `timeout_s` seconds."""
        self._body_deadline = self._loop.time() + timeout_s

    def body_done(self) -> None:
        """The body is here, or will not be read."""
        self._body_deadline = None

    def enforce_deadlines(self, now: float) -> None:
        """Ends what took too long; called by the listener's sweep."""
        config = self._listener.config
        transport = self.transport
        if transport is None:
            return
        if self._paused_since is not None and now - self._paused_since > config.write_stall_s:
            transport.abort()
        elif self._body_deadline is not None and now > self._body_deadline:
            self._body_deadline = None
            if self.exchange is not None:
                self.exchange.fail_body(TimeoutError())
        elif self._head_since is not None and now - self._head_since > config.header_timeout_s:
            transport.close()

    async def start(self) -> None:
        """Serves one request after the other, in this connection's one task.

        Takes the place of aiohttp's own loop, which makes a task, a request, a writer and a response for every call:
        a third of a metered call's time. Parsing, flow control and keeping alive stay aiohttp's.
        """
        try:
            while not self._force_close and await self._serve_next():
                self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
                if self._keepalive_handle is None:
                    self._keepalive_handle = self._loop.call_at(
                        self._next_keepalive_close_time, self._process_keepalive
                    )
        finally:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _serve_next(self) -> bool:
        """Serves the next request; False where the connection ends with it."""
        if not self._messages:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:  # aiohttp's way to say that the connection is gone while it was idle
                if self._force_close or self._close:
                    return False
                raise
            finally:
                self._waiter = None
        message, payload = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        if not isinstance(message, RawRequestMessage):
            self._refuse_unreadable()
            return False
        exchange = Exchange(message, payload, self)
        await self._listener.serve(exchange)
        if not payload.is_eof() and not await self._read_on(payload):
            return False
        # An upgrade that was not taken leaves the parser waiting for another protocol.
        return exchange.keep_alive and not self._upgraded and not self._close

    async def _read_on(self, payload: StreamReader) -> bool:
        """Reads what is left of a body that was answered early, for a while, so that the client can see the answer."""
        try:
            async with asyncio.timeout(_LINGER_S):
                while not payload.is_eof():
                    await payload.readany()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            return False
        return True

    def _refuse_unreadable(self) -> None:
        """Answers what the parser refused; the caller's dialect is not known, so it is OpenAI's."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(_BAD_REQUEST_HEAD % len(_BAD_REQUEST) + _BAD_REQUEST)


async def _unused(request: web.BaseRequest) -> web.StreamResponse:
    """What aiohttp's server asks for and `ClientConnection.start` never calls."""
    raise NotImplementedError(request)


class DataListener:
    """Accepts clients and hands each request to `handle`."""

    _protocols: ClassVar[type[ClientConnection]] = ClientConnection

    def __init__(self, config: ServerConfig, handle: Callable[[Exchange], Awaitable[None]]) -> None:
        self.config = config
        self.connections: set[ClientConnection] = set()
        self._handle = handle
        self.aiohttp_server = web.Server(_unused)
        self.open_calls = 0
        self._draining = False
        self._idle: asyncio.Event | None = None

    def protocol(self) -> ClientConnection:
        """A new connection's protocol, for `loop.create_server`."""
        return self._protocols(self, asyncio.get_running_loop())

    def start(self, tasks: Tasks) -> None:
        """Starts the sweep of deadlines."""
        tasks.every("deadline sweep", _SWEEP_S, self._sweep)

    async def drain(self, grace_s: float) -> None:
        """Lets calls in progress finish within `grace_s` seconds, then closes every connection."""
        self._draining = True
        for connection in list(self.connections):
            if connection.exchange is None:
                connection.close_after_flush()
        await self._calls_ended(grace_s)
        for connection in list(self.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await self._calls_ended(_SETTLE_S)

    async def _calls_ended(self, timeout_s: float) -> None:
        if self.open_calls:
            self._idle = asyncio.Event()
            with contextlib.suppress(TimeoutError):  # what is still running then is cut, and settles as such
                await asyncio.wait_for(self._idle.wait(), timeout_s)

    async def serve(self, exchange: Exchange) -> None:
        """Has one request handled; while that runs the connection knows whom to tell that its client left."""
        connection = exchange.connection
        connection.exchange = exchange
        self.open_calls += 1
        try:
            await self._handle(exchange)
        finally:
            self.open_calls -= 1
            if self._idle is not None and not self.open_calls:
                self._idle.set()
            connection.exchange = None
        if self._draining:
            exchange.keep_alive = False

    async def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self.connections):
            connection.enforce_deadlines(now)
