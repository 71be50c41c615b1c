"""OpenAI chat completions: https://platform.openai.com/docs/api-reference/chat and everything that copied it.

Usage: `prompt_tokens` include cached, written and audio tokens, `completion_tokens` include reasoning, audio and rejected
predictions; the counters here are disjoint. A stream carries usage only where `stream_options.include_usage` asks for it, in
a chunk without choices before `[DONE]`; where Farebox asked, Farebox takes that chunk out again. The other chunks then carry
`"usage": null`, as OpenAI documents; those stay.
"""

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.providers.dialect import BILLED, NO_HEAD, Ask, Head, Meter, Path, is_sse
from proxy.providers.meters import PlainMeter, StreamMeter
from proxy.providers.openai_events import Answer, Chunk, Figures, read_text
from proxy.providers.openai_usage import read_raw_usage, read_usage
from proxy.providers.prompts import count_media, texts_of
from proxy.providers.reading import (
    MAX_OUTPUT_LIMIT,
    decode,
    is_array,
    outline,
    read_count,
    read_model,
    read_switch,
    with_model,
)
from proxy.providers.usage_reading import UNREADABLE, is_given

METERED = frozenset(
    ("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n"),
)
MAX_CHOICES = 128  # OpenAI's own bound for `n`

_ASK_USAGE = b'"stream_options":{"include_usage":true},'
_decode_chunk = msgspec.json.Decoder(Chunk).decode
_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_figures = msgspec.json.Decoder(Figures).decode


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


_OPTIONS: msgspec.json.Decoder[_StreamOptions | None] = msgspec.json.Decoder(_StreamOptions | None)


class ChatCompletions:
    """`POST /chat/completions`."""

    dialect = "openai"
    method = "POST"
    paths: tuple[Path, ...] = (Path("/chat/completions", "/v1/chat/completions"),)
    billing = BILLED

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:  # noqa: ARG002 - everything is in the body
        """What the request asks for; of two output limits the larger counts."""
        members = outline(body, METERED)
        messages = members.get("messages")
        if messages is None or not is_array(messages):
            raise InvalidRequest("`messages` must be an array.", param="messages")
        limits = [
            limit
            for name in ("max_tokens", "max_completion_tokens")
            if (limit := read_count(members, name, 0, MAX_OUTPUT_LIMIT)) is not None
        ]
        return Ask(
            model=read_model(members),
            stream=read_switch(members, "stream"),
            output_limit=max(limits, default=None),
            choices=read_count(members, "n", 1, MAX_CHOICES) or 1,
            usage_asked=_usage_asked(members),
            media_parts=count_media(messages),
        )

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:
        """The same bytes, but that a stream is asked for its usage where the caller did not."""
        if model is not None:
            body = with_model(body, model)
        if not ask.stream or ask.usage_asked:
            return body
        if b'"stream_options"' in body:
            return _with_usage_asked(body)
        brace = body.index(b"{") + 1
        return b"".join((body[:brace], _ASK_USAGE, body[brace:]))

    def meter(self, ask: Ask, content_type: bytes) -> Meter:
        """A meter for a stream or for one document."""
        return _Stream(ask) if is_sse(content_type) else _Document()

    def prompt_text(self, body: bytes) -> str:
        """Messages, tools and response format."""
        return texts_of(body, ("messages", "tools", "functions", "response_format"))


def _usage_asked(members: dict[str, msgspec.Raw]) -> bool:
    raw = members.get("stream_options")
    if raw is None:
        return False
    message = "`stream_options` must be an object whose `include_usage` is true or false."
    options = decode(raw, _OPTIONS, "stream_options", message)
    return options is not None and options.include_usage is True


def _with_usage_asked(body: bytes) -> bytes:
    """The body with `include_usage` set in the options that the caller gave, all other members as they were written.

    `stream_options` may also be the name of something nested: then there is nothing to merge with.
    """
    members: dict[str, msgspec.Raw] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    given = members.get("stream_options", msgspec.Raw(b"null"))
    options: dict[str, msgspec.Raw] | None = msgspec.json.decode(given, type=dict[str, msgspec.Raw] | None)
    merged = (options or {}) | {"include_usage": msgspec.Raw(b"true")}
    return msgspec.json.encode(members | {"stream_options": merged})


class _Document(PlainMeter):
    """A plain answer."""

    __slots__ = ()

    def _read(self, document: bytearray) -> None:
        try:
            answer = _decode_answer(document)
        except msgspec.ValidationError:
            self._read_figures(document)
            return
        except UNREADABLE:
            self.unread_events = 1
            self.flag = "the answer is not JSON"
            return
        self.complete = True
        self.error = answer.error is not None
        if answer.usage is not None:
            self.usage, self.partial, self.flag = read_usage(answer.usage)
        for choice in answer.choices or ():
            if choice.message is not None:
                read_text(choice.message, self._tally)

    def _read_figures(self, document: bytearray) -> None:
        try:
            figures = _decode_figures(document)
        except UNREADABLE:
            self.unread_events = 1
            self.flag = "the answer is not a JSON object"
            return
        self.complete = True
        self.error = is_given(figures.error)
        if is_given(figures.usage):
            self.usage, self.partial, self.flag = read_raw_usage(figures.usage)


class _Stream(StreamMeter):
    """A streamed answer."""

    __slots__ = ("_unfinished",)

    def __init__(self, ask: Ask) -> None:
        super().__init__(takes_out=ask.stream and not ask.usage_asked)
        self._unfinished = ask.choices

    def _event(self, data: bytes) -> bool:
        try:
            chunk = _decode_chunk(data)
        except UNREADABLE:
            self._read_odd(data)
            return False
        choices = chunk.choices
        if choices:
            for choice in choices:
                if choice.delta is not None:
                    read_text(choice.delta, self._tally)
                if choice.finish_reason is not None:
                    self._finish_choice()
        if chunk.error is not None:
            self.error = True
        if chunk.usage is None:
            return False
        self.usage, self.partial, self.flag = read_usage(chunk.usage)
        return choices is not None and not choices and chunk.error is None

    def _finish_choice(self) -> None:
        self._unfinished -= 1
        if self._unfinished <= 0:
            self.complete = True

    def _read_odd(self, data: bytes) -> None:
        """No data, the end mark, or an event of another shape, of which at least the figures are read."""
        if data.strip() == b"[DONE]":
            self.complete = True
            return
        if not data:
            return
        try:
            figures = _decode_figures(data)
        except UNREADABLE:
            self.unread_events += 1
            return
        if is_given(figures.error):
            self.error = True
        if is_given(figures.usage):
            self.usage, self.partial, self.flag = read_raw_usage(figures.usage)
