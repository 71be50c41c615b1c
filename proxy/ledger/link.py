"""One socket to Redis, from its handshake to its end: pipelining, matching of replies, and a watchdog.

Commands of one turn of the event loop leave in one write. Redis answers in order, so the oldest waiter gets the next reply; a
waiter that was cancelled keeps its place, or every later reply would reach the wrong call. There is no task and no timer for a
command: one watchdog runs while something is pending and closes the socket when the oldest command has waited too long, since
after a missing reply nothing on this socket can be trusted.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis

from proxy.ledger.errors import RedisAmbiguous, RedisUnavailable, reply_error

NO_REPLY_YET = object()
_REPLIES_A_TURN = 40
_LOOKS = 8  # of the watchdog, in the time that a command may wait


class Link(asyncio.Protocol):
    """The protocol of one socket. `timeout_s` bounds the age of the oldest unanswered command, in seconds."""

    def __init__(self, timeout_s: float, max_pending: int, on_lost: Callable[["Link"], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._max_pending = max_pending
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(replyError=reply_error, notEnoughData=NO_REPLY_YET)
        self._waiters: deque[asyncio.Future[Any]] = deque()
        self._outbox: list[bytes] = []
        self._more = False  # replies have arrived that are handed out in the next turn
        self._answered = 0  # replies so far; waiters are numbered from it
        self._sent_marks: deque[tuple[float, int]] = deque()  # (looked at, commands that had been sent by then)
        self._watchdog: asyncio.TimerHandle | None = None
        self._overdue_at: int | None = None
        self.lost = False

    @property
    def pending(self) -> int:
        """Commands without a reply."""
        return len(self._waiters)

    def send(self, command: bytes) -> asyncio.Future[Any]:
        """Sends an encoded command; the future is its reply. Raises RedisUnavailable when nothing can be sent."""
        transport, waiters = self._transport, self._waiters
        if transport is None or transport.is_closing():
            raise RedisUnavailable("The connection to the credit store was lost.")
        if len(waiters) >= self._max_pending:
            raise RedisUnavailable("Too many commands wait for the credit store.")
        outbox = self._outbox
        if not outbox:  # the transport would write each at once: 7 us of a call for each of its commands
            self._loop.call_soon(self._flush)
        outbox.append(command)
        future: asyncio.Future[Any] = self._loop.create_future()
        waiters.append(future)
        if self._watchdog is None:
            self._watchdog = self._loop.call_later(self._timeout_s / _LOOKS, self._look)
        return future

    def abort(self) -> None:
        """Closes the socket now; what waits is failed by `connection_lost`."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its bases

    def data_received(self, data: bytes) -> None:
        """Replies, or pieces of them."""
        self._reader.feed(data)
        if not self._more:
            self._hand_out()

    def _hand_out(self) -> None:
        """Hands each complete reply to the oldest waiter: so many now, the others in the next turns, since each of them wakes a call."""
        self._more = False
        reader, waiters = self._reader, self._waiters
        try:
            for _ in range(_REPLIES_A_TURN):
                if (reply := reader.gets()) is NO_REPLY_YET:
                    return
                waiter = waiters.popleft()
                self._answered += 1
                if waiter.done():
                    continue  # cancelled; its reply is read all the same
                if isinstance(reply, Exception):
                    waiter.set_exception(reply)
                else:
                    waiter.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            # Not Redis, or a reply that nobody asked for: which reply belongs to whom is no longer known.
            self.abort()
            return
        self._more = True
        self._loop.call_soon(self._hand_out)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Fails what waits: unsent commands as unavailable, sent ones as ambiguous."""
        while self._more:  # what has arrived is no less a reply
            self._hand_out()
        self.lost = True
        self._transport = None
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        sent = len(self._waiters) - len(self._outbox)
        for place, waiter in enumerate(self._waiters):
            if not waiter.done():
                error = RedisAmbiguous if place < sent else RedisUnavailable
                waiter.set_exception(error("The connection to the credit store was lost."))
        self._waiters.clear()
        self._outbox.clear()
        self._on_lost(self)

    def _flush(self) -> None:
        outbox, transport = self._outbox, self._transport
        if not outbox or transport is None or transport.is_closing():
            return  # `connection_lost` fails them as not sent
        transport.write(b"".join(outbox))
        outbox.clear()

    def _look(self) -> None:
        """The watchdog. It stops by itself when nothing is pending; the next command starts it again."""
        self._watchdog = None
        marks, now, interval = self._sent_marks, self._loop.time(), self._timeout_s / _LOOKS
        while marks and marks[0][1] <= self._answered:
            marks.popleft()
        if not self._waiters:
            return
        # What a look finds may have been sent just after the one before; half an interval is for timers that are early.
        if marks and now - marks[0][0] >= self._timeout_s - 1.5 * interval:
            # After a stall of our own loop timers run before the replies that have already arrived are read:
            # only when a second look finds the same command still waiting is the server to blame.
            if self._overdue_at == self._answered:
                self.abort()
                return
            self._overdue_at = self._answered
            interval /= 2
        marks.append((now, self._answered + len(self._waiters)))
        self._watchdog = self._loop.call_later(interval, self._look)
