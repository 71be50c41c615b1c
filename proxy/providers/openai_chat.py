"""OpenAI chat completions: https://platform.openai.com/docs/api-reference/chat and everything that copied it.

Usage: `prompt_tokens` include cached, written and audio tokens, `completion_tokens` include reasoning, audio and rejected
predictions; the counters here are disjoint. A stream carries usage only where `stream_options.include_usage` asks for it, in
a chunk without choices before `[DONE]`; where Farebox asked, Farebox takes that chunk out again. The other chunks then carry
`"usage": null`, as OpenAI documents; those stay. A call with `web_search_options` is one web search, whatever it answers
(https://platform.openai.com/docs/guides/tools-web-search, models of the chat completions).
"""

from contextlib import suppress

import msgspec

from proxy.core.usage import Usage
from proxy.providers.dialect import BILLED, NO_HEAD, Ask, Head, Meter, Path, is_sse
from proxy.providers.messages import read_messages
from proxy.providers.meters import PlainMeter, StreamMeter
from proxy.providers.openai_events import Answer, Chunk, Elsewhere, Figures, Named, StreamChoice, read_text
from proxy.providers.openai_request import (
    LIMIT_NAMES,
    model_of,
    read_others,
    read_output_limit,
    read_tier,
    usage_asked,
    with_usage_asked,
)
from proxy.providers.openai_usage import OTHER_TOOLS, Reading, read_raw_usage, read_usage
from proxy.providers.prompts import count_media, texts_of
from proxy.providers.reading import outline, read_count, read_switch, with_model
from proxy.providers.rows import Names
from proxy.providers.token_limits import with_named_limit
from proxy.providers.usage_reading import UNREADABLE, is_given

METERED = frozenset(
    (
        "model",
        "models",
        "messages",
        "stream",
        "stream_options",
        "n",
        "service_tier",
        "web_search_options",
        *LIMIT_NAMES,
    ),
)
MAX_CHOICES = 128  # OpenAI's own bound for `n`
_ONE_SEARCH = {"web_searches": 1}

_decode_chunk = msgspec.json.Decoder(Chunk).decode
_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_figures = msgspec.json.Decoder(Figures).decode
_decode_named = msgspec.json.Decoder(Named).decode
_decode_elsewhere = msgspec.json.Decoder(Elsewhere).decode


class ChatCompletions:
    """`POST /chat/completions`."""

    dialect = "openai"
    method = "POST"
    paths: tuple[Path, ...] = (Path("/chat/completions", "/v1/chat/completions"),)
    billing = BILLED

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """What the request asks for; of two output limits the larger counts."""
        members = outline(body, METERED)
        messages = read_messages(members)
        model = model_of(members, head)
        searches = members.get("web_search_options")
        # What most requests do not have is not asked for: a call for each member would be a tenth of the reading.
        return Ask(
            model=model,
            stream="stream" in members and read_switch(members, "stream"),
            output_limit=read_output_limit(members),
            choices=("n" in members and read_count(members, "n", 1, MAX_CHOICES)) or 1,
            units={} if searches is None or not is_given(searches) else _ONE_SEARCH,
            usage_asked="stream_options" in members and usage_asked(members),
            media_parts=count_media(messages),
            service_tier=read_tier(members) if "service_tier" in members else None,
            others=read_others(members, model) if "models" in members else (),
        )

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:
        """The same bytes, but that a stream is asked for its usage where the caller did not."""
        if model is not None:
            body = with_model(body, model)
        return body if not ask.stream or ask.usage_asked else with_usage_asked(body)

    def clamp(self, body: bytes, limit: int, names: Names) -> bytes:
        """See `clamping.Clamps`."""
        return with_named_limit(body, limit, names)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:
        """A meter for a stream or for one document."""
        return _Stream(ask) if is_sse(content_type) else _Document(ask)

    def prompt_text(self, body: bytes) -> str:
        """Messages, tools and response format."""
        return texts_of(body, ("messages", "tools", "functions", "response_format"))


