"""Cohere's chat, version 2: https://docs.cohere.com/reference/chat and https://docs.cohere.com/v2/docs/streaming.

The base URL is the origin, as Cohere's SDK takes it. A stream ends with `message-end`, whose delta has the usage and, where
the generation failed, the error.
"""

from typing import Any

import msgspec

from proxy.providers.answer_texts import texts_of_answer
from proxy.providers.clamping import with_limit
from proxy.providers.cohere_usage import CHAT, read_report
from proxy.providers.dialect import BILLED, NO_HEAD, Ask, Head, Meter, Operation, Path, is_sse
from proxy.providers.messages import read_messages
from proxy.providers.meters import PlainMeter, StreamMeter
from proxy.providers.passing import AsItCame
from proxy.providers.prompts import count_media, texts_of
from proxy.providers.reading import (
    MAX_OUTPUT_LIMIT,
    read_count,
    read_model,
    read_switch,
    top_level,
)
from proxy.providers.rows import Names
from proxy.providers.usage_reading import NOTHING, UNREADABLE, is_given

METERED = frozenset(("model", "messages", "documents", "stream", "max_tokens", "tools"))
_FAILED = ("ERROR", "ERROR_TOXIC", "TIMEOUT")  # compared, not hashed: the reason may be anything
_DONE = b"[DONE]"


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Content(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None


class _Piece(msgspec.Struct, gc=False):
    content: _Content | None = None
    tool_plan: str | None = None
    tool_calls: _Call | None = None


class _EndDelta(msgspec.Struct, gc=False):
    usage: msgspec.Raw = NOTHING
    finish_reason: Any = None
    error: Any = None


class _Delta(_EndDelta, gc=False):
    message: _Piece | None = None


class _Event(msgspec.Struct, gc=False):
    type: str
    delta: _Delta | None = None


class _End(msgspec.Struct, gc=False):
    """An event whose message has another shape: of these only the end matters."""

    type: str
    delta: _EndDelta | None = None


class _Document(msgspec.Struct, gc=False):
    usage: msgspec.Raw = NOTHING
    finish_reason: Any = None
    message: msgspec.Raw = NOTHING


_NO_CONTENT, _NO_CALL, _NO_FUNCTION = _Content(), _Call(), _Function()
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_end = msgspec.json.Decoder(_End).decode
_decode_document = msgspec.json.Decoder(_Document).decode


class Chat(AsItCame):
    """`POST /v2/chat`."""

    dialect = "cohere"
    method = "POST"
    paths: tuple[Path, ...] = (Path("/v2/chat", "/v2/chat"),)
    billing = BILLED

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:  # noqa: ARG002 - everything is in the body
        """What the request asks for."""
        members = top_level(body, METERED)
        return Ask(
            model=read_model(members),
            stream=read_switch(members, "stream"),
            output_limit=read_count(members, "max_tokens", 0, MAX_OUTPUT_LIMIT),
            media_parts=count_media(read_messages(members)),
        )

    def clamp(self, body: bytes, limit: int, names: Names) -> bytes:  # noqa: ARG002 - one provider, one name
        """The body with `max_tokens` of at most `limit`."""
        return with_limit(body, ("max_tokens",), "max_tokens", limit)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - the answer's type says it all
        """A meter for a stream or for one document."""
        return _Stream() if is_sse(content_type) else _Plain()

    def prompt_text(self, body: bytes) -> str:
        """Messages, documents and tools. What stands as `data` elsewhere is no text; in a document it is."""
        return texts_of(body.replace(b'"data"', b'"text"'), ("messages", "documents", "tools"))


class _Plain(PlainMeter):
    """A plain answer."""

    __slots__ = ()

    def _read(self, document: bytearray) -> None:
        answer = _decode_document(document)
        self.complete = True
        self.error = answer.finish_reason in _FAILED
        if is_given(answer.usage):
            self.usage, self.partial, self.flag = read_report(answer.usage, CHAT)
        if is_given(answer.message):
            self._tally.add(texts_of_answer({"message": bytes(answer.message)}))


class _Stream(StreamMeter):
    """A streamed answer."""

    __slots__ = ()

    def _event(self, data: bytes) -> bool:
        if not data or data == _DONE:
            return False
        try:
            event = _decode_event(data)
        except UNREADABLE:
            self._read_odd(data)
            return False
        delta = event.delta
        if delta is None:
            return False
        if event.type == "message-end":
            self._end(delta.usage, failed=delta.error is not None or delta.finish_reason in _FAILED)
        elif event.type == "tool-call-start" and delta.message is not None:
            call = delta.message.tool_calls or _NO_CALL
            self._tally.call((call.function or _NO_FUNCTION).name or "")
        elif delta.message is not None:
            self._count(delta.message)
        return False

    def _end(self, usage: msgspec.Raw, *, failed: bool) -> None:
        self.error = failed
        self.complete = not failed
        if is_given(usage):
            self.usage, self.partial, self.flag = read_report(usage, CHAT)

    def _count(self, piece: _Piece) -> None:
        content = piece.content or _NO_CONTENT
        called = (piece.tool_calls or _NO_CALL).function or _NO_FUNCTION
        text = content.text or content.thinking or piece.tool_plan or called.arguments
        if text:
            self._tally.add(text)

    def _read_odd(self, data: bytes) -> None:
        """An event of another shape, of which at least the end is read."""
        try:
            event = _decode_end(data)
        except UNREADABLE:
            self.unread_events += 1
            return
        if event.type == "message-end" and event.delta is not None:
            self._end(event.delta.usage, failed=event.delta.error is not None)


OPERATIONS: tuple[Operation, ...] = (Chat(),)
