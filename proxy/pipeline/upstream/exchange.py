"""One call to a provider: sent once, never repeated by itself, its answer handed on as it arrives.

exchange = client.open(method, target, headers, body)
await exchange.start()
while piece := await exchange.read(): ...
exchange.close()
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from proxy.pipeline.turnstile import Turnstile
from proxy.pipeline.upstream.connection import Connection
from proxy.pipeline.upstream.dialer import Dialer
from proxy.pipeline.upstream.errors import (
    CallClosed,
    ConnectTimeout,
    FirstByteTimeout,
    IdleTimeout,
    PoolExhausted,
    TotalTimeout,
)
from proxy.pipeline.upstream.pool import Pool
from proxy.pipeline.upstream.settings import Timeouts
from proxy.pipeline.upstream.sweep import Sweep

# A stream that comes as fast as it can brings up to half a megabyte at once, and to meter one takes 10 ms: above `_AT_ONCE`, what
# arrives is handed on in steps, which pass a turnstile.
_AT_ONCE_BYTES = 16 * 1024
STEP_BYTES = 32 * 1024
STEPS_A_TURN = 1


@dataclass(frozen=True, slots=True)
class Machinery:
    """What all calls of a client share."""

    pool: Pool
    dialer: Dialer
    sweep: Sweep
    timeouts: Timeouts
    steps: Turnstile
    wait_s: float
    loop: asyncio.AbstractEventLoop


# Where a call is, as plain numbers: a member of an enumeration costs twenty times the look-up. From COMPLETE on it is over.
_NEW, _IN_LINE, _CONNECTING, _ASKED, _COMPLETE, _FAILED, _ABORTED = range(7)


class Exchange:
    """`status` and `headers` (raw pairs, as they came) are set once `start` has returned; `sent` says whether a byte of
    the request was handed to a socket; `reused` whether the connection had served a call before.
    """

    __slots__ = (
        "_body",
        "_connecting",
        "_connection",
        "_each",
        "_error",
        "_grant",
        "_head",
        "_phase",
        "_shared",
        "_since",
        "_started",
        "_waiter",
        "buffered",
        "headers",
        "heard",
        "pieces",
        "reused",
        "sent",
        "status",
    )

    def __init__(self, shared: Machinery, head: bytes, body: bytes) -> None:
        self._shared = shared
        self._head = head
        self._body = body
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.sent = False
        self.reused = False
        self.pieces: list[bytes] = []  # what has arrived and was not read yet
        self.buffered = 0  # the size of the reads that brought them
        self.heard = False  # something has come since the last sweep
        self._phase = _NEW
        self._connection: Connection | None = None
        self._connecting: asyncio.Timeout | None = None
        self._grant: tuple[Connection | None] | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._each: Callable[[bytes], bool] | None = None
        self._error: BaseException | None = None
        self._started = 0.0
        self._since = 0.0

    async def start(self) -> None:
        """Takes or makes a connection, sends the request, and returns when the head of the answer is there.

        Raises PoolExhausted, ConnectFailed, ConnectTimeout (nothing was sent); Disconnected, FirstByteTimeout,
        TotalTimeout, BadAnswer; or what `abort` was given. The call is closed when it raises.
        """
        if self._phase != _NEW:
            raise self._error or RuntimeError("a call is started once")
        shared = self._shared
        self._started = self._since = now = shared.loop.time()
        shared.sweep.watch(self)
        try:
            connection = shared.pool.take(now)
            if connection is None:
                connection = await self._obtain_connection()
                self._since = shared.loop.time()
            else:
                self.reused = True
            self._phase = _ASKED
            self._connection = connection
            connection.send(self, self._head, self._body)
            self._head = self._body = b""
            while not self.status or self._phase == _ABORTED:
                if self._error is not None:
                    raise self._error  # noqa: TRY301 - the call is closed in one place
                await self._arrival()
        except BaseException:
            self.close()
            raise

    async def read(self) -> bytes:
        """What has arrived since the last read, joined, a step of it where it is much. Empty at the clean end of the answer.

        Bytes that came before a failure are handed out first. Raises Truncated, IdleTimeout, TotalTimeout, BadAnswer
        (also in the middle of an answer), or what `abort` was given.
        """
        while True:
            if self.buffered > _AT_ONCE_BYTES:
                await self._shared.steps.pass_through()
            if self.pieces:
                return self._taken()
            if self._error is not None:
                raise self._error
            if self._phase == _COMPLETE:
                return b""
            await self._arrival()

    async def read_each(self, each: Callable[[bytes], bool]) -> bool:
        """Calls `each` with what `read` would return, in the very callback that brings it, where it is not much: no task wakes up.

        Until `each` is False: then True is returned, and it may be called again. False at the clean end. Raises what `read`
        raises, and what `each` does.
        """
        while True:
            if self.buffered > _AT_ONCE_BYTES:
                await self._shared.steps.pass_through()
            if self.pieces:
                if not each(self._taken()):
                    return True
                continue
            if self._error is not None:
                raise self._error
            if self._phase == _COMPLETE:
                return False
            self._each = each
            try:
                stopped = await self._arrival()
            finally:
                self._each = None
            if stopped:
                return True

    def whole(self) -> bytes | None:
        """All that was not read yet of an answer that is complete; None where more may come. Does not wait."""
        if self._phase != _COMPLETE:
            return None
        pieces, self.pieces, self.buffered = self.pieces, [], 0
        return b"".join(pieces)

    def abort(self, error: BaseException) -> None:
        """Closes the connection; a pending or later `start` or `read` raises `error`. Nothing that was not read is kept."""
        if self._phase != _ABORTED:
            self._error = self._error or error
            self.pieces.clear()
            self.buffered = 0
            self._end(_ABORTED)

    def close(self) -> None:
        """Ends the call: the connection of a complete answer is (already) back in the pool, any other is closed."""
        if self.pieces or self._phase != _COMPLETE:
            self.abort(CallClosed())

    # What the connection, the pool and the sweep say.

    def begun(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The head of the answer is there."""
        self.headers = headers
        self.status = status
        self.heard = True
        if self._waiter is not None:
            self._wake()

    def arrived(self, pieces: list[bytes], size: int) -> None:
        """More of the body: for `each` of whoever waits in `read_each`, else (and where it is much) to be read."""
        self.heard = True
        each, waiter = self._each, self._waiter
        if each is None or waiter is None or waiter.done() or size > _AT_ONCE_BYTES:
            self.pieces += pieces
            self.buffered += size
            if waiter is not None:
                self._wake()
            return
        try:
            if each(b"".join(pieces)):
                return
        except BaseException as error:  # noqa: BLE001 - not ours: it goes to who reads
            if not waiter.done():  # `each` may have ended the call
                waiter.set_exception(error)
        else:
            self._wake(stopped=True)

    def completed(self) -> None:
        """The answer is complete and the connection no longer ours."""
        self._connection = None
        self._phase = _COMPLETE
        self._shared.sweep.forget(self)
        if self._waiter is not None:
            self._wake()

    def broke(self, error: BaseException) -> None:
        """The call has failed; what came before stays readable."""
        self._error = self._error or error
        self._end(_FAILED)

    def granted(self, connection: Connection | None) -> None:
        """Our turn in the line of the pool."""
        self._grant = (connection,)
        self._wake()

    def check(self, now: float) -> None:
        """Fails an overdue call; `now` is loop time."""
        timeouts = self._shared.timeouts
        if now - self._started >= timeouts.total_s:
            self.broke(TotalTimeout())
        elif self._phase == _IN_LINE:
            if now - self._since >= self._shared.wait_s:
                self.broke(PoolExhausted(retry_after_ms=1000))
        elif self._phase == _ASKED:
            if self.heard or (self._connection is not None and self._connection.reading_paused):
                # Stamped here instead of at each arrival: a chunk costs no look at the clock.
                self.heard = False
                self._since = now
            elif now - self._since >= (timeouts.idle_s if self.status else timeouts.first_byte_s):
                self.broke(IdleTimeout() if self.status else FirstByteTimeout())

    # Steps.

    async def _obtain_connection(self) -> Connection:
        connection = await self._made_or_granted()
        if self._error is not None:
            # Aborted in the moment in which the connection came about.
            self._shared.pool.returned(connection)
            raise self._error
        return connection

    async def _made_or_granted(self) -> Connection:
        while True:
            connection = None
            if not self._shared.pool.reserve():
                connection = await self._stand_in_line()
            if connection is None:
                return await self._connect()
            if connection.usable(self._shared.loop.time()):
                self.reused = True
                return connection
            connection.discard()

    async def _stand_in_line(self) -> Connection | None:
        """A connection, or None for a reserved slot."""
        pool = self._shared.pool
        self._phase = _IN_LINE
        pool.enter_line(self)
        try:
            while self._grant is None and self._error is None:
                await self._arrival()
            if self._error is not None:
                raise self._error  # noqa: TRY301 - leaving the line is the same for a failure and a cancellation
        except BaseException:
            pool.leave_line(self)
            if self._grant is not None:
                self._hand_back(*self._grant)
            raise
        assert self._grant is not None
        (connection,), self._grant = self._grant, None
        return connection

    def _hand_back(self, connection: Connection | None) -> None:
        """Our turn came, and we do not want it any more."""
        if connection is None:
            self._shared.pool.give_up_slot()
        else:
            self._shared.pool.returned(connection)

    async def _connect(self) -> Connection:
        """Fills a slot that we have reserved."""
        shared = self._shared
        self._phase = _CONNECTING
        timeout_s = shared.timeouts.connect_s
        try:
            # The one timer of a call, and only where a handshake dwarfs it; `abort` and the sweep end it through it, too.
            async with asyncio.timeout(timeout_s) as self._connecting:
                connection = await shared.dialer.connect(lambda: Connection(shared.pool), timeout_s)
        except TimeoutError:
            shared.pool.give_up_slot()
            raise (self._error or ConnectTimeout()) from None
        except BaseException:
            shared.pool.give_up_slot()
            raise
        finally:
            self._connecting = None
        shared.pool.adopt(connection)
        return connection

    def _arrival(self) -> asyncio.Future[bool]:
        """To be awaited: something arrives, or the call ends; True where `read_each` is to stop."""
        if self._waiter is not None and not self._waiter.done():
            raise RuntimeError("a call is read by one reader")
        self._waiter = waiter = self._shared.loop.create_future()
        return waiter

    def _taken(self) -> bytes:
        """What has arrived, or a step of it, handed out; there is something. The provider goes on when nothing is left."""
        pieces = self.pieces
        if self.buffered <= STEP_BYTES:
            self.pieces, self.buffered = [], 0
        else:
            pieces = self._step()
        connection = self._connection
        if connection is not None and connection.reading_paused and not self.pieces:
            connection.resume_reading()
        return b"".join(pieces)

    def _wake(self, *, stopped: bool = False) -> None:
        """Whoever waits goes on; `stopped`: since `each` wants no more."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(stopped)

    def _step(self) -> list[bytes]:
        """The first of the pieces, as many as make a step."""
        size = count = 0
        while size < STEP_BYTES and count < len(self.pieces):
            size += len(self.pieces[count])
            count += 1
        pieces, self.pieces = self.pieces[:count], self.pieces[count:]
        self.buffered = self.buffered - size if self.pieces else 0
        return pieces

    def _end(self, phase: int) -> None:
        """Nothing more will arrive."""
        self._phase = phase
        self._shared.sweep.forget(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.discard()
        if self._connecting is not None and not self._connecting.expired():
            self._connecting.reschedule(self._shared.loop.time())
        self._wake()