def _with_units(reading: Reading, ask: Ask) -> Reading:
    """The reading with the units that every call of this kind is billed, whatever its answer says."""
    usage, partial, flag = reading
    if usage is not None and ask.units:
        usage = Usage({**ask.units, **usage.counters})
    return usage, partial, flag


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
        if self._ask.others and isinstance(answer.model, str):
            self.answered_by = answer.model
        if isinstance(answer.service_tier, str):
            self.service_tier = answer.service_tier
        if answer.usage is not None:
            reading = read_usage(answer.usage)
            self.usage, self.partial, self.flag = _with_units(reading, self._ask) if self._ask.units else reading
        for choice in answer.choices or ():
            if choice.message is not None:
                read_text(choice.message, self._tally)
                if choice.message.executed_tools:
                    self.flag = self.flag or OTHER_TOOLS
            elif isinstance(choice.text, str):
                self._tally.add(choice.text)

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
            self.usage, self.partial, self.flag = _with_units(read_raw_usage(figures.usage), self._ask)


class _Stream(StreamMeter):
    """A streamed answer."""

    __slots__ = ("_ask", "_beside", "_unfinished")

    def __init__(self, ask: Ask) -> None:
        super().__init__(takes_out=ask.stream and not ask.usage_asked)
        self._ask = ask
        self._unfinished = ask.choices
        if ask.units:  # billed from the start: who leaves before the usage is told does not save it
            self.partial = Usage(ask.units)
        self._beside: str | None = None  # Groq's compound models ran tools, which are billed apart

    def _event(self, data: bytes) -> bool:
        try:
            chunk = _decode_chunk(data)
        except UNREADABLE:
            self._read_odd(data)
            return False
        choices = chunk.choices
        if choices:
            self._read_choices(choices)
        if chunk.error is not None:
            self._fail()
        if chunk.service_tier is not None and self.service_tier is None and isinstance(chunk.service_tier, str):
            self.service_tier = chunk.service_tier
        if chunk.x_groq is not None and chunk.x_groq.usage is not None:
            self._take(read_usage(chunk.x_groq.usage))
        if chunk.usage is None:
            return False
        self._take(read_usage(chunk.usage))
        self._name(data)
        return choices is not None and not choices and chunk.error is None

    def _read_choices(self, choices: list[StreamChoice]) -> None:
        for choice in choices:
            delta = choice.delta
            if delta is not None:
                read_text(delta, self._tally)
                if delta.executed_tools:
                    self._beside = self.flag = OTHER_TOOLS
            elif choice.text and isinstance(choice.text, str):
                self._tally.add(choice.text)
            if choice.finish_reason is not None:
                self._finish_choice()
            if choice.usage is not None:
                self._take(read_usage(choice.usage))

    def _take(self, reading: Reading) -> None:
        """Takes over what a usage says; the last one holds, but one that says less takes nothing back."""
        if reading[0] is not None or reading[2] is not None or (self.usage is None and reading[1] is not None):
            self.usage, self.partial, flag = _with_units(reading, self._ask)
            self.flag = flag or self._beside

    def _name(self, data: bytes) -> None:
        """Which of several models answered: looked for in the event that has the usage, not in each."""
        if self._ask.others and isinstance(model := _decode_named(data).model, str):
            self.answered_by = model

    def _finish_choice(self) -> None:
        self._unfinished -= 1
        if self._unfinished <= 0:
            self.complete = True

    def _fail(self) -> None:
        self.error = True
        if self.partial is not None and not self.partial.input_tokens:
            self.partial = None  # nothing was reported, and nothing is charged

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
            self._fail()
        if is_given(figures.usage):
            self._take(read_raw_usage(figures.usage))
            return
        with suppress(*UNREADABLE):
            for usage in _decode_elsewhere(data).usages():
                self._take(read_raw_usage(usage))
