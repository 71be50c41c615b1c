"""The two shapes of an answer: one JSON document, or a stream of server-sent events. Dialects fill in the reading.

Guarantee: what `feed` and `finish` return, put together, is what was fed, byte for byte, but for whole events that a
dialect says Farebox asked for itself. Memory is bounded in both shapes.
"""

from collections.abc import Iterable

from proxy.core.usage import Usage
from proxy.providers.dialect import NO_ASK, Ask
from proxy.providers.sse import CR, LF, Splitter, data_of
from proxy.providers.tally import BYTES_PER_TOKEN, Tally
from proxy.providers.usage_reading import UNREADABLE

# Long enough for images in base64; past it a plain answer is passed on without being read.
MAX_PLAIN_BYTES = 32 * 1024 * 1024
# A usage event is a few hundred bytes: an event that grows past this is not one, and is no longer held back.
MAX_HELD_BYTES = 64 * 1024


class BaseMeter:
    """The figures that every meter has; see `dialect.Meter` for what they mean."""

    __slots__ = (
        "_tally",
        "answered_by",
        "complete",
        "error",
        "flag",
        "partial",
        "pending",
        "resource",
        "service_tier",
        "unread_events",
        "usage",
    )
    streams = False

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.partial: Usage | None = None
        self.flag: str | None = None
        self.error = False
        self.complete = False
        self.unread_events = 0
        self.service_tier: str | None = None
        self.answered_by: str | None = None
        self.resource: str | None = None
        self.pending = False
        self._tally = Tally()

    @property
    def output_events(self) -> int:
        """Pieces of output so far."""
        return self._tally.pieces

    @property
    def output_so_far(self) -> int:
        """About the tokens of the output so far; asked for every piece."""
        tally = self._tally
        pieces, tokens = tally.pieces, tally.bytes // BYTES_PER_TOKEN
        return pieces if pieces > tokens else tokens  # noqa: FURB136 - `max` would be a third of it

    @property
    def output_bytes(self) -> int:
        """UTF-8 bytes of output text so far."""
        return self._tally.bytes

    @property
    def output_calls(self) -> int:
        """Tool calls begun so far."""
        return self._tally.calls

    @property
    def output_text(self) -> str:
        """The output so far, bounded."""
        return self._tally.text

    def read_head(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Most providers report nothing in their headers."""

    def farewell(self, event: bytes) -> bytes | None:  # noqa: ARG002 - for the framings that have a place for one
        """Nothing of ours can be read in this framing: the connection ends without a clean end instead."""
        return None


class PlainMeter(BaseMeter):
    """An answer that is one JSON document: nothing is changed, the usage is read at the end."""

    __slots__ = ("_ask", "_document", "_size")

    def __init__(self, ask: Ask = NO_ASK) -> None:
        """`ask` is what was asked for, where that says how to read the answer."""
        super().__init__()
        self._ask = ask
        self._document: bytearray | None = None
        self._size = 0

    @property
    def between_events(self) -> bool:
        """Nothing of ours may follow the provider's document."""
        return False

    def cut(self) -> bytes:
        """Nothing could make an event of ours readable inside a document."""
        return b""

    def feed(self, piece: bytes) -> bytes:
        """Keep the piece for the end; relay it as it is."""
        self._size += len(piece)
        if self._size > MAX_PLAIN_BYTES:
            self._document = None
        elif self._document is None:
            self._document = bytearray(piece)
        else:
            self._document += piece
        return piece

    def finish(self) -> bytes:
        """Read the document."""
        if self._size > MAX_PLAIN_BYTES:
            self.unread_events = 1
            self.flag = "the answer is too long to be read"
        elif self._document:
            try:
                self._read(self._document)
            except UNREADABLE:
                self._give_up()
            self._document = None
        return b""

    def _read(self, document: bytearray) -> None:
        """Set the figures from the whole document; may raise what a decoder raises on foreign bytes."""
        raise NotImplementedError

    def _give_up(self) -> None:
        self.complete = False
        self.unread_events = 1
        self.flag = "the answer is not a JSON object"


class StreamMeter(BaseMeter):
    """An answer that is a stream of events. With `takes_out`, events that `_event` answers True for are not relayed."""

    __slots__ = ("_held", "_released", "_splitter", "_takes_out", "_torn_cr")
    streams = True

    def __init__(self, *, takes_out: bool = False) -> None:
        super().__init__()
        self._splitter = Splitter()
        self._takes_out = takes_out
        self._held = bytearray()  # of the open event, not relayed yet
        self._released = False  # some of the open event was relayed: it can no longer be taken out
        self._torn_cr = False  # the event that was taken out ended in CR; the LF that belongs to it may follow

    @property
    def between_events(self) -> bool:
        """What was relayed ends with a whole event."""
        return self._splitter.idle or (self._takes_out and not self._released)

    def feed(self, piece: bytes) -> bytes:
        """Read the events that end in this piece; return what to relay of it, normally the piece itself."""
        # Most pieces are whole events with LF line ends: the splitter's bookkeeping would cost more than the reading.
        # A byte is looked for as a number: looking for it as bytes raises and clears an error first. Slices that are compared
        # cost half of `startswith` and `endswith`, which read their arguments the slow way.
        if self._splitter.idle and piece[-2:] == b"\n\n" and CR not in piece:
            if piece[:6] == b"data: " and LF not in (data := piece[6:-2]):
                return b"" if self._event(data) and self._takes_out else piece
            if piece.count(LF) == 3 and piece.startswith(b"event: ") and (at := piece.find(b"\ndata: ")) > 0:
                return b"" if self._event(piece[at + 7 : -2]) and self._takes_out else piece
            # A blank line of its own, in front or between, is no part of the event behind it.
            if b"\n\n\n" not in piece and not piece.startswith(b"\n"):
                blocks = piece.split(b"\n\n")
                if not blocks.pop():
                    return self._whole(piece, blocks)
        elif CR not in piece and b"\n\n\n" not in piece:
            return self._in_parts(piece)
        return self._cut(piece)

    def finish(self) -> bytes:
        """Read an event that only its final blank line is missing of; return what was held back of it."""
        if self.usage is None and self.unread_events and self.flag is None:
            self.flag = "the usage may be in an event that could not be read"
        flag, unread = self.flag, self.unread_events
        block = self._splitter.rest()
        if block and self._read(block) and self._takes_out and not self._released:
            self._held.clear()
        if self.unread_events > unread:
            # A torn event is how a broken-off stream ends: no reason to doubt what was reported or can be counted.
            self.flag, self.unread_events = flag, unread
        held = bytes(self._held)
        self._held.clear()
        return held

    def cut(self) -> bytes:
        """End the answer here: forget what was held back; return what has to come before an event of ours."""
        between = self.between_events
        self._held.clear()
        return b"" if between else b"\n\n"

    def farewell(self, event: bytes) -> bytes | None:
        """The answer ends with an event of ours."""
        return self.cut() + event

    def _whole(self, piece: bytes, blocks: list[bytes]) -> bytes:
        taken = [index for index, block in enumerate(blocks) if self._event(_plain_data(block))]
        if not taken or not self._takes_out:
            return piece
        return b"".join(block + b"\n\n" for index, block in enumerate(blocks) if index not in taken)

    def _in_parts(self, piece: bytes) -> bytes:
        """LF line ends, cut anywhere, as a TLS record of 16 KB is: only what is torn at its two ends goes the general way."""
        last = piece.rfind(b"\n\n") + 2
        first = 0 if self._splitter.idle else piece.find(b"\n\n") + 2
        if last < 2 or first == last:  # no whole event in between
            return self._cut(piece)
        begun = self._cut(piece[:first]) if first else b""
        relayed = begun + self.feed(piece[first:last]) + self._cut(piece[last:])
        return piece if relayed == piece else relayed

    def _cut(self, piece: bytes) -> bytes:
        """The general case: events that begin and end anywhere."""
        ends = self._splitter.feed(piece)
        if not self._takes_out:
            for _, block in ends:
                self._read(block)
            return piece
        relayed: list[bytes | memoryview] = []
        start = 0
        view = memoryview(piece)
        for end, block in ends:
            if self._keeps(block):
                relayed += (bytes(self._held), view[start:end])
            self._held.clear()
            self._released = False
            start = end
        if self._released:
            relayed.append(view[start:])
        else:
            self._held += view[start:]
            if len(self._held) > MAX_HELD_BYTES:
                relayed.append(bytes(self._held))
                self._held.clear()
                self._released = True
        joined = b"".join(relayed)
        return piece if len(joined) == len(piece) and joined == piece else joined

    def _keeps(self, block: bytes | None) -> bool:
        """Whether a finished event is relayed."""
        if self._torn_cr and block == b"\n":
            self._torn_cr = False
            return False
        takes_out = self._read(block) and not self._released
        self._torn_cr = takes_out and block is not None and block.endswith(b"\r")
        return not takes_out

    def _read(self, block: bytes | None) -> bool:
        """Read one event; True if it is one that Farebox asked for itself."""
        if block is None:
            self.unread_events += 1
            return False
        return self._event(data_of(block))

    def _event(self, data: bytes) -> bool:
        """Set the figures from one event's data, which may be empty; True if it is one that Farebox asked for itself."""
        raise NotImplementedError


def _plain_data(block: bytes) -> bytes:
    """`data_of` for a block with LF line ends and without its own, quick where it is written as providers write it."""
    if LF not in block:
        return block[6:] if block.startswith(b"data: ") else data_of(block)
    if block.startswith(b"event: ") and block.count(LF) == 1 and (at := block.find(b"\ndata: ")) > 0:
        return block[at + 7 :]
    return data_of(block)
