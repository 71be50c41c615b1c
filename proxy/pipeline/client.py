"""One client connection: HTTP/1.1 in, one request served after the other, and the deadlines that run meanwhile.

Parsing is llhttp's, through httptools, strict as it comes. Everything is bounded: heads, what comes without a byte of body (chunk extensions,
trailers), bodies that nobody asked for yet, requests in line behind the one that is served. One task serves it. Times are loop seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from proxy.core.errors import InvalidRequest
from proxy.pipeline.exchange import ClientLeft, Exchange
from proxy.pipeline.large_body import LARGE_BODY_BYTES, LargeBody
from proxy.pipeline.offers import parser_behind
from proxy.pipeline.reply import BAD_HTTP
from proxy.pipeline.request_head import MAX_OVERHEAD_BYTES, ends_there, parsed, seek
from proxy.pipeline.turnstile import CROWD

if TYPE_CHECKING:
    from proxy.pipeline.server import DataListener

_WRITE_HIGH_WATER_BYTES = 256 * 1024
_READ_HIGH_WATER_BYTES = 512 * 1024  # of a body that nobody reads yet
_MAX_IN_LINE = 8
_RECEIVED_BYTES = bytearray(64 * 1024)  # more in one go is only copied once more
_RECEIVED = memoryview(_RECEIVED_BYTES)
_LINGER_S = 3.0  # how long an unread body is read on after an early answer, so that the client sees the answer
_NO_LINGER = struct.pack("ii", 1, 0)


class ClientConnection(asyncio.BufferedProtocol):
    """Reads requests, has the listener handle them in turn (`exchange` is in hand), and writes what they are answered.

    What deadlines count from, None while they do not run: `head_since` a head that is due, `quiet_since` nothing at all coming,
    `paused_since` writing to a client that does not read; `body_deadline` is when a body that is wanted must be whole.
    """

    def __init__(self, listener: DataListener, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = listener
        self.loop = loop
        self.exchange: Exchange | None = None
        self.head_since: float | None = loop.time()
        self.quiet_since: float | None = None
        self.body_deadline: float | None = None
        self.paused_since: float | None = None
        self._transport: asyncio.Transport | None = None
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._line: deque[Exchange | None] = deque()  # None: what came could not be read
        self._arriving: Exchange | None = None  # the one whose body is not complete
        self._missing = 0  # bytes of its body, where the parser has not seen its head
        self._digest: bytes | None = None  # of the head that may be in what is parsed now
        self._waiter: asyncio.Future[None] | None = None
        self._drain_waiters: list[asyncio.Future[None]] = []
        self._headers: list[tuple[bytes, bytes]] = []
        self._url = b""
        self._in_head = False
        self._framing: bytes | None = None  # of a body that the parser takes for another protocol
        self._overhead = 0  # bytes since the last byte of body
        self._closed = False
        self._reading_paused = False
        self._withdrawn: int | None = None  # the descriptor by which the lookout watches it

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected; its first head is due."""
        # uvloop's transports are asyncio's in all but their bases.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER_BYTES)
        self._listener.connected(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where the next read goes; all connections of the process share it, for what was read is parsed at once."""
        return _RECEIVED

    def buffer_updated(self, nbytes: int) -> None:
        """Reads on; the head deadline runs while what came does not make a whole head."""
        parser = self._parser
        if parser is None or self._closed:
            return
        if self._missing:
            first = self._take_missing(nbytes)
            if first < nbytes:
                self._parse(parser, _RECEIVED[first:nbytes])
        elif self.exchange is not None or self._in_head or not self._arrived_known(nbytes):
            self._parse(parser, _RECEIVED[:nbytes])

    def _parse(self, parser: HttpRequestParser, data: memoryview) -> None:
        self._overhead += len(data)
        try:
            parser.feed_data(data)
        except HttpParserUpgrade as offer:
            self._parse_behind(offer, data)
        except HttpParserError:
            self._refuse()
        else:
            if self._overhead > MAX_OVERHEAD_BYTES and (self._in_head or self._arriving is not None):
                self._refuse()
        if self._in_head:
            if self.head_since is None:
                self.head_since = self.loop.time()
            self.quiet_since = None

    def eof_received(self) -> bool:
        """The client ends the connection. True: our side is closed in its turn."""
        self.leaves()
        return True

    def leaves(self) -> None:
        """The client has ended the connection, which is how it leaves; ours is closed in its turn, for thousands may leave."""
        if self.exchange is not None:
            self.exchange.left = True
        self._listener.closing.enter(self)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone: whoever waits on its behalf hears of it at once."""
        self._closed = True
        self._return()
        self._transport = None
        self._parser = None  # it holds our methods: a cycle that would wait for the collector
        self._listener.disconnected(self)
        self._wake()
        stalled = self.paused_since is not None
        self.resume_writing()
        self._line.clear()
        if self.exchange is not None:
            self.exchange.client_left(stalled=stalled)
            self._listener.left(self.exchange)
        elif self._arriving is not None:  # answered early, and its body still read on
            self._arriving.fail_body(ConnectionResetError("the client left"))

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self.paused_since = self.loop.time()

    def resume_writing(self) -> None:
        """The client caught up."""
        self.paused_since = None
        waiters, self._drain_waiters = self._drain_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _arrived_known(self, nbytes: int) -> bool:
        """Takes a request whose head the parser has read before; False where the parser has to read what came."""
        if self._line or self._arriving is not None or (found := seek(_RECEIVED_BYTES, nbytes)) is None:
            return False
        digest, length, end = found
        head, here = self._listener.heads.find(digest), nbytes - end
        if head is None or length > LARGE_BODY_BYTES or here > length:
            self._digest = digest if head is None and ends_there(_RECEIVED_BYTES, end) else None
            return False
        self.head_since = self.quiet_since = None
        exchange, body = Exchange(self, head, length), bytes(_RECEIVED[end:nbytes])
        if here == length:
            exchange.whole_body_came(body)
        else:
            self._arriving, self._missing = exchange, length - here
            if body:
                exchange.body_came(body)
        self._line.append(exchange)
        self._wake()
        return True

    def _take_missing(self, nbytes: int) -> int:
        """Hands on what came of a body that the parser does not read; returns where it ends in what came."""
        exchange, end = self._arriving, min(nbytes, self._missing)
        assert exchange is not None
        exchange.body_came(bytes(_RECEIVED[:end]))
        self._missing -= end
        if not self._missing:
            self._arriving = None
            exchange.body_ended()
        return end

    def _parse_behind(self, offer: HttpParserUpgrade, data: memoryview) -> None:
        """What follows a request that offers another protocol: its body, where it has one, is read by another parser."""
        while self._framing is not None:
            data = data[offer.args[0] :]
            try:
                self._parser, self._framing = parser_behind(self._framing, self), None
                return self._parser.feed_data(data)
            except HttpParserUpgrade as another:
                offer = another
            except HttpParserError:
                return self._refuse()
        # The client wants that protocol behind this request: it is answered, and then the connection ends.
        if (last := self._arriving or (self._line[-1] if self._line else self.exchange)) is not None:
            last.keep_alive = False
        return self._pause_reading()

    # What the parser calls from within feed_data.

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._in_head = True
        self._headers = []
        self._url = b""

    def on_url(self, url: bytes) -> None:
        """The target, or a piece of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; trailers are dropped."""
        if self._in_head:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """A whole head: its request takes its place in line."""
        parser = self._parser
        assert parser is not None
        digest, self._digest = self._digest, None
        head = parsed(parser, self._url, self._headers, digest, large=self._overhead > MAX_OVERHEAD_BYTES)
        self._in_head = False
        self.head_since = self.quiet_since = None
        length = head.named.get(b"content-length")  # the parser refuses a second one, and accepts digits alone
        exchange = self._arriving = Exchange(self, head, int(length) if length else 0)
        self._framing = exchange.framing() if parser.should_upgrade() else None
        self._line.append(exchange)
        if len(self._line) > _MAX_IN_LINE or exchange.declared_bytes > LARGE_BODY_BYTES:
            self._pause_reading()
        self._wake()

    def on_body(self, piece: bytes) -> None:
        """Bytes of a body, without the chunks' framing."""
        self._overhead = 0
        exchange = self._arriving
        if exchange is not None and exchange.body_came(piece) > _READ_HIGH_WATER_BYTES and not exchange.body_wanted:
            self._pause_reading()

    def on_message_complete(self) -> None:
        """The end of a request."""
        if self._framing is not None:
            return
        exchange, self._arriving = self._arriving, None
        self._overhead = 0
        if exchange is not None:
            exchange.body_ended()

    # The exchange's side.

    def send(self, data: bytes, *, soon: bool = False) -> None:
        """Writes to the client: at once, or at the end of this turn of the loop (see Departures). Raises ClientLeft when it is gone."""
        transport, departures = self._transport, self._listener.departures
        if transport is None or transport.is_closing():
            raise ClientLeft
        if soon:
            departures.write(transport, data)
            return
        if departures.waiting:
            departures.flush()  # what was answered before leaves before
        transport.write(data)

    async def drained(self) -> None:
        """Waits until the client has read, or is gone."""
        if self.paused_since is not None and not self._closed:
            waiter = self.loop.create_future()
            self._drain_waiters.append(waiter)
            await waiter

    def reset(self) -> None:
        """Closes the connection at once, with a reset: what is unsent is dropped, and the client sees that it is."""
        if (transport := self._transport) is not None:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            transport.abort()

    def close_after_flush(self) -> None:
        """Closes the connection once what was written is out."""
        if self._transport is not None:
            self._listener.departures.flush()
            self._transport.close()

    def abort(self) -> None:
        """Closes the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def read_body(self, exchange: Exchange, timeout_s: float) -> None:
        """From now on the body is wanted, and due within `timeout_s` seconds."""
        self.body_deadline = self.loop.time() + timeout_s
        large = exchange is self._arriving and exchange.declared_bytes - exchange.received_bytes > LARGE_BODY_BYTES
        if large and self._reading_paused and self._transport is not None:
            # Read past the parser, which gets the transport back with the body's last byte.
            self._transport.set_protocol(LargeBody(self, exchange))
        self._resume_reading()

    # The one task.

    async def serve(self) -> None:
        """Serves one request after the other until the connection ends."""
        listener = self._listener
        try:
            while not self._closed:
                if not self._line:
                    self._waiter = self.loop.create_future()
                    await self._waiter
                    continue
                exchange = self._line.popleft()
                if exchange is None:
                    with contextlib.suppress(ClientLeft):  # who sent that need not have waited for the answer
                        self.send(BAD_HTTP)
                    return
                self.exchange = exchange
                listener.open_calls += 1
                try:
                    if listener.open_calls > CROWD and not listener.beginning.passes():
                        await listener.beginning.stand_in_line()
                    await listener.handle(exchange)
                finally:
                    listener.call_ended(exchange)
                self.exchange = None
                if not exchange.body_complete and not await self._read_on(exchange):
                    return
                if not self._line:
                    if self._reading_paused:
                        self._resume_reading()
                    self.quiet_since = None if self._in_head else self.loop.time()
                if not exchange.keep_alive:
                    return
        finally:
            self.close_after_flush()

    async def _read_on(self, exchange: Exchange) -> bool:
        """Reads what is left of a body that was answered early, for a while, so that the client can see the answer."""
        try:
            async with asyncio.timeout(_LINGER_S):
                self._resume_reading()
                await exchange.drop_body()
        except (TimeoutError, ConnectionError, InvalidRequest):
            return False
        return True

    def withdraw(self) -> int | None:
        """Listens to nothing but the client's end from now on, and not by itself: the descriptor to watch. None where more may come."""
        exchange, transport = self.exchange, self._transport
        busy = self._line or self._in_head or self._reading_paused or exchange is None or not exchange.body_complete
        if busy or transport is None or transport.is_closing():
            return None
        self._pause_reading()
        self._withdrawn = int(transport.get_extra_info("socket").fileno())
        return self._withdrawn

    # Steps.

    def _return(self) -> None:
        if self._withdrawn is not None:
            self._listener.lookout.forget(self._withdrawn)
            self._withdrawn = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and self._transport is not None and not self._transport.is_closing():
            self._reading_paused = False
            self._return()
            self._transport.resume_reading()

    def large_body_received(self, exchange: Exchange, body: bytearray) -> None:
        """The body is whole, read past the parser, which therefore starts anew with the next request."""
        assert self._transport is not None
        # uvloop takes a new protocol into account when reading starts.
        self._transport.pause_reading()
        self._transport.set_protocol(self)
        self._transport.resume_reading()
        self._parser = HttpRequestParser(self)
        self._arriving = None
        self._overhead = 0
        exchange.whole_body_came(body)

    def _refuse(self) -> None:
        """What came is not HTTP as this server accepts it: answered behind the requests before it."""
        self._in_head = False
        self.head_since = None
        self._pause_reading()
        self._parser = None
        arriving, self._arriving = self._arriving, None
        if arriving is None:
            self._line.append(None)
            self._wake()
        else:
            arriving.keep_alive = False
            arriving.fail_body(InvalidRequest("The HTTP request could not be read.", code="bad_http_request"))
