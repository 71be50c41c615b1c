"""OpenAI's usage objects with `input_tokens` and `output_tokens`: responses, images, speech and transcriptions.

Sources: https://platform.openai.com/docs/api-reference/responses/object, /images/object and /audio/json-object (usage).
Cached, written and audio tokens are parts of `input_tokens`, reasoning is a part of `output_tokens`.
"""

from typing import Any, Literal

import msgspec

from proxy.core.usage import Usage
from proxy.providers.openai_usage import add_input, add_output, billed_beside
from proxy.providers.usage_reading import UNREADABLE, Count, Reading, Unbelievable, part


class _Written(msgspec.Struct, gc=False):
    ttl_12h_tokens: Count = None


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    cache_write_tokens: Count = None
    cache_write_tokens_details: _Written | None = None
    audio_tokens: Count = None
    image_tokens: Count = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count = None
    audio_tokens: Count = None
    image_tokens: Count = None
    text_tokens: Count = None


class ReportedTokens(msgspec.Struct, gc=False):
    """`usage` as it comes; transcriptions call their details `input_token_details`."""

    input_tokens: Count = None
    output_tokens: Count = None
    total_tokens: Count = None
    input_tokens_details: _InputDetails | None = None
    input_token_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None
    cost: Any = None
    cost_details: Any = None


Medium = Literal["text", "image", "audio"]
"""What an endpoint makes: the output tokens whose kind the usage does not tell are of this kind."""

_NO_INPUT_DETAILS = _InputDetails()
_NO_OUTPUT_DETAILS = _OutputDetails()
_decode = msgspec.json.Decoder(ReportedTokens).decode


def read_raw_tokens(raw: msgspec.Raw, makes: Medium = "text") -> Reading:
    """A usage that is still JSON."""
    try:
        return read_tokens(_decode(raw), makes)
    except UNREADABLE as error:
        return None, None, f"usage not believed: {error}"


def read_tokens(reported: ReportedTokens, makes: Medium = "text") -> Reading:
    """A reported usage as counters."""
    counters: dict[str, int] = {}
    try:
        if reported.input_tokens is not None:
            _input(counters, reported, reported.input_tokens, makes)
        if reported.output_tokens is not None:
            _output(counters, reported, reported.output_tokens, makes)
    except Unbelievable as error:
        return None, None, f"usage not believed: {error}"
    if reported.input_tokens is not None and reported.output_tokens is not None:
        flag = None if reported.cost_details is None else billed_beside(reported.cost, reported.cost_details)
        return Usage(counters), None, flag
    return None, Usage(counters) if counters else None, None


def _input(counters: dict[str, int], reported: ReportedTokens, total: int, makes: Medium) -> None:
    details = reported.input_tokens_details or reported.input_token_details or _NO_INPUT_DETAILS
    written, long = details.cache_write_tokens, None
    if details.cache_write_tokens_details is not None and (long := details.cache_write_tokens_details.ttl_12h_tokens):
        if long > (written or 0):
            raise Unbelievable("more was written to the cache for long than was written")
        written = (written or 0) - long
    # Text models bill images as text, and then the cached part may overlap them: only image models tell them apart.
    image = details.image_tokens if makes == "image" else None
    add_input(
        counters,
        total,
        cached=details.cached_tokens,
        written=written,
        written_long=long,
        audio=details.audio_tokens,
        other=("input_image", image),
    )


def _output(counters: dict[str, int], reported: ReportedTokens, total: int, makes: Medium) -> None:
    details = reported.output_tokens_details or _NO_OUTPUT_DETAILS
    if makes == "audio":
        add_output(counters, total, audio=part(total, details.text_tokens or 0))
    elif makes == "image":
        image = details.image_tokens
        add_output(counters, total, image=part(total, details.text_tokens or 0) if image is None else image)
    else:
        reasoning = details.reasoning_tokens
        if reasoning and reported.total_tokens == (reported.input_tokens or 0) + total + reasoning:
            total += reasoning  # left out of output_tokens, not out of the total
        add_output(counters, total, reasoning=reasoning, audio=details.audio_tokens)
