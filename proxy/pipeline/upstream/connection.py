"""One connection to a provider: writes a request, reads the answer as it arrives, and says whether it may be used again.

Guarantees: bounded buffers both ways; a connection carries one call at a time; after anything that was not expected
(bytes while idle, bytes behind an answer, an answer before the request was out) it is closed, never reused.
"""

import asyncio
import select
import ssl
from typing import Protocol, cast

from proxy.pipeline.departures import Departures
from proxy.pipeline.turnstile import Line
from proxy.pipeline.upstream.answer import AnswerReader, Receiver, until_close
from proxy.pipeline.upstream.errors import BadAnswer, Disconnected, Truncated

# An answer that nobody reads stops the provider at this many bytes.
READ_HIGH_WATER = 128 * 1024
# Up to this a body is joined to its head: one write, one segment where it fits.
_JOINED_BODY = 64 * 1024
# A larger one is written in slices, each only once the transport has room. Measured with 1 MB bodies: half of it costs
# half as much CPU again, twice of it saves little and doubles what TLS encrypts in one go.
WRITE_SLICE = 256 * 1024
# A socket on the same machine takes megabytes without a pause, and each of them takes the event loop 2 ms.
_SLICES_A_TURN = 2
# A connection that was idle for longer than this is asked whether it is still there before it is used.
_TRUSTED_IDLE_S = 1.0


class Owner(Protocol):
    """What a connection needs of its pool.

    `departures` is where requests leave by, those of one turn of the loop together; in `breaking` connections that the provider closed are in line.
    """

    departures: Departures
    breaking: "Line[Connection]"

    def returned(self, connection: "Connection") -> None:
        """Free for the next call."""

    def gone(self, connection: "Connection") -> None:
        """Not usable any more; said once."""

    def lost(self, connection: "Connection") -> None:
        """The transport is closed."""


