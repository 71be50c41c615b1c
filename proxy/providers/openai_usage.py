"""OpenAI's usage objects, as disjoint counters.

Two families of names: `prompt_tokens`/`completion_tokens` (chat, completions, embeddings) and `input_tokens`/`output_tokens`
(responses, images, transcriptions); the second is in `openai_token_usage.py`. Details are parts of their total. Sources:
https://platform.openai.com/docs/api-reference/chat/object (usage), and for the names that others give their figures:
DeepSeek `prompt_cache_hit_tokens`, Mistral `num_cached_tokens`, Moonshot and Together `cached_tokens`, Perplexity
https://docs.perplexity.ai/getting-started/pricing (`citation_tokens`, `num_search_queries`), OpenRouter
`server_tool_use_details` and its `cost` beside that of the tokens (https://openrouter.ai/docs/use-cases/usage-accounting), xAI
`num_sources_used`.
"""

from typing import Any

import msgspec

from proxy.core.usage import Usage
from proxy.providers.usage_reading import UNREADABLE, Count, Unbelievable


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    cache_write_tokens: Count = None
    audio_tokens: Count = None
    video_tokens: Count = None


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count = None
    audio_tokens: Count = None
    image_tokens: Count = None


class _ServerTools(msgspec.Struct, gc=False):
    """What OpenRouter ran on its own side."""

    web_search_requests: Count = None
    tool_calls_executed: Count = None


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
    citation_tokens: Count = None
    reasoning_tokens: Count = None
    num_search_queries: Count = None
    num_sources_used: Count = None
    server_tool_use_details: _ServerTools | None = None
    cost: Any = None
    cost_details: Any = None


_NO_PROMPT_DETAILS = _PromptDetails()
_NO_COMPLETION_DETAILS = _CompletionDetails()
_decode = msgspec.json.Decoder(ReportedUsage).decode

OTHER_TOOLS = "the provider ran tools that are billed apart from the tokens"
OTHER_COST = "the provider billed more than the tokens"
TOO_LARGE_A_PART = "a part of the usage is larger than its total"


Reading = tuple[Usage | None, Usage | None, str | None]
"""(usage, partial, flag): the whole, or what is known of one side; and the reason why it cannot be charged as it stands.

A flag beside a usage says that the figures are believed but do not tell all that the provider bills.
"""


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
            _input(counters, reported, reported.prompt_tokens)
        if reported.completion_tokens is not None:
            _output(counters, reported, reported.completion_tokens)
    except Unbelievable as error:
        return None, None, f"usage not believed: {error}"
    if reported.prompt_tokens is None or reported.completion_tokens is None:
        return None, Usage(counters) if counters else None, None
    return Usage(counters), None, _add_searches(counters, reported)


def add_input(
    counters: dict[str, int],
    total: int,
    *,
    cached: int | None = None,
    written: int | None = None,
    written_long: int | None = None,
    audio: int | None = None,
    other: tuple[str, int | None] = ("input_video", None),
) -> None:
    """Split an input total into counters; raises Unbelievable where a part exceeds it.

    `other` is a further kind of input with its counter. `written_long` is what was written for longer than the default.
    """
    kind, size = other
    apart = (written or 0) + (written_long or 0) + (audio or 0) + (size or 0)
    left = total - apart
    if left < 0 or (cached is not None and cached > total - (written or 0) - (written_long or 0)):
        raise Unbelievable(TOO_LARGE_A_PART)
    if cached is not None:
        # Audio may be cached too and is then in both figures: the dearer reading is that it was not.
        cached = min(cached, left)
        left -= cached
    counters["input"] = left
    if cached is not None:
        counters["cache_read"] = cached
    if written is not None:
        counters["cache_write_5m"] = written
    if written_long is not None:
        counters["cache_write_1h"] = written_long
    if audio is not None:
        counters["input_audio"] = audio
    if size:
        counters[kind] = size


def add_output(
    counters: dict[str, int],
    total: int,
    *,
    reasoning: int | None = None,
    audio: int | None = None,
    image: int | None = None,
) -> None:
    """Split an output total into counters; raises Unbelievable where a part exceeds it."""
    left = total - (audio or 0) - (image or 0)
    if left < 0:
        raise Unbelievable(TOO_LARGE_A_PART)
    if reasoning is None:
        counters["output"] = left
    else:
        # OpenRouter was seen to report 11 reasoning tokens of 10: a part cannot cost more than the whole.
        reasoning = min(reasoning, left)
        counters["output"] = left - reasoning
        counters["reasoning"] = reasoning
    if audio is not None:
        counters["output_audio"] = audio
    if image is not None:
        counters["output_image"] = image


def _input(counters: dict[str, int], reported: ReportedUsage, total: int) -> None:
    details = reported.prompt_tokens_details or _NO_PROMPT_DETAILS
    cached = details.cached_tokens
    if cached is None:
        cached = reported.prompt_cache_hit_tokens
        if cached is None:
            cached = reported.num_cached_tokens if reported.num_cached_tokens is not None else reported.cached_tokens
    add_input(
        counters,
        total,
        cached=cached,
        written=details.cache_write_tokens,
        audio=details.audio_tokens,
        other=("input_video", details.video_tokens),
    )
    if reported.citation_tokens is not None:  # Perplexity bills what it read at the input rate, beside the prompt
        counters["input"] += reported.citation_tokens


def _output(counters: dict[str, int], reported: ReportedUsage, total: int) -> None:
    details = reported.completion_tokens_details or _NO_COMPLETION_DETAILS
    reasoning = reported.reasoning_tokens if details.reasoning_tokens is None else details.reasoning_tokens
    perplexity = reported.citation_tokens is not None or reported.num_search_queries is not None
    if perplexity and reported.reasoning_tokens is not None:
        reasoning = reported.reasoning_tokens  # beside completion_tokens there, and in no total
        total += reasoning
    elif reasoning and reported.total_tokens == (reported.prompt_tokens or 0) + total + reasoning:
        total += reasoning  # xAI and Gemini's compatible endpoint leave reasoning out of completion_tokens, not out of the total
    add_output(counters, total, reasoning=reasoning, audio=details.audio_tokens, image=details.image_tokens)


def _add_searches(counters: dict[str, int], reported: ReportedUsage) -> str | None:
    """Count what the provider searched on its own; the reason for a flag where it ran something whose price is not told."""
    searches = reported.num_search_queries or reported.num_sources_used
    executed = 0
    if (tools := reported.server_tool_use_details) is not None:
        searches, executed = tools.web_search_requests, tools.tool_calls_executed or 0
    if searches:
        counters["web_searches"] = searches
    if executed > (searches or 0):
        return OTHER_TOOLS
    return None if searches or reported.cost_details is None else billed_beside(reported.cost, reported.cost_details)


def billed_beside(cost: Any, details: Any) -> str | None:
    """The reason for a flag where OpenRouter says that it billed more than the tokens: files that it parsed, plugins.

    A hundredth is left to rounding; with a key of the caller's own at the model's provider the cost is OpenRouter's fee alone.
    """
    if not isinstance(details, dict) or not isinstance(cost, int | float):
        return None
    names = ("prompt", "completions", "input", "output")
    shares = [details.get(f"upstream_inference_{name}_cost") for name in names]
    known = [share for share in shares if isinstance(share, int | float)]
    return OTHER_COST if len(known) == 2 and cost * 0.99 > sum(known) else None
