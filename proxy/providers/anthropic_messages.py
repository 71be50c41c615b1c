"""Anthropic messages: https://docs.anthropic.com/en/api/messages and /en/docs/build-with-claude/streaming.

Usage: `input_tokens` exclude cache reads and writes, so the counters are disjoint as they come. In a stream `message_start`
tells the input with a placeholder for the output, and each `message_delta` repeats the figures, cumulative: the last one holds.
"""

from typing import Any

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.providers.anthropic_usage import Report
from proxy.providers.dialect import Ask, Meter
from proxy.providers.meters import PlainMeter, StreamMeter
from proxy.providers.prompts import count_media, texts_of
from proxy.providers.reading import MAX_OUTPUT_LIMIT, is_array, read_count, read_model, read_switch, top_level
from proxy.providers.usage_reading import NOTHING, is_given

METERED = frozenset(("model", "messages", "system", "stream", "max_tokens"))


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None


class _Start(msgspec.Struct, gc=False):
    usage: msgspec.Raw = NOTHING


class _Event(msgspec.Struct, gc=False):
    type: str
    delta: _Delta | None = None
    message: _Start | None = None
    usage: msgspec.Raw = NOTHING


class _Figures(msgspec.Struct, gc=False):
    """What is read of an event whose delta has a shape of its own."""

    type: str
    usage: msgspec.Raw = NOTHING


class _Block(msgspec.Struct, gc=False):
    text: Any = None
    thinking: Any = None
    input: msgspec.Raw = NOTHING


class _Message(msgspec.Struct, gc=False):
    type: str
    content: list[_Block] | None = None
    usage: msgspec.Raw = NOTHING


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_figures = msgspec.json.Decoder(_Figures).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Messages:
    """`POST /v1/messages`."""

    dialect = "anthropic"
    suffix = "/v1/messages"
    shared_path = "/v1/messages"

    def read(self, body: bytes) -> Ask:
        """What the request asks for; `max_tokens` is required, as Anthropic requires it."""
        members = top_level(body, METERED)
        messages = members.get("messages")
        if messages is None or not is_array(messages):
            raise InvalidRequest("`messages` must be an array.", param="messages")
        limit = read_count(members, "max_tokens", 0, MAX_OUTPUT_LIMIT)
        if limit is None:
            raise InvalidRequest("The member `max_tokens` is required.", param="max_tokens")
        return Ask(
            model=read_model(members),
            stream=read_switch(members, "stream"),
            output_limit=limit,
            media_parts=count_media(body, messages),
        )

    def outgoing(self, body: bytes, ask: Ask) -> bytes:  # noqa: ARG002 - other dialects have something to ask for
        """The same bytes: a stream tells its usage unasked."""
        return body

    def meter(self, ask: Ask, *, sse: bool) -> Meter:  # noqa: ARG002 - see outgoing
        """A meter for a stream or for one document."""
        return _Stream() if sse else _Document()

    def prompt_text(self, body: bytes) -> str:
        """System prompt, messages and tools."""
        return texts_of(body, ("system", "messages", "tools"))


class _Document(PlainMeter):
    """A plain answer."""

    __slots__ = ()

    def _read(self, document: bytearray) -> None:
        try:
            message = self._decode(document)
        except _UNREADABLE:
            self.unread_events = 1
            self.flag = "the answer is not a JSON object"
            return
        self.complete = True
        self.error = message.type == "error"
        if is_given(message.usage):
            report = Report()
            report.add(message.usage)
            self.usage, self.partial, self.flag = report.read(final=True)
        for block in message.content or ():
            for text in (block.text, block.thinking):
                if isinstance(text, str):
                    self._tally.add(text)
            if block.input is not NOTHING:
                self._tally.add(bytes(memoryview(block.input)).decode())

    @staticmethod
    def _decode(document: bytearray) -> _Message:
        try:
            return _decode_message(document)
        except msgspec.ValidationError:
            figures = _decode_figures(document)
            return _Message(type=figures.type, usage=figures.usage)


class _Stream(StreamMeter):
    """A streamed answer."""

    __slots__ = ("_report",)

    def __init__(self) -> None:
        super().__init__()
        self._report = Report()

    def _event(self, data: bytes) -> bool:
        if not data:
            return False
        try:
            event = self._decode(data)
        except _UNREADABLE:
            self.unread_events += 1
            return False
        delta = event.delta
        if delta is not None:
            text = delta.text or delta.thinking or delta.partial_json
            if text:
                self._tally.add(text)
        kind = event.type
        if kind == "message_start" and event.message is not None and is_given(event.message.usage):
            self._report.add(event.message.usage)
            self.usage, self.partial, self.flag = self._report.read(final=False)
        elif kind == "message_delta" and is_given(event.usage):
            self._report.add(event.usage)
            self.usage, self.partial, self.flag = self._report.read(final=True)
        elif kind == "message_stop":
            self.complete = True
        elif kind == "error":
            self.error = True
        return False

    @staticmethod
    def _decode(data: bytes) -> _Event:
        try:
            return _decode_event(data)
        except msgspec.ValidationError:
            figures = _decode_figures(data)
            return _Event(type=figures.type, usage=figures.usage)
