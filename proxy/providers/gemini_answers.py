"""What Gemini's generated answers tell of their usage, chunk by chunk.

A stream's chunks are whole `GenerateContentResponse` objects. Each repeats `usageMetadata` cumulatively, in part and out of
order at times (thoughts come and go), so only what is told when every candidate has finished is the usage; before that
it is a part, in which output never shrinks. Grounding is billed beside the tokens: on models before Gemini 3 once for a
grounded prompt, since then for each query that is not empty, repeated ones once. Maps and the enterprise web index count alike.

Sources: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse,
https://ai.google.dev/gemini-api/docs/google-search#pricing.
"""

import re

import msgspec

from proxy.core.usage import Usage
from proxy.providers.dialect import Ask
from proxy.providers.gemini_usage import AUDIO, IMAGE, VIDEO, Figures, ReportedUsage, decode_usage, read_figures
from proxy.providers.meters import BaseMeter
from proxy.providers.tally import Tally
from proxy.providers.usage_reading import NOTHING, UNREADABLE, Unbelievable, is_given

_MAX_QUERIES = 1000
_BILLED_BY_PROMPT = re.compile(r"gemini-(?:live-)?[12](?!\d)")


class _Blob(msgspec.Struct, gc=False, rename="camel"):
    mime_type: str = ""


class _Call(msgspec.Struct, gc=False):
    name: str = ""
    args: msgspec.Raw = NOTHING


