"""Admission: the upper bound that a call is held for, and what a refusal says to the caller.

The input bound needs no tokenizer: a byte-level tokenizer never yields more tokens than bytes. Parts whose tokens do not
follow from their bytes (an image behind a URL) get an allowance each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.errors import InsufficientCredits, RateLimited
from proxy.core.limits import BUDGET_KINDS, CONCURRENT, REQUESTS, TOKENS, Limit
from proxy.core.money import MAX_AMOUNT, format_credits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.core.outcomes import Refused, Standing
    from proxy.core.pricing import Tariff
    from proxy.pipeline.exchange import RawHeaders
    from proxy.providers.dialect import Ask

# The largest single image that OpenAI's and Anthropic's vision documentation prices is below this many tokens.
MEDIA_PART_TOKENS = 8192
# What a token of prose takes on average; only rate limits use it, and settlement corrects them.
_BYTES_PER_TOKEN = 4

_WORDS = {
    REQUESTS: "requests per minute",
    TOKENS: "tokens per minute",
    CONCURRENT: "calls at once",
}


def hold_bound_microcredits(ask: Ask, body_bytes: int, tariff: Tariff) -> int:
    """The most that a call can cost, in microcredits. Raises InsufficientCredits beyond what can be stored."""
    input_tokens = body_bytes + ask.media_parts * MEDIA_PART_TOKENS
    amount = tariff.hold_microcredits(input_tokens, output_bound(ask, tariff))
    if amount > MAX_AMOUNT:
        msg = "The token limit of this call would cost more than any account can hold."
        raise InsufficientCredits(msg, metadata={"limit_source": "balance", "required": amount, "unit": "microcredits"})
    return amount


def output_bound(ask: Ask, tariff: Tariff) -> int:
    """Output tokens that a call is held for: the caller's limit, else the price's assumption, for each choice."""
    limit = tariff.price.assumed_output_tokens if ask.output_limit is None else ask.output_limit
    return limit * ask.choices


def tokens_taken(ask: Ask, body_bytes: int, tariff: Tariff) -> int:
    """Tokens that a tokens-per-minute limit is charged in advance; settlement puts the real number in its place."""
    return body_bytes // _BYTES_PER_TOKEN + ask.media_parts * MEDIA_PART_TOKENS + output_bound(ask, tariff)


def refusal(refused: Refused) -> InsufficientCredits | RateLimited:
    """The error that a refused hold means for the caller: 402 for money, 429 for speed."""
    limit = refused.limit
    if limit is not None and limit.kind not in BUDGET_KINDS:
        return _rate_limited(limit, refused.retry_after_ms)
    source = "budget" if limit is not None else refused.source
    required, available = format_credits(refused.required), format_credits(refused.available)
    what = {
        "balance": "The account's balance does not cover this call",
        "in_flight": "Calls in progress hold the credits that this call needs",
        "budget": f"The {limit.kind.removeprefix('budget_') if limit else ''} budget does not cover this call",
    }[source]
    metadata: dict[str, str | int] = {
        "limit_source": source,
        "required": refused.required,
        "available": refused.available,
        "unit": "microcredits",
    }
    if limit is not None:
        metadata |= {"limit": limit.kind, "scope": _scope(limit)}
    return InsufficientCredits(
        f"{what}: it needs up to {required} credits, and {available} are available.",
        metadata=metadata,
        retry_after_ms=refused.retry_after_ms if source == "in_flight" else None,
    )


def rate_limit_headers(standings: Sequence[Standing], dialect: str) -> RawHeaders:
    """Of each kind of rate limit the one that is closest to its end, as the dialect's headers name it."""
    prefix = "anthropic-ratelimit" if dialect == "anthropic" else "x-ratelimit"
    headers: RawHeaders = []
    for kind in (REQUESTS, TOKENS):
        tightest = min((s for s in standings if s.limit.kind == kind), key=lambda s: s.remaining, default=None)
        if tightest is not None:
            headers += _standing_headers(prefix, kind, tightest)
    return headers


def _standing_headers(prefix: str, kind: str, standing: Standing) -> RawHeaders:
    values = (
        ("limit", str(standing.limit.ceiling)),
        ("remaining", str(max(standing.remaining, 0))),
        ("reset", f"{standing.reset_ms or 0}ms"),
    )
    if prefix == "x-ratelimit":
        return [(f"{prefix}-{name}-{kind}".encode(), value.encode()) for name, value in values]
    return [(f"{prefix}-{kind}-{name}".encode(), value.encode()) for name, value in values]


def _rate_limited(limit: Limit, retry_after_ms: int | None) -> RateLimited:
    words = _WORDS[limit.kind]
    return RateLimited(
        f"Rate limit reached: {limit.ceiling} {words} for this {_scope(limit)}.",
        metadata={"limit": limit.kind, "ceiling": limit.ceiling, "scope": _scope(limit)},
        retry_after_ms=retry_after_ms or 1000,
    )


def _scope(limit: Limit) -> str:
    return limit.scope.partition(":")[0]
