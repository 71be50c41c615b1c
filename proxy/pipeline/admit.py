"""Admission: the upper bound that a call is held for, and what a refusal says to the caller.

The input bound needs no tokenizer: a byte-level tokenizer never yields more tokens than bytes. Parts whose tokens do not
follow from their bytes (an image behind a URL) get an allowance each.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from proxy.core.errors import InsufficientCredits, RateLimited
from proxy.core.limits import BUDGET_KINDS, CONCURRENT, REQUESTS, TOKENS, Limit
from proxy.core.money import MAX_AMOUNT, format_credits
from proxy.providers.images import OTHER_BOUND, image_bound

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.core.outcomes import Refused, Standing
    from proxy.core.pricing import Tariff
    from proxy.pipeline.candidates import Route
    from proxy.providers.dialect import Ask

MEDIA_PART_TOKENS = OTHER_BOUND
# What a token of prose takes on average; only rate limits use it, and settlement corrects them.
_BYTES_PER_TOKEN = 4
# Held credits come free when a call ends, which nobody can foretell.
_IN_FLIGHT_RETRY_MS = 1000

_WORDS = {
    REQUESTS: "requests per minute",
    TOKENS: "tokens per minute",
    CONCURRENT: "calls at once",
}

# Ceiling, what remains of it, and when it is whole again: of requests and of tokens, as the two families of SDKs know them.
_OPENAI_LINES = (
    b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %dms",
    b"x-ratelimit-limit-tokens: %d\r\nx-ratelimit-remaining-tokens: %d\r\nx-ratelimit-reset-tokens: %dms",
)
_ANTHROPIC_LINES = tuple(
    b"anthropic-ratelimit-%b-limit: %%d\r\nanthropic-ratelimit-%b-remaining: %%d\r\nanthropic-ratelimit-%b-reset: %%b"
    % (kind, kind, kind)
    for kind in (b"requests", b"tokens")
)


def hold_bound_microcredits(ask: Ask, body_bytes: int, tariff: Tariff) -> int:
    """The most that a call can cost, in microcredits.

    Raises InsufficientCredits beyond what can be stored, and (model_not_priced) for a unit or a tier without a rate.
    """
    input_tokens = input_bound(ask, body_bytes) if ask.media_parts or ask.input_bound is not None else body_bytes
    output_tokens = output_bound(ask, tariff)
    units, tier = ask.units, ask.service_tier
    if units or tier is not None or "input" not in tariff.price.rates:
        missing = tariff.unpriced(units, tier)
        if missing:
            raise _not_priced(ask, missing)
        amount = tariff.hold_microcredits(input_tokens, output_tokens, units=units, service_tier=tier)
    else:
        amount = tariff.hold_microcredits(input_tokens, output_tokens)
    if amount > MAX_AMOUNT:
        msg = "The token limit of this call would cost more than any account can hold."
        raise InsufficientCredits(msg, metadata={"limit_source": "balance", "required": amount, "unit": "microcredits"})
    return amount


def input_bound(ask: Ask, body_bytes: int) -> int:
    """Input tokens that a call is held for: the dialect's bound, else a token a byte, and an allowance for each media part."""
    tokens = body_bytes if ask.input_bound is None else ask.input_bound
    return tokens + media_bound(ask) if ask.media_parts else tokens


def media_bound(ask: Ask) -> int:
    """Input tokens that a call's media parts are held for."""
    return ask.media_parts * (MEDIA_PART_TOKENS if ask.media_tokens is None else ask.media_tokens)


def with_media_of(ask: Ask, routes: Iterable[Route]) -> Ask:
    """The ask of a call with media, each part of which may cost what the dearest model of its routes takes for an image."""
    models = {route.own_model or ask.model for route in routes}.union(ask.others)
    return replace(ask, media_tokens=max(MEDIA_PART_TOKENS, *map(image_bound, models)))


def output_bound(ask: Ask, tariff: Tariff) -> int:
    """Output tokens that a call is held for: the caller's limit, else the price's assumption, for each choice."""
    limit = tariff.price.assumed_output_tokens if ask.output_limit is None else ask.output_limit
    return limit * ask.choices


