"""Anthropic messages: https://docs.anthropic.com/en/api/messages and /en/docs/build-with-claude/streaming, and the counting
of a message's tokens (https://docs.anthropic.com/en/api/messages-count-tokens), which is free. Batches are not open.

Usage: `input_tokens` exclude cache reads and writes, so the counters are disjoint as they come. In a stream `message_start`
tells the input with a placeholder for the output, and each `message_delta` repeats the figures, cumulative: the last one holds.
"""

from typing import Any

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.core.usage import Usage
from proxy.providers.anthropic_request import (
    COST_MEMBERS,
    read_others,
    read_resources,
    read_searches,
    read_tier,
)
from proxy.providers.anthropic_usage import Report
from proxy.providers.clamping import with_limit
from proxy.providers.dialect import BILLED, FREE, NO_HEAD, Ask, Head, Meter, Operation, Path, is_sse
from proxy.providers.messages import read_messages
from proxy.providers.meters import PlainMeter, StreamMeter
from proxy.providers.passing import AsItCame
from proxy.providers.prompts import count_media, texts_of
from proxy.providers.reading import (
    MAX_OUTPUT_LIMIT,
    outline,
    read_count,
    read_model,
    read_switch,
    top_level,
)
from proxy.providers.rows import Names
from proxy.providers.usage_reading import NOTHING, UNREADABLE, is_given

METERED = frozenset(("model", "messages", "system", "stream", "max_tokens", *COST_MEMBERS))

_SERVER_TOOL = "server_tool_use"
UNTOLD_TOOL = "the provider ran a tool, and the usage was not told"


class _Container(msgspec.Struct, gc=False):
    id: Any = None


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    content: Any = None
    container: _Container | None = None


class _Start(msgspec.Struct, gc=False):
    model: Any = None
    usage: msgspec.Raw = NOTHING
    container: _Container | None = None


class _Started(msgspec.Struct, gc=False):
    type: Any = None
    name: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str
    delta: _Delta | None = None
    message: _Start | None = None
    content_block: _Started | None = None
    usage: msgspec.Raw = NOTHING


class _Figures(msgspec.Struct, gc=False):
    """What is read of an event whose delta has a shape of its own."""

    type: str
    usage: msgspec.Raw = NOTHING


class _Block(msgspec.Struct, gc=False):
    type: Any = None
    name: Any = None
    text: Any = None
    thinking: Any = None
    content: Any = None
    input: msgspec.Raw = NOTHING


class _Message(msgspec.Struct, gc=False):
    type: str
    model: Any = None
    content: list[_Block] | None = None
    container: _Container | None = None
    usage: msgspec.Raw = NOTHING


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_figures = msgspec.json.Decoder(_Figures).decode
_decode_message = msgspec.json.Decoder(_Message).decode


class Messages(AsItCame):
    """`POST /v1/messages`."""

    dialect = "anthropic"
    method = "POST"
    paths: tuple[Path, ...] = (Path("/v1/messages", "/v1/messages"),)
    billing = BILLED

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:  # noqa: ARG002 - everything is in the body
        """What the request asks for; `max_tokens` is required, as Anthropic requires it."""
        members = outline(body, METERED)
        messages = read_messages(members)
        limit = read_count(members, "max_tokens", 0, MAX_OUTPUT_LIMIT)
        if limit is None:
            raise InvalidRequest("The member `max_tokens` is required.", param="max_tokens")
        model = read_model(members)
        return Ask(
            model=model,
            stream=read_switch(members, "stream"),
            output_limit=limit,
            units=read_searches(members),
            media_parts=count_media(messages),
            service_tier=read_tier(members),
            resources=read_resources(members),
            others=read_others(members, model),
        )

    def clamp(self, body: bytes, limit: int, names: Names) -> bytes:  # noqa: ARG002 - one name everywhere
        """See `clamping.Clamps`."""
        return with_limit(body, ("max_tokens",), "max_tokens", limit)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:
        """A meter for a stream or for one document."""
        others = bool(ask.others)
        return _Stream(others=others) if is_sse(content_type) else _Document(others=others)

    def prompt_text(self, body: bytes) -> str:
        """System prompt, messages and tools."""
        return texts_of(body, ("system", "messages", "tools"))


