"""Meters of OpenAI's responses: one document, or a stream whose last event carries the whole response with its usage.

A response that the provider goes on working on (`background`) is `pending`: its usage comes when it is fetched.
"""

import msgspec

from proxy.providers.meters import MAX_PLAIN_BYTES, PlainMeter, StreamMeter
from proxy.providers.openai_response_objects import (
    UNTOLD_TOOL,
    Event,
    OddEvent,
    Response,
    decode_response,
    from_figures,
    has_billed_call,
    read_response,
    tally_output,
)
from proxy.providers.sse import Splitter
from proxy.providers.usage_reading import UNREADABLE, Reading, is_given

_decode_event = msgspec.json.Decoder(Event).decode
_decode_odd = msgspec.json.Decoder(OddEvent).decode

# Deltas whose text is the model's own; of audio the transcript is, which comes beside it.
_ADDED = "response.output_item.added"
_SILENT_DELTA = "response.audio.delta"


class ResponseDocument(PlainMeter):
    """A response as one document."""

    __slots__ = ()

    def _read(self, document: bytearray) -> None:
        response, reading = decode_response(document)
        self.complete = True
        self.error = response.failed
        self.resource = response.kept_as
        self.service_tier = response.service_tier
        self.pending = response.going_on
        if not self.pending:
            self.usage, self.partial, self.flag = reading or read_response(response)
        tally_output(response.output, self._tally)


class ResponseStream(StreamMeter):
    """A response as a stream of events."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        # The last event repeats instructions, tools and output, images in base64 included: as long as a document may be.
        self._splitter = Splitter(MAX_PLAIN_BYTES)

    def _event(self, data: bytes) -> bool:
        try:
            event = _decode_event(data)
        except UNREADABLE:
            self._read_odd(data)
            return False
        if event.delta is not None:
            if isinstance(event.delta, str) and event.type != _SILENT_DELTA:
                self._tally.add(event.delta)
        elif event.response is not None:
            self._take(event.response, None)
        elif event.item is not None:
            if event.type == _ADDED and isinstance(event.item.name, str):
                self._tally.call(event.item.name)
            # A stream that ends before its usage would lose what the tool cost; one in the background goes on by itself.
            if self.usage is None and self.flag is None and not self.pending and has_billed_call((event.item,)):
                self.flag = UNTOLD_TOOL
        elif event.type == "error":
            self.error = True
            self.pending = False
        return False

    def _take(self, response: Response, reading: Reading | None) -> None:
        """An event with the whole response: begun, going on, or finished."""
        self.resource = response.kept_as or self.resource
        self.service_tier = response.service_tier or self.service_tier
        if response.going_on:
            self.pending = response.background is True
            return
        self.pending = False
        self.complete = True
        self.error = response.failed
        self.usage, self.partial, self.flag = reading or read_response(response)

    def _read_odd(self, data: bytes) -> None:
        """No data, the end mark of other servers, or an event of another shape, of which at least the figures are read."""
        if not data or data.strip() == b"[DONE]":
            return
        try:
            odd = _decode_odd(data)
        except UNREADABLE:
            self.unread_events += 1
            return
        if odd.response is not None:
            self._take(*from_figures(odd.response))
        if is_given(odd.error):
            self.error = True