class Connection(asyncio.Protocol):
    """`send` begins a call; when its answer is complete the owner hears `returned` or `gone`."""

    __slots__ = (
        "_breaking",
        "_closed",
        "_departures",
        "_eof",
        "_owner",
        "_queued_at",
        "_reader",
        "_receiver",
        "_refused_early",
        "_transport",
        "_unsent",
        "_why",
        "_write_paused",
        "idle_since",
        "reading_paused",
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._departures = owner.departures
        self._queued_at = -1  # the count of departures when the request went there
        self._transport: asyncio.Transport | None = None
        self._reader = AnswerReader()
        self._receiver: Receiver | None = None
        self._unsent: memoryview | None = None
        self._write_paused = False
        self._refused_early = False
        self._eof = False
        self._closed = False
        self._breaking = False
        self._why: Exception | None = None
        self.reading_paused = False
        self.idle_since = 0.0

    # The call's side.

    @property
    def standing(self) -> bool:
        """Open, as far as the loop has told us."""
        return not self._closed and self._transport is not None and not self._transport.is_closing()

    def usable(self, now: float) -> bool:
        """Whether a call may be sent on it: open, and nothing has arrived since the last answer. `now` is loop time."""
        if self._closed or self._transport is None or self._transport.is_closing():
            return False
        return now - self.idle_since < _TRUSTED_IDLE_S or not _readable(self._transport)

    def send(self, receiver: Receiver, head: bytes, body: bytes) -> None:
        """Writes the request; a large body goes out as the transport takes it, while the answer may already arrive."""
        assert self._transport is not None
        self._receiver = receiver
        self._reader.expect(receiver)
        receiver.sent = True
        if len(body) <= _JOINED_BODY:
            self._queued_at = self._departures.turns
            self._departures.write(self._transport, head + body if body else head)
            return
        first, rest = memoryview(body)[:WRITE_SLICE], memoryview(body)[WRITE_SLICE:]
        self._unsent = rest or None
        self._transport.writelines((head, first))
        self._write_on()

    def resume_reading(self) -> None:
        """The call has taken what was buffered."""
        if self.reading_paused and self._transport is not None and not self._closed:
            self.reading_paused = False
            self._transport.resume_reading()

    def discard(self) -> None:
        """Closes at once, whatever is under way; the call is not told."""
        self._receiver = None
        self._unsent = None
        if not self._closed:
            self._closed = True
            self._owner.gone(self)
        if self._transport is not None:
            self._transport.abort()

    def retire(self) -> None:
        """Closes an idle connection politely (TLS says goodbye)."""
        if not self._closed:
            self._closed = True
            self._owner.gone(self)
        if self._transport is not None:
            self._transport.close()

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP, and TLS where there is one, stand."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_SLICE)

    def data_received(self, data: bytes) -> None:
        """Reads on in the answer; the call hears of its body once a read, not once a chunk."""
        receiver = self._receiver
        if receiver is None:
            self.discard()  # nobody asked: what comes behind an answer is not the beginning of the next one
            return
        if self._queued_at == self._departures.turns:
            self._fail(Disconnected())  # what comes before the request has left is no answer to it
            return
        try:
            self._reader.feed(data)
        except BadAnswer as error:
            self._fail(error)
            return
        if self._reader.done:
            if self._receiver is not None:  # not discarded by the call while it took its last piece
                self._finish(receiver)
            return
        if self._unsent is not None and receiver.status >= 400:
            # An early refusal: the rest of the body would only meet a closed door and could cost us the answer.
            self._unsent = None
            self._refused_early = True
        if receiver.buffered > READ_HIGH_WATER and not self.reading_paused and self._transport is not None:
            self.reading_paused = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """The transport has room again."""
        self._write_paused = False
        if self._receiver is not None:
            self._receiver.heard = True  # the provider took bytes: it is slow, not gone
        self._write_on()

    def eof_received(self) -> bool:
        """The provider has closed; in TLS that counts only with a goodbye, for anybody can end a TCP connection."""
        assert self._transport is not None
        tls = self._transport.get_extra_info("ssl_object")
        self._eof = _said_goodbye(tls)
        self._break(None)
        return tls is None  # where it can stay half open, it is closed when its call hears of it

    def connection_lost(self, error: Exception | None) -> None:
        """The last that is heard of the transport."""
        self._break(error)
        if not self._closed:
            self._closed = True
            self._owner.gone(self)
        self._transport = None
        self._reader.close()
        self._owner.lost(self)

    def broken(self) -> None:
        """Its call hears that the provider has closed."""
        self._ended(self._why)
        self.discard()

    # Steps.

    def _write_on(self) -> None:
        for _ in range(_SLICES_A_TURN):
            if self._unsent is None or self._write_paused or not self.standing:
                return
            assert self._transport is not None
            piece, rest = self._unsent[:WRITE_SLICE], self._unsent[WRITE_SLICE:]
            self._unsent = rest or None
            self._transport.write(piece)
        if self._unsent is not None:
            asyncio.get_running_loop().call_soon(self._write_on)

    def _finish(self, receiver: Receiver) -> None:
        """The answer is complete; the connection is free, or closed when anything about it is in doubt."""
        assert self._transport is not None
        whole_request = self._unsent is None and not self._refused_early and not self._transport.get_write_buffer_size()
        keep = self._reader.keep and whole_request and not self._closed
        self._receiver = None
        receiver.completed()
        if keep:
            if self.reading_paused:
                self.resume_reading()
            self._owner.returned(self)
        else:
            self.discard()

    def _break(self, error: Exception | None) -> None:
        """The provider has closed. A call under way hears of it in its turn, for thousands may be closed at the same instant."""
        if self._breaking:
            return
        self._why = error
        if self._receiver is None or self._queued_at == self._departures.turns:
            self.broken()  # no call may find it open, and no request is to leave by it
        else:
            self._breaking = True
            self._owner.breaking.enter(self)

    def _ended(self, error: Exception | None) -> None:
        """The provider has closed: for an answer without a length that is its end, for any other it is a truncation."""
        receiver = self._receiver
        if receiver is None:
            return
        if not receiver.status:
            self._fail(Disconnected(), error)
        elif self._eof and until_close(receiver.headers):
            self._receiver = None
            receiver.completed()
        else:
            self._fail(Truncated(), error)

    def _fail(self, error: BaseException, cause: BaseException | None = None) -> None:
        receiver = self._receiver
        if cause is not None:
            error.__cause__ = cause
        self.discard()
        if receiver is not None:
            if self._queued_at == self._departures.turns:
                receiver.sent = False  # it will not leave any more
            receiver.broke(error)


def _said_goodbye(tls: ssl.SSLObject | None) -> bool:
    """Not asked of the loop: uvloop reports the end of a stream only after a goodbye, asyncio after any end."""
    if tls is None:
        return True
    try:
        return not tls.read(1)
    except ssl.SSLZeroReturnError:
        return True
    except ssl.SSLError:
        return False


def _readable(transport: asyncio.Transport | None) -> bool:
    """Whether bytes or the end of the stream wait in the socket, where the loop has not yet told us."""
    sock = None if transport is None else transport.get_extra_info("socket")
    if sock is None:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN | select.POLLHUP)
    return bool(poll.poll(0))
