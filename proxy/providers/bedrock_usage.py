"""Bedrock's figures as counters: the usage of Converse, and the invocation metrics behind a model's own stream.

In both, input tokens exclude what was read from and written to the cache (as recorded: total = input + read + written +
output), so the counters are disjoint as they come. Cache writes are told apart by lifetime where `cacheDetails` says so;
without, they live for the default of five minutes. Reasoning is part of the output and is not told.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html and ..._CacheDetail.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html.
"""

from typing import Any

import msgspec

from proxy.core.usage import Usage
from proxy.providers.usage_reading import UNREADABLE, Count, Reading, Unbelievable, part

# What a server-side tool is billed by; every other figure of `serverToolUsage` has no counter, and is not waved through.
_SEARCHES = frozenset(("webSearchRequests", "web_search_requests"))


class _CacheDetail(msgspec.Struct, gc=False, rename="camel"):
    input_tokens: Count = None
    ttl: str = "5m"


class _TokenUsage(msgspec.Struct, gc=False, rename="camel"):
    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_write_input_tokens: Count = None
    # Nova's own format spells them so.
    cache_read_input_token_count: Count = None
    cache_write_input_token_count: Count = None
    cache_details: list[_CacheDetail] | None = None
    server_tool_usage: dict[str, Any] | None = None


class _Metrics(msgspec.Struct, gc=False, rename="camel"):
    input_token_count: Count = None
    output_token_count: Count = None
    cache_read_input_token_count: Count = None
    cache_write_input_token_count: Count = None


_decode_usage = msgspec.json.Decoder(_TokenUsage).decode
_decode_metrics = msgspec.json.Decoder(_Metrics).decode


def read_token_usage(raw: msgspec.Raw) -> Reading:
    """`usage` of Converse, and of Nova's own format."""
    try:
        reported = _decode_usage(raw)
        written = _first(reported.cache_write_input_tokens, reported.cache_write_input_token_count)
        counters = _given(
            input=reported.input_tokens,
            cache_read=_first(reported.cache_read_input_tokens, reported.cache_read_input_token_count),
            **_writes(written, reported.cache_details or []),
            output=reported.output_tokens,
            web_searches=_searches(reported.server_tool_usage or {}),
        )
    except (*UNREADABLE, Unbelievable) as error:
        return None, None, f"usage not believed: {error}"
    return whole_or_partial(counters)


def read_metrics(raw: msgspec.Raw) -> Reading:
    """`amazon-bedrock-invocationMetrics` in the last chunk of a model's own stream."""
    try:
        reported = _decode_metrics(raw)
    except UNREADABLE as error:
        return None, None, f"usage not believed: {error}"
    return whole_or_partial(
        _given(
            input=reported.input_token_count,
            cache_read=reported.cache_read_input_token_count,
            cache_write_5m=reported.cache_write_input_token_count,
            output=reported.output_token_count,
        )
    )


def whole_or_partial(counters: dict[str, int]) -> Reading:
    """Counters with both sides are the usage; with one side, what is known of it."""
    if "input" in counters and "output" in counters:
        return Usage(counters), None, None
    return None, Usage(counters) if counters else None, None


def _writes(written: int | None, details: list[_CacheDetail]) -> dict[str, int | None]:
    if not details:
        return {"cache_write_5m": written}
    five = sum([detail.input_tokens or 0 for detail in details if detail.ttl == "5m"])
    # A lifetime that is not known yet is longer than five minutes, and no cheaper than an hour.
    longer = sum([detail.input_tokens or 0 for detail in details if detail.ttl != "5m"])
    if written is not None:
        five = five + part(written, five, longer)
    return {"cache_write_5m": five, "cache_write_1h": longer}


def _searches(tools: dict[str, Any]) -> int | None:
    """Web searches; raises Unbelievable for a figure that is billed in a unit without a counter."""
    searches: int | None = None
    for name, figure in tools.items():
        if name in _SEARCHES and type(figure) is int and figure >= 0:
            searches = (searches or 0) + figure
        elif figure:
            raise Unbelievable("a server-side tool was used that is not metered")
    return searches


def _first(*figures: int | None) -> int | None:
    return next((figure for figure in figures if figure is not None), None)


def _given(**counters: int | None) -> dict[str, int]:
    return {name: count for name, count in counters.items() if count is not None}
