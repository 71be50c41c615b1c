"""A second opinion on prices: `genai-prices` as it is installed, asked for single counters so that a difference has a name."""

import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from genai_prices.data import providers
from genai_prices.types import Usage

from proxy.prices.importer import _UNITS, HUGGING_FACE, PROVIDERS

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TABLE = Path(__file__).with_name("price_disagreements.toml")

# Our counters as that package counts: totals include their parts.
_PARTS = {
    "input": ("input_tokens",),
    "cache_read": ("input_tokens", "cache_read_tokens"),
    "cache_write_5m": ("input_tokens", "cache_write_tokens"),
    "cache_write_1h": ("input_tokens", "cache_write_tokens", "cache_write_1h_tokens"),
    "input_audio": ("input_tokens", "input_audio_tokens"),
    "cache_read_audio": ("input_tokens", "cache_read_tokens", "input_audio_tokens", "cache_audio_read_tokens"),
    "input_image": ("input_tokens", "input_image_tokens"),
    "input_video": ("input_tokens", "input_video_tokens"),
    "output": ("output_tokens",),
    "reasoning": ("output_tokens", "output_reasoning_tokens"),
    "output_audio": ("output_tokens", "output_audio_tokens"),
    "output_image": ("output_tokens", "output_image_tokens"),
    "output_video": ("output_tokens", "output_video_tokens"),
    "input_seconds": ("audio_seconds", "input_audio_seconds"),
    "input_characters": ("input_characters",),
    "web_searches": ("web_searches",),
    "file_searches": ("storage_searches",),
    "search_units": ("rerank_searches",),
    "requests": (),
}
COUNTERS = tuple(_PARTS)
_TIERS = {"batch": {"processing": "batch"}, "us": {}, "fast-us": {}}


@dataclass(frozen=True)
class Listed:
    """A disagreement that is known: what kind, where, and why."""

    kind: str
    provider: str
    model: str
    reason: str
    counters: tuple[str, ...] | None = None
    tiers: tuple[str, ...] | None = None

    def covers(self, kind: str, provider: str, model: str, counter: str = "", tier: str | None = None) -> bool:
        return (
            kind == self.kind
            and fnmatchcase(provider, self.provider)
            and fnmatchcase(model, self.model)
            and (self.counters is None or counter in (self.counters or ("",)))
            and (self.tiers is None or tier in self.tiers)
        )


@cache
def listed() -> tuple[Listed, ...]:
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))["disagreement"]
    lists = ("counters", "tiers")
    return tuple(Listed(**{name: tuple(row[name]) if name in lists else row[name] for name in row}) for row in rows)


def reason_for(kind: str, provider: str, model: str, counter: str = "", tier: str | None = None) -> Listed | None:
    return next((one for one in listed() if one.covers(kind, provider, model, counter, tier)), None)


@cache
def theirs() -> dict[str, Any]:
    return {one.id: one for one in providers if one.id in PROVIDERS or one.id.startswith(f"{HUGGING_FACE}_")}


def instants(model: Any) -> Iterator[datetime]:
    """Today, and the first moment and the last before it of every period of a model's prices."""
    yield NOW
    conditions = [one.constraint for one in model.prices] if isinstance(model.prices, list) else []
    conditions += [one.constraint for one in model.price_variants or ()]
    for condition in conditions:
        if hasattr(condition, "start_date"):
            begins = datetime.combine(condition.start_date, time(), UTC)
        elif condition is not None:
            begins = datetime.combine(NOW.date(), condition.start_time.replace(tzinfo=None), UTC)
        else:
            continue
        yield begins
        yield begins - timedelta(milliseconds=1)


def totals(model: Any) -> tuple[int, ...]:
    """Amounts to ask for: small, and on both sides of every context tier."""
    every = [one.prices for one in model.prices] if isinstance(model.prices, list) else [model.prices]
    starts = {tier.start for price in every for steps in vars(price).values() for tier in getattr(steps, "tiers", ())}
    return (997, *(start + step for start in sorted(starts) for step in (0, 1)))


def has_rate(model: Any, counter: str, at: datetime, tier: str | None, provider: Any) -> bool:
    """Whether the package has a rate of its own for a counter then."""
    prices = prices_of(model, provider, at, tier)
    return any(value is not None and _UNITS.get(name, ("",))[0] == counter for name, value in vars(prices).items())


def prices_of(model: Any, provider: Any, at: datetime, tier: str | None) -> Any:
    """The package's rates of a model then."""
    return model.get_prices(at, _context(provider, tier))


def names(model: Any) -> Iterator[str]:
    """Names that the rules of a model speak of, and what people make of them: dates in every spelling, regions, case."""
    for text in texts(model.match):
        yield text
        yield text.upper()
        yield f"{text}-20251001"
        yield f"{text}-2025-10-01"
        yield f"{text}@20250929"
        yield f"{text}-latest"
        yield f"us.{text}-v1:0"
        yield f"ft:{text}:org::id"


def texts(clause: Any) -> Iterator[str]:
    for inner in getattr(clause, "or_", None) or getattr(clause, "and_", ()):
        yield from texts(inner)
    for name in ("equals", "starts_with", "ends_with", "contains"):
        if hasattr(clause, name):
            yield getattr(clause, name)


def _context(provider: Any, tier: str | None) -> dict[str, str] | None:
    if tier is None:
        return None
    return _TIERS.get(tier, {"speed" if provider.id == "anthropic" else "service_tier": tier}) or None


def usd_of(model: Any, provider: Any, usage: dict[str, int], at: datetime, tier: str | None) -> Fraction | None:
    """What the package says that a usage costs, in USD; None where it raises."""
    told: dict[str, int] = {}
    for counter, count in usage.items():
        for name in _PARTS[counter]:
            told[name] = told.get(name, 0) + count
    told["audio_seconds"] = told["input_audio_seconds"] = usage.get("input_seconds", 0)
    context = _context(provider, tier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            price = model.calc_price(Usage(**told), provider, genai_request_timestamp=at, price_context=context)
        except ValueError:
            return None
    return Fraction(price.total_price)
