"""One connection over a transport that does as it is told: when it writes on, and when it may serve again."""

import asyncio

from proxy.pipeline.upstream.connection import READ_HIGH_WATER, WRITE_SLICE, Connection
from proxy.pipeline.upstream.errors import Disconnected

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
NO = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n"


class Wire(asyncio.Transport):
    """Takes `room` bytes, then asks for a pause as transports do."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.written = bytearray()
        self.buffered = 0
        self.reading = True
        self.aborted = False
        self.connection = Connection(owner)
        self.connection.connection_made(self)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def is_closing(self) -> bool:
        return self.aborted

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        self.buffered = max(0, len(self.written) - self.room)
        if self.buffered:
            self.connection.pause_writing()

    def drain(self, room: int) -> None:
        self.room += room
        self.buffered = max(0, len(self.written) - self.room)
        if not self.buffered:
            self.connection.resume_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.aborted = True


class Departures:
    """Writes at once, or when it is told to."""

    def __init__(self) -> None:
        self.turns = 0
        self.holds = False
        self.waiting: list[tuple[asyncio.Transport, bytes]] = []

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        self.waiting.append((transport, data))
        if not self.holds:
            self.flush()

    def flush(self) -> None:
        waiting, self.waiting = self.waiting, []
        self.turns += 1
        for transport, data in waiting:
            transport.write(data)


class AtOnce:
    """A line without a loop."""

    def enter(self, connection: Connection) -> None:
        connection.broken()


class Pool:
    """Notes what a connection says."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.departures = Departures()
        self.breaking = AtOnce()

    def returned(self, connection: Connection) -> None:
        self.said.append("returned")

    def gone(self, connection: Connection) -> None:
        self.said.append("gone")

    def lost(self, connection: Connection) -> None:
        self.said.append("lost")


class Call:
    """A receiver."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.sent = False
        self.heard = False
        self.pieces: list[bytes] = []
        self.buffered = 0
        self.ended: list[str] = []

    def begun(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status, self.headers = status, headers

    def arrived(self, pieces: list[bytes], size: int) -> None:
        self.pieces += pieces
        self.buffered += size

    def completed(self) -> None:
        self.ended.append("completed")

    def broke(self, error: BaseException) -> None:
        self.ended.append(type(error).__name__)


owner = Pool()


def sent(room: int, body: bytes) -> tuple[Wire, Call, Pool]:
    owner.said.clear()
    wire, call = Wire(room), Call()
    wire.connection.send(call, b"HEAD", body)
    return wire, call, owner


def test_a_small_request_is_one_write_and_the_connection_is_free_after_the_answer() -> None:
    wire, call, pool = sent(10**9, b"body")
    assert wire.written == b"HEADbody"
    assert call.sent
    wire.connection.data_received(OK)
    assert call.ended == ["completed"]
    assert pool.said == ["returned"]


def test_what_comes_before_the_request_has_left_is_no_answer_to_it() -> None:
    owner.departures.holds = True
    try:
        wire, call, pool = sent(10**9, b"body")
        wire.connection.data_received(OK)
        assert not call.status
        assert call.ended == ["Disconnected"]
        assert not call.sent
        assert wire.aborted
        wire, call, pool = sent(10**9, b"body")
        wire.connection.connection_lost(None)
        assert call.ended == ["Disconnected"]
        assert not call.sent
    finally:
        owner.departures.holds = False
        owner.departures.waiting.clear()
    assert pool.said == ["gone", "lost"]


def test_a_large_body_waits_for_room() -> None:
    body = bytes(range(256)) * 8192
    wire, call, pool = sent(WRITE_SLICE, body)
    assert len(wire.written) <= 2 * WRITE_SLICE + 4
    while len(wire.written) < len(body) + 4:
        before = len(wire.written)
        call.heard = False
        wire.drain(WRITE_SLICE)
        assert len(wire.written) - before <= 2 * WRITE_SLICE
        assert call.heard
    wire.drain(10**9)
    assert wire.written == b"HEAD" + body
    wire.connection.data_received(OK)
    assert pool.said == ["returned"]


def test_an_answer_before_the_last_bytes_left_the_transport_closes_the_connection() -> None:
    wire, call, pool = sent(WRITE_SLICE + 4, b"x" * (WRITE_SLICE + 10))
    assert len(wire.written) == WRITE_SLICE + 14
    assert wire.buffered
    wire.connection.data_received(OK)
    assert call.ended == ["completed"]
    assert pool.said == ["gone"]
    assert wire.aborted


def test_an_early_refusal_stops_the_body_and_is_read_to_its_end() -> None:
    wire, call, pool = sent(WRITE_SLICE, b"x" * 10 * WRITE_SLICE)
    wire.connection.data_received(NO)
    before = len(wire.written)
    wire.drain(10**9)
    assert len(wire.written) == before
    wire.connection.data_received(b"no")
    assert (call.status, call.pieces, call.ended) == (413, [b"no"], ["completed"])
    assert pool.said == ["gone"]


def test_an_answer_that_is_not_read_pauses_the_transport_until_it_is() -> None:
    wire, _, _ = sent(10**9, b"")
    wire.connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n")
    wire.connection.data_received(b"x" * READ_HIGH_WATER)
    assert wire.reading
    wire.connection.data_received(b"x")
    assert not wire.reading
    assert wire.connection.reading_paused
    wire.connection.resume_reading()
    assert wire.reading
    assert not wire.connection.reading_paused


def test_the_pool_hears_of_the_end_once_and_the_call_of_its_own_only() -> None:
    wire, call, pool = sent(10**9, b"")
    wire.connection.connection_lost(ConnectionResetError("reset"))
    wire.connection.discard()
    wire.connection.retire()
    assert call.ended == [Disconnected.__name__]
    assert pool.said == ["gone", "lost"]

    wire, call, pool = sent(10**9, b"")
    wire.connection.discard()
    wire.connection.connection_lost(None)
    assert call.ended == []
    assert pool.said == ["gone", "lost"]


def test_bytes_on_an_idle_connection_close_it() -> None:
    wire, _, pool = sent(10**9, b"")
    wire.connection.data_received(OK)
    wire.connection.data_received(OK)
    assert pool.said == ["returned", "gone"]
    assert wire.aborted
    assert not wire.connection.usable(0.0)
