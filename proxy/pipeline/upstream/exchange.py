"""One call to a provider: sent once, never repeated by itself, its answer handed on as it arrives.

exchange = client.open(method, target, headers, body)
await exchange.start()
while piece := await exchange.read(): ...
exchange.close()
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

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
STEP_BYTES = 64 * 1024
STEPS_A_TURN = 2


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


class _Phase(Enum):
    NEW = auto()
    IN_LINE = auto()
    CONNECTING = auto()
    ASKED = auto()
    ENDED = auto()


class Exchange:
    """`status` and `headers` (raw pairs, as they came) are set once `start` has returned; `sent` says whether a byte of
    the request was handed to a socket; `reused` whether the connection had served a call before.
    """

    __slots__ = (
        "_aborted",
        "_body",
        "_connecting",
        "_connection",
        "_deadline",
        "_each",
        "_error",
        "_finished",
        "_grant",
        "_head",
        "_phase",
        "_shared",
        "_since",
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
        # Written by the connection: what has arrived and was not read yet, and whether anything came since the last sweep.
        self.pieces: list[bytes] = []
        self.buffered = 0
        self.heard = False
        self._phase = _Phase.NEW
        self._connection: Connection | None = None
        self._connecting: asyncio.Timeout | None = None
        self._grant: tuple[Connection | None] | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._each: Callable[[bytes], bool] | None = None
        self._error: BaseException | None = None
        self._aborted = False
        self._finished = False
        self._since = 0.0
        self._deadline = 0.0

    async def start(self) -> None:
        """Takes or makes a connection, sends the request, and returns when the head of the answer is there.

        Raises PoolExhausted, ConnectFailed, ConnectTimeout (nothing was sent); Disconnected, FirstByteTimeout,
        TotalTimeout, BadAnswer; or what `abort` was given. The call is closed when it raises.
        """
        if self._phase is not _Phase.NEW:
            raise self._error or RuntimeError("a call is started once")
        shared = self._shared
        self._since = shared.loop.time()
        self._deadline = self._since + shared.timeouts.total_s
        shared.sweep.watch(self)
        try:
            connection = shared.pool.take()
            self.reused = connection is not None
            self._ask(connection or await self._obtain_connection())
            while not self.status or self._aborted:
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
            if self._finished:
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
            if self._finished:
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
        if not self._finished or self._error is not None:
            return None
        pieces, self.pieces, self.buffered = self.pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def abort(self, error: BaseException) -> None:
        """Closes the connection; a pending or later `start` or `read` raises `error`. Nothing that was not read is kept."""
        if not self._aborted:
            self._aborted = True
            self._error = self._error or error
            self.pieces.clear()
            self.buffered = 0
            self._end()

    def close(self) -> None:
        """Ends the call: the connection of a complete answer is (already) back in the pool, any other is closed."""
        if self.pieces or not self._finished:
            self.abort(CallClosed())

    # What the connection, the pool and the sweep say.

    def wake(self) -> None:
        """Something arrived."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        stopped = False
        if self._each is not None and self.pieces and self.buffered <= _AT_ONCE_BYTES:
            try:
                stopped = not self._each(self._taken())
            except BaseException as error:  # noqa: BLE001 - not ours: it goes to who reads
                if not waiter.done():
                    waiter.set_exception(error)
                return
            if not stopped and not self._finished and self._error is None:
                return
        if not waiter.done():  # `each` may have ended the call
            waiter.set_result(stopped)

    def completed(self) -> None:
        """The answer is complete and the connection no longer ours."""
        self._finished = True
        self._connection = None
        self._phase = _Phase.ENDED
        self._shared.sweep.forget(self)
        self.wake()

    def broke(self, error: BaseException) -> None:
        """The call has failed; what came before stays readable."""
        self._error = self._error or error
        self._end()

    def granted(self, connection: Connection | None) -> None:
        """Our turn in the line of the pool."""
        self._grant = (connection,)
        self.wake()

    def check(self, now: float) -> None:
        """Fails an overdue call; `now` is loop time."""
        timeouts = self._shared.timeouts
        if now >= self._deadline:
            self.broke(TotalTimeout())
        elif self._phase is _Phase.IN_LINE:
            if now - self._since >= self._shared.wait_s:
                self.broke(PoolExhausted(retry_after_ms=1000))
        elif self._phase is _Phase.ASKED:
            if self.heard or (self._connection is not None and self._connection.reading_paused):
                # Stamped here instead of at each arrival: a chunk costs no look at the clock.
                self.heard = False
                self._since = now
            elif now - self._since >= (timeouts.idle_s if self.status else timeouts.first_byte_s):
                self.broke(IdleTimeout() if self.status else FirstByteTimeout())

    # Steps.

    async def _obtain_connection(self) -> Connection:
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
        self._phase = _Phase.IN_LINE
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
        self._phase = _Phase.CONNECTING
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

    def _ask(self, connection: Connection) -> None:
        if self._error is not None:
            # Aborted in the moment in which the connection came about.
            self._shared.pool.returned(connection)
            raise self._error
        self._phase = _Phase.ASKED
        self._since = self._shared.loop.time()
        self._connection = connection
        connection.send(self, self._head, self._body)
        self._head = self._body = b""

    def _arrival(self) -> asyncio.Future[bool]:
        """To be awaited: something arrives, or the call ends; True where `read_each` is to stop."""
        if self._waiter is not None and not self._waiter.done():
            raise RuntimeError("a call is read by one reader")
        self._waiter = waiter = self._shared.loop.create_future()
        return waiter

    def _taken(self) -> bytes:
        """What has arrived, or a step of it, handed out; there is something. The provider goes on when nothing is left."""
        pieces = self.pieces
        count = len(pieces) if self.buffered <= STEP_BYTES else self._step()
        piece = pieces[0] if count == 1 else b"".join(pieces[:count])
        del pieces[:count]
        self.buffered -= len(piece)
        connection = self._connection
        if connection is not None and connection.reading_paused and not pieces:
            connection.resume_reading()
        return piece

    def _step(self) -> int:
        """How many of the pieces make a step."""
        size = count = 0
        while size < STEP_BYTES and count < len(self.pieces):
            size += len(self.pieces[count])
            count += 1
        return count

    def _end(self) -> None:
        """Nothing more will arrive."""
        self._phase = _Phase.ENDED
        self._shared.sweep.forget(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.discard()
        if self._connecting is not None and not self._connecting.expired():
            self._connecting.reschedule(self._shared.loop.time())
        self.wake()
