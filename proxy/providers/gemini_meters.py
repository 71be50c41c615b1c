"""Gemini's generated answers, metered: one document, a stream of server-sent events, or a stream that is a JSON array.

`streamGenerateContent` answers with the array where `alt=sse` is not asked for. Nothing is taken out of either stream.
"""

from proxy.core.usage import Usage
from proxy.providers.dialect import Ask
from proxy.providers.gemini_answers import Reading
from proxy.providers.json_array import ElementSplitter
from proxy.providers.meters import BaseMeter, PlainMeter, StreamMeter
from proxy.providers.sse import Splitter, data_of

# An image of the largest kind is some megabytes of base64 in one event, with the usage behind it.
MAX_EVENT_BYTES = 32 * 1024 * 1024


class AnswerMeter(PlainMeter):
    """One document."""

    __slots__ = ("_reading",)

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._reading = Reading(self, self._tally, ask, whole=True)

    def _read(self, document: bytearray) -> None:
        if self._reading.take(document):
            self._reading.conclude()
        else:
            self._give_up()


class EventMeter(StreamMeter):
    """A stream of server-sent events."""

    __slots__ = ("_reading",)

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._splitter = Splitter(MAX_EVENT_BYTES)
        self._reading = Reading(self, self._tally, ask)

    @property
    def output_events(self) -> int:
        """About the tokens of the output so far."""
        return max(super().output_events, self._reading.output_tokens)

    @property
    def output_so_far(self) -> int:
        """The same, or what the bytes come to."""
        return max(super().output_so_far, self._reading.output_tokens)

    def finish(self) -> bytes:
        """Read what only its final blank line is missing of."""
        held = super().finish()
        self._reading.conclude()
        return held

    def _event(self, data: bytes) -> bool:
        if data and not self._reading.take(data):
            self.unread_events += 1
        return False


class ArrayMeter(BaseMeter):
    """A stream that is a JSON array. Nothing is taken out of it; an error of ours can be its last element."""

    __slots__ = ("_elements", "_empty", "_reading")
    streams = True

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._elements = ElementSplitter(MAX_EVENT_BYTES)
        self._empty = True
        self._reading = Reading(self, self._tally, ask)

    @property
    def output_events(self) -> int:
        """About the tokens of the output so far."""
        return max(super().output_events, self._reading.output_tokens)

    @property
    def output_so_far(self) -> int:
        """The same, or what the bytes come to."""
        return max(super().output_so_far, self._reading.output_tokens)

    @property
    def between_events(self) -> bool:
        """Between two elements an element of ours could follow, and only as `farewell` writes it."""
        return self._elements.idle

    def feed(self, piece: bytes) -> bytes:
        """Read the elements that end in this piece; relay it as it is."""
        self._empty = self._empty and not piece
        for element in self._elements.feed(piece):
            if element is None or not self._reading.take(element):
                self.unread_events += 1
        return piece

    def finish(self) -> bytes:
        """Doubt the figures where an element could not be read; nothing was held back."""
        if self.usage is None and self.unread_events and self.flag is None:
            self.flag = "the usage may be in an element that could not be read"
        if self._elements.idle and not self._elements.begun and not self._elements.seen and not self._empty:
            self.unread_events, self.flag = 1, "the answer is no JSON array"
        self._reading.conclude()
        return b""

    def cut(self) -> bytes:
        """Nothing makes an event of ours readable here; see `farewell`."""
        return b""

    def farewell(self, event: bytes) -> bytes | None:
        """The error as the array's last element, as Google sends its own; None inside an element."""
        elements = self._elements
        if not elements.idle or not elements.begun or elements.closed:
            return None
        return b"%b%b]" % (b",\r\n" if elements.seen and not elements.comma else b"", data_of(event))


class FreeMeter(PlainMeter):
    """An answer that costs nothing whatever it says."""

    __slots__ = ()

    def _read(self, document: bytearray) -> None:  # noqa: ARG002 - nothing in it is a figure of ours
        self.complete = True
        self.usage = Usage({})