class _Part(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    function_call: _Call | None = None
    executable_code: msgspec.Raw = NOTHING
    inline_data: _Blob | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Chunk(msgspec.Struct, gc=False):
    maps: msgspec.Raw = NOTHING


class _Grounding(msgspec.Struct, gc=False, rename="camel"):
    web_search_queries: list[str] | None = None
    image_search_queries: list[str] | None = None
    grounding_chunks: list[_Chunk] | None = None


class _Candidate(msgspec.Struct, gc=False, rename="camel"):
    index: int = 0
    content: _Content | None = None
    finish_reason: str | None = None
    grounding_metadata: _Grounding | None = None


class _Feedback(msgspec.Struct, gc=False, rename="camel"):
    block_reason: str | None = None


class _Answer(msgspec.Struct, gc=False, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


class _OddAnswer(msgspec.Struct, gc=False, rename="camel"):
    """What is read of an answer whose candidates have a shape of their own."""

    usage_metadata: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


_decode = msgspec.json.Decoder(_Answer).decode
_decode_odd = msgspec.json.Decoder(_OddAnswer).decode


def billed_by_prompt(model: str) -> bool:
    """Whether a model's grounding is billed once for a prompt, and not for each query."""
    return _BILLED_BY_PROMPT.match(model) is not None


class Reading:
    """What an answer has told so far, written into the meter that it belongs to. `whole`: it comes in one document."""

    __slots__ = (
        "_by_prompt",
        "_code_ran",
        "_finished",
        "_last",
        "_made",
        "_maps",
        "_meter",
        "_most",
        "_queries",
        "_seen",
        "_tally",
        "_whole",
    )

    def __init__(self, meter: BaseMeter, tally: Tally, ask: Ask, *, whole: bool = False) -> None:
        self._meter = meter
        self._tally = tally
        self._whole = whole
        self._by_prompt = billed_by_prompt(ask.model)
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._queries: set[str] = set()
        self._maps = False
        self._made: str | None = None
        self._code_ran = False  # what it draws is media that no model made
        self._last: Figures | None = None
        self._most: dict[str, int] = {}  # of each output counter

    @property
    def output_tokens(self) -> int:
        """Output that was told so far; thoughts are in it, of which a client sees nothing."""
        return sum(self._most.values())

    def take(self, document: bytes | bytearray) -> bool:
        """Read one chunk; False for what is no answer at all."""
        try:
            answer = _decode(document)
        except UNREADABLE:
            return self._take_odd(document)
        for candidate in answer.candidates or ():
            self._take_candidate(candidate)
        blocked = answer.prompt_feedback is not None and answer.prompt_feedback.block_reason is not None
        self._meter.complete = self._whole or blocked or (bool(self._seen) and self._seen == self._finished)
        self._take_rest(answer.usage_metadata, answer.error, unanswered=blocked and not self._seen)
        return True

    def conclude(self) -> None:
        """The answer ended: media whose cost no figure tells cannot be counted either."""
        meter = self._meter
        if meter.usage is None and meter.partial is None and meter.flag is None and self._made and not self._code_ran:
            meter.flag = "the answer holds media, and no usage says what they cost"

    def _take_odd(self, document: bytes | bytearray) -> bool:
        try:
            odd = _decode_odd(document)
        except UNREADABLE:
            return False
        self._meter.complete = self._meter.complete or self._whole
        self._take_rest(odd.usage_metadata, odd.error, unanswered=False)
        return True

    def _take_rest(self, usage: msgspec.Raw, error: msgspec.Raw, *, unanswered: bool) -> None:
        if is_given(error):
            self._meter.error = True
        told = is_given(usage)
        if told:
            self._take_usage(usage, unanswered=unanswered)
        self._settle(final=told and self._meter.complete)

    def _take_candidate(self, candidate: _Candidate) -> None:
        self._seen.add(candidate.index)
        if candidate.finish_reason is not None:
            self._finished.add(candidate.index)
        if candidate.grounding_metadata is not None:
            self._take_grounding(candidate.grounding_metadata)
        if candidate.content is not None:
            for part in candidate.content.parts or ():
                self._take_part(part)

    def _take_part(self, part: _Part) -> None:
        if part.text:
            self._tally.add(part.text)
        if part.function_call is not None:
            self._tally.call(part.function_call.name)
            self._tally.add(bytes(part.function_call.args).decode(errors="replace"))
        if part.executable_code is not NOTHING:
            self._code_ran = True
            self._tally.add(bytes(part.executable_code).decode(errors="replace"))
        if part.inline_data is not None:
            kind = part.inline_data.mime_type.partition("/")[0]
            self._made = kind if kind in {AUDIO, IMAGE, VIDEO} else IMAGE

    def _take_grounding(self, grounding: _Grounding) -> None:
        for query in (*(grounding.web_search_queries or ()), *(grounding.image_search_queries or ())):
            if query and len(self._queries) < _MAX_QUERIES:
                self._queries.add(query)
        self._maps = self._maps or any(chunk.maps is not NOTHING for chunk in grounding.grounding_chunks or ())

    def _take_usage(self, raw: msgspec.Raw, *, unanswered: bool) -> None:
        try:
            reported = decode_usage(raw)
            figures = _no_figures(reported, unanswered=unanswered) or read_figures(
                reported, None if self._code_ran else self._made
            )
        except Unbelievable as error:
            self._meter.flag = f"usage not believed: {error}"
            return
        self._meter.service_tier = reported.tier or self._meter.service_tier
        self._last = figures
        for name, count in (figures.output or {}).items():
            self._most[name] = max(count, self._most.get(name, 0))

    def _settle(self, *, final: bool) -> None:
        """What the meter says: the whole usage once it is final, a part before that, nothing where it is not believed."""
        meter, last = self._meter, self._last
        if meter.flag is not None or last is None:
            meter.usage = meter.partial = None
        elif last.input is not None and last.output is not None and (final or (meter.usage and meter.complete)):
            meter.usage, meter.partial = Usage(last.input | last.output | self._searches()), None
        else:
            known = (last.input or {}) | self._most | self._searches()
            meter.usage, meter.partial = None, Usage(known) if last.input or self._most else None

    def _searches(self) -> dict[str, int]:
        count = len(self._queries) + self._maps
        if not count:
            return {}
        return {"web_searches": 1 if self._by_prompt else count}


def _no_figures(reported: ReportedUsage, *, unanswered: bool) -> Figures | None:
    """Zeros for a prompt that was blocked before a model saw it, where the report leaves all figures out."""
    if not reported.empty:
        return None
    return Figures({"input": 0}, {"output": 0}) if unanswered else Figures(None, None)
