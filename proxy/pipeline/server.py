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
from aiohttp.web_protocol import RequestHandler

from proxy.pipeline.exchange import ClientLeft, Exchange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.config import Server as ServerConfig
    from proxy.tasks import Tasks

log = logging.getLogger("farebox.server")

_MAX_LINE_BYTES = 16 * 1024
_MAX_FIELD_BYTES = 32 * 1024
_WRITE_HIGH_WATER_BYTES = 256 * 1024
_SWEEP_S = 0.5
_LINGER_S = 3.0  # how long an unread body is read on after an early answer, so that the client sees the answer
_SETTLE_S = 5.0  # for calls that were cut at the end of the grace to settle
_BAD_REQUEST = (
    b'{"error":{"message":"The HTTP request could not be read.","type":"invalid_request_error","param":null,'
    b'"code":"bad_http_request"}}'
)


class _Answered:
    """What aiohttp wants back from a handler, when the answer has been written already."""

    __slots__ = ("keep_alive",)

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, _request: web.BaseRequest) -> None:
        """Nothing: the head is out."""

    async def write_eof(self) -> None:
        """Nothing: the body is out."""


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
            lingering_time=_LINGER_S,
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
        stalled = self._paused_since is not None
        super().connection_lost(exc)
        if exchange is not None:
            exchange.client_left(stalled=stalled)

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
            if self._current_request is not None:
                self._current_request._payload.set_exception(TimeoutError())  # noqa: SLF001
        elif self._head_since is not None and now - self._head_since > config.header_timeout_s:
            transport.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers what aiohttp's parser refused; the caller's dialect is not known yet, so it is OpenAI's."""
        del request, message
        if status >= 500:
            log.error("unexpected error in a handler", exc_info=exc)
        response = web.Response(status=status, body=_BAD_REQUEST, content_type="application/json")
        response.headers["x-should-retry"] = "false"
        response.force_close()
        return response


class DataListener:
    """Accepts clients and hands each request to `handle`."""

    _protocols: ClassVar[type[ClientConnection]] = ClientConnection

    def __init__(self, config: ServerConfig, handle: Callable[[Exchange], Awaitable[None]]) -> None:
        self.config = config
        self.connections: set[ClientConnection] = set()
        self._handle = handle
        self.aiohttp_server = web.Server(self._serve)  # type: ignore[arg-type] # prepare, write_eof and keep_alive are all it uses
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

    async def _serve(self, request: web.BaseRequest) -> _Answered:
        connection = request._protocol  # noqa: SLF001 - request.protocol types it as aiohttp's own
        assert isinstance(connection, ClientConnection)
        exchange = Exchange(request, connection)
        if self._draining:
            exchange.keep_alive = False
        connection.exchange = exchange
        self.open_calls += 1
        try:
            await self._handle(exchange)
        finally:
            self.open_calls -= 1
            if self._idle is not None and not self.open_calls:
                self._idle.set()
            connection.exchange = None
        return _Answered(keep_alive=exchange.keep_alive and not self._draining)

    async def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self.connections):
            connection.enforce_deadlines(now)