class CountTokens(Messages):
    """`POST /v1/messages/count_tokens`: free, so what its model or its limit is does not matter for money."""

    paths: tuple[Path, ...] = (Path("/v1/messages/count_tokens", "/v1/messages/count_tokens"),)
    billing = FREE

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:  # noqa: ARG002 - everything is in the body
        """Which model counts."""
        return Ask(model=read_model(top_level(body, ("model",))), output_limit=0)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - one document, whatever was asked
        """A meter that finds nothing used."""
        return _Nothing()


class _Nothing(PlainMeter):
    """The answer of something that uses nothing."""

    __slots__ = ()

    def finish(self) -> bytes:
        """Whatever it says, it is free."""
        self.complete, self.usage = True, Usage({})
        return b""


def _answered_by(holder: _Message | _Start | None) -> str | None:
    """The model that answers, by the provider's word."""
    return holder.model if holder is not None and isinstance(holder.model, str) else None


def _kept_as(holder: _Message | _Start | _Delta | None) -> str | None:
    """The container that the provider keeps for the next request to go on in."""
    if holder is None or holder.container is None or not isinstance(holder.container.id, str):
        return None
    return holder.container.id


class _Document(PlainMeter):
    """A plain answer."""

    __slots__ = ("_others",)

    def __init__(self, *, others: bool) -> None:
        super().__init__()
        self._others = others

    def _read(self, document: bytearray) -> None:
        message = self._decode(document)
        self.complete = True
        self.error = message.type == "error"
        self.resource = _kept_as(message)
        self.answered_by = _answered_by(message)
        if is_given(message.usage):
            report = Report(others=self._others)
            report.add(message.usage)
            self.usage, self.partial, self.flag = report.read(final=True)
            self.service_tier = report.service_tier
        for block in message.content or ():
            for text in (block.text, block.thinking):
                if isinstance(text, str):
                    self._tally.add(text)
            if block.type == "compaction" and isinstance(block.content, str):
                self._tally.add(block.content)
            if block.input is not NOTHING:
                self._tally.call(block.name if isinstance(block.name, str) else "")
                self._tally.add(bytes(memoryview(block.input)).decode(errors="replace"))

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

    def __init__(self, *, others: bool) -> None:
        super().__init__()
        self._report = Report(others=others)

    def _event(self, data: bytes) -> bool:
        try:
            event = _decode_event(data)
        except UNREADABLE:
            self._read_odd(data)
            return False
        delta = event.delta
        if delta is not None:
            text = delta.text or delta.thinking or delta.partial_json or delta.content
            if text and isinstance(text, str):
                self._tally.add(text)
                return False
        if event.content_block is not None:
            self._begin(event.content_block)
        message = event.message
        self.answered_by = _answered_by(message) or self.answered_by
        self.resource = _kept_as(message) or _kept_as(delta) or self.resource
        self._read_kind(event.type, event.usage if message is None else message.usage)
        return False

    def _begin(self, block: _Started) -> None:
        """A block begins: of text, of thoughts, or a tool's call."""
        if isinstance(block.name, str):
            self._tally.call(block.name)
        if block.type == _SERVER_TOOL and self.usage is None and self.flag is None:
            # What it costs, and what it has the model read, is told at the end: who leaves before that does not save it.
            self.flag = UNTOLD_TOOL

    def _read_kind(self, kind: str, usage: msgspec.Raw) -> None:
        """The events that are rare: beginning, end, errors."""
        if kind == "message_stop":
            self.complete = True
        elif kind == "error":
            self.error = True
            if self.flag == UNTOLD_TOOL:
                self.flag = None  # it ends with what was reported until then
        elif kind in {"message_start", "message_delta"} and is_given(usage):
            self._report.add(usage)
            self.usage, self.partial, self.flag = self._report.read(final=kind == "message_delta")
            self.service_tier = self._report.service_tier

    def _read_odd(self, data: bytes) -> None:
        """No data, or an event of another shape, of which at least the figures are read."""
        if not data:
            return
        try:
            figures = _decode_figures(data)
        except UNREADABLE:
            self.unread_events += 1
            return
        self._read_kind(figures.type, figures.usage)


OPERATIONS: tuple[Operation, ...] = (Messages(), CountTokens())
"""What is open of Anthropic's interface."""