def tokens_taken(ask: Ask, body_bytes: int, tariff: Tariff) -> int:
    """Tokens that a tokens-per-minute limit is charged in advance; settlement puts the real number in its place."""
    tokens = body_bytes // _BYTES_PER_TOKEN
    if ask.input_bound is not None:
        tokens = min(tokens, ask.input_bound)  # a body that is not text, such as a recording
    if ask.media_parts:
        tokens += media_bound(ask)
    return tokens + output_bound(ask, tariff)


def refusal(refused: Refused) -> InsufficientCredits | RateLimited:
    """The error that a refused hold means for the caller: 402 for money, 429 for speed."""
    limit = refused.limit
    if limit is not None and limit.kind not in BUDGET_KINDS:
        return _rate_limited(limit, refused)
    source = "budget" if limit is not None else refused.source
    required, available = format_credits(refused.required), format_credits(refused.available)
    what = {
        "balance": "The account's balance does not cover this call",
        "in_flight": "Calls in progress hold the credits that this call needs",
        "budget": f"The {_budget_of(limit)} does not cover this call",
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
        retry_after_ms=(refused.retry_after_ms or _IN_FLIGHT_RETRY_MS) if source == "in_flight" else None,
    )


def rate_limit_lines(standings: Sequence[Standing], dialect: str, now_ms: int) -> list[bytes]:
    """Of each kind of rate limit the one that is closest to its end, as the dialect's headers name it: their lines.

    OpenAI's say the time until a limit is whole again, Anthropic's the instant (RFC 3339), as both document.
    """
    requests: Standing | None = None
    tokens: Standing | None = None
    for standing in standings:
        kind = standing.limit.kind
        if kind == REQUESTS:
            if requests is None or standing.remaining < requests.remaining:
                requests = standing
        elif kind == TOKENS and (tokens is None or standing.remaining < tokens.remaining):
            tokens = standing
    of_requests, of_tokens = _ANTHROPIC_LINES if dialect == "anthropic" else _OPENAI_LINES
    lines = []
    if requests is not None:
        lines.append(of_requests % _figures(requests, dialect, now_ms))
    if tokens is not None:
        lines.append(of_tokens % _figures(tokens, dialect, now_ms))
    return lines


def _figures(standing: Standing, dialect: str, now_ms: int) -> tuple[int, int, int | bytes]:
    left, reset_ms = standing.remaining, standing.reset_ms or 0
    left = left if left > 0 else 0  # noqa: FURB136 - `max` takes seven times as long
    return standing.limit.ceiling, left, _instant(now_ms + reset_ms) if dialect == "anthropic" else reset_ms


def _not_priced(ask: Ask, missing: Sequence[str]) -> InsufficientCredits:
    msg = f"This call uses what has no price here ({', '.join(missing)}), so it is refused."
    return InsufficientCredits(msg, code="model_not_priced", param="model" if ask.model else None)


def _instant(at_ms: int) -> bytes:
    return datetime.fromtimestamp(-(-at_ms // 1000), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


def _rate_limited(limit: Limit, refused: Refused) -> RateLimited:
    words, scope = _WORDS[limit.kind], _scope(limit)
    metadata: dict[str, str | int] = {"limit": limit.kind, "ceiling": limit.ceiling, "scope": scope}
    if limit.kind == TOKENS and refused.required > limit.ceiling:
        error = RateLimited(
            f"This call may use {refused.required} tokens, and this {scope} may use {limit.ceiling} {words}: waiting does not "
            "help, a smaller token limit (max_tokens) or a shorter prompt does.",
            metadata={**metadata, "required": refused.required},
        )
        error.should_retry = False
        return error
    return RateLimited(
        f"Rate limit reached: {limit.ceiling} {words} for this {scope}.",
        metadata=metadata,
        retry_after_ms=refused.retry_after_ms or _IN_FLIGHT_RETRY_MS,
    )


def _budget_of(limit: Limit | None) -> str:
    return "" if limit is None else f"{limit.kind.removeprefix('budget_')} budget of this {_scope(limit)}"


def _scope(limit: Limit) -> str:
    return limit.scope.partition(":")[0]
