"""OpenAI's usage object, as disjoint counters.

Sources: https://platform.openai.com/docs/api-reference/chat/object (usage), and for the names that others give their
cached tokens: DeepSeek `prompt_cache_hit_tokens`, Mistral `num_cached_tokens`, Moonshot and Together `cached_tokens`.
"""

import msgspec

from proxy.core.usage import Usage
from proxy.providers.usage_reading import UNREADABLE, Count, Unbelievable, part


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    cache_write_tokens: Count = None
    audio_tokens: Count = None


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count = None
    audio_tokens: Count = None
    image_tokens: Count = None


class ReportedUsage(msgspec.Struct, gc=False):
    """`usage` as it comes."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: Count = None
    num_cached_tokens: Count = None
    cached_tokens: Count = None


_NO_PROMPT_DETAILS = _PromptDetails()
_NO_COMPLETION_DETAILS = _CompletionDetails()
_decode = msgspec.json.Decoder(ReportedUsage).decode


Reading = tuple[Usage | None, Usage | None, str | None]
"""(usage, partial, flag): the whole, or what is known of one side, or the reason why it is not believed."""


def read_raw_usage(raw: msgspec.Raw) -> Reading:
    """A usage that did not decode with the rest of its event."""
    try:
        return read_usage(_decode(raw))
    except UNREADABLE as error:
        return None, None, f"usage not believed: {error}"


def read_usage(reported: ReportedUsage) -> Reading:
    """A reported usage as counters."""
    counters: dict[str, int] = {}
    try:
        if reported.prompt_tokens is not None:
            counters |= _input(reported, reported.prompt_tokens)
        if reported.completion_tokens is not None:
            counters |= _output(reported, reported.completion_tokens)
    except Unbelievable as error:
        return None, None, f"usage not believed: {error}"
    if reported.prompt_tokens is not None and reported.completion_tokens is not None:
        return Usage(counters), None, None
    return None, Usage(counters) if counters else None, None


def _input(reported: ReportedUsage, total: int) -> dict[str, int]:
    details = reported.prompt_tokens_details or _NO_PROMPT_DETAILS
    cached = _first(
        details.cached_tokens, reported.prompt_cache_hit_tokens, reported.num_cached_tokens, reported.cached_tokens
    )
    written = details.cache_write_tokens
    audio = details.audio_tokens
    for share in (cached, written, audio):
        part(total, share or 0)
    # Audio may be cached too and is then in both figures: the dearer reading is that it was not.
    cached = None if cached is None else min(cached, part(total, audio or 0))
    plain = part(total, cached or 0, written or 0, audio or 0)
    return _given(input=plain, cache_read=cached, cache_write_5m=written, input_audio=audio)


def _output(reported: ReportedUsage, total: int) -> dict[str, int]:
    details = reported.completion_tokens_details or _NO_COMPLETION_DETAILS
    reasoning = details.reasoning_tokens
    if reasoning and reported.total_tokens == (reported.prompt_tokens or 0) + total + reasoning:
        total += reasoning  # xAI and Gemini's compatible endpoint leave reasoning out of completion_tokens, not out of the total
    other = part(total, details.audio_tokens or 0, details.image_tokens or 0)
    # OpenRouter was seen to report 11 reasoning tokens of 10: a part cannot cost more than the whole.
    reasoning = None if reasoning is None else min(reasoning, other)
    plain = other - (reasoning or 0)
    return _given(
        output=plain, reasoning=reasoning, output_audio=details.audio_tokens, output_image=details.image_tokens
    )


def _first(*figures: int | None) -> int | None:
    return next((figure for figure in figures if figure is not None), None)


def _given(**counters: int | None) -> dict[str, int]:
    return {name: count for name, count in counters.items() if count is not None}
