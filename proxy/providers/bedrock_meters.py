"""Meters for Bedrock's two shapes of an answer: one JSON document, or a binary event stream.

Guarantee: what `feed` and `finish` return, put together, is what was fed, byte for byte. Of an open frame nothing is
relayed until it is whole (a client could not read it anyway), so that a stream can be cut between two frames; a frame of
more than `MAX_HELD_BYTES` is let through as it comes.
"""

from proxy.providers.event_stream import Frame, FrameSplitter
from proxy.providers.meters import MAX_HELD_BYTES, BaseMeter

EVENT_STREAM = b"application/vnd.amazon.eventstream"


def is_event_stream(content_type: bytes) -> bool:
    """Whether an answer is a binary event stream."""
    return content_type.startswith(EVENT_STREAM)


class FrameMeter(BaseMeter):
    """An answer that is a binary event stream."""

    __slots__ = ("_frames", "_held", "_released")
    streams = True

    def __init__(self) -> None:
        super().__init__()
        self._frames = FrameSplitter()
        self._held = bytearray()  # of the open frame, not relayed yet
        self._released = False  # some of the open frame was relayed

    @property
    def between_events(self) -> bool:
        """What was relayed ends with a whole frame."""
        return self._frames.idle or (self._frames.keeping and not self._released)

    def feed(self, piece: bytes) -> bytes:
        """Read the frames that end in this piece; relay all but an open frame."""
        ends = self._frames.feed(piece)
        for _, frame in ends:
            self._read(frame)
        end = ends[-1][0] if ends else 0
        if ends:
            self._released = False
        left = len(piece) - end
        waiting = left if ends else left + len(self._held)
        if not left or self._released or not self._frames.keeping or waiting > MAX_HELD_BYTES:
            self._released = left > 0
            return self._take(piece, len(piece))
        relayed = self._take(piece, end) if ends else b""
        self._held += memoryview(piece)[end:]
        return relayed

    def finish(self) -> bytes:
        """Settle the figures; return what was held back of a torn frame."""
        if self.usage is None and self.unread_events and self.flag is None:
            self.flag = "the usage may be in an event that could not be read"
        held = bytes(self._held)
        self._held.clear()
        return held

    def cut(self) -> bytes:
        """End the answer here: forget what was held back. Behind a frame that was torn no event of ours could be read."""
        self._held.clear()
        return b""

    def farewell(self, event: bytes) -> bytes | None:
        """The answer ends with a frame of ours (`errors.stream_error` makes one), unless a frame was torn."""
        between = self.between_events
        self._held.clear()
        return event if between else None

    def _take(self, piece: bytes, end: int) -> bytes:
        """What was held back and the piece up to `end`; the piece itself where that is all."""
        if not self._held:
            return piece if end == len(piece) else piece[:end]
        self._held += memoryview(piece)[:end]
        relayed = bytes(self._held)
        self._held.clear()
        return relayed

    def _read(self, frame: Frame | None) -> None:
        if frame is None:
            self.unread_events += 1
        elif frame.headers.get(":message-type", "event") == "event":
            self._event(frame.headers.get(":event-type", ""), frame.payload)
        else:  # exception, error
            self.error = True

    def _event(self, kind: str, payload: bytes) -> None:
        """Set the figures from one event."""
        raise NotImplementedError
