"""The price book made from the `genai-prices` package (extra `prices`) and this project's own corrections.

Every model of the providers below is carried over with its rules, history, context tiers and service tiers. What that
package leaves unpriced it bills at nothing; here it has no price, unless a correction says that it is free.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from fractions import Fraction
from importlib.metadata import version
from typing import Any

import msgspec

from proxy.core.errors import ConfigError
from proxy.prices.corrections import Corrections
from proxy.prices.entries import Entry, Period
from proxy.prices.huggingface import router_entries
from proxy.prices.rules import Rule
from proxy.prices.sheet import Steps, format_steps
from proxy.prices.shipped import Header, Section

# The book's providers in the order in which base URLs are compared, with the names that configurations give them.
PROVIDERS: dict[str, list[str]] = {
    "openai": [],
    "anthropic": [],
    "google": ["gemini", "vertex"],
    "azure": ["azure-openai"],
    "aws": ["bedrock"],
    "cohere": [],
    "groq": [],
    "mistral": [],
    "deepseek": [],
    "x-ai": ["xai"],
    "openrouter": [],
    "together": ["together-ai", "togetherai"],
    "fireworks": ["fireworks-ai"],
    "cerebras": [],
    "perplexity": [],
    "moonshotai": ["moonshot", "kimi"],
    "zai": ["z-ai"],
    "voyageai": ["voyage"],
}
HUGGING_FACE = "huggingface"

# Price of that package -> counter, and how many of its units our rate is for: it counts by the thousand, the hour, ...
_UNITS: dict[str, tuple[str, Fraction]] = {
    "input_mtok": ("input", Fraction(1)),
    "output_mtok": ("output", Fraction(1)),
    "cache_read_mtok": ("cache_read", Fraction(1)),
    "cache_write_mtok": ("cache_write_5m", Fraction(1)),
    "cache_write_1h_mtok": ("cache_write_1h", Fraction(1)),
    "input_audio_mtok": ("input_audio", Fraction(1)),
    "cache_audio_read_mtok": ("cache_read_audio", Fraction(1)),
    "input_image_mtok": ("input_image", Fraction(1)),
    "input_video_mtok": ("input_video", Fraction(1)),
    "output_audio_mtok": ("output_audio", Fraction(1)),
    "output_image_mtok": ("output_image", Fraction(1)),
    "output_video_mtok": ("output_video", Fraction(1)),
    "output_reasoning_mtok": ("reasoning", Fraction(1)),
    "input_mchars": ("input_characters", Fraction(1)),
    "audio_hours": ("input_seconds", Fraction(1_000_000, 3600)),
    "requests_kcount": ("requests", Fraction(1000)),
    "web_searches_kcount": ("web_searches", Fraction(1000)),
    "storage_searches_kcount": ("file_searches", Fraction(1000)),
}
# Said a second time (hours of input audio), or for what no open operation reports: images in a cache, pages, messages.
_UNMETERED = frozenset(
    (
        *("input_audio_hours", "cache_image_read_mtok", "output_citation_mtok", "input_document_kpages"),
        *("input_annotated_document_kpages", "input_text_messages_kcount"),
    )
)
_FINEST = 10**15
_BATCH, _SPEED, _TIER = "processing", "speed", "service_tier"
_CLAUSES = {
    "ClauseEquals": "=",
    "ClauseStartsWith": "^",
    "ClauseEndsWith": "$",
    "ClauseContains": "~",
    "ClauseRegex": "/",
}
_DAY = re.compile(r"\b20\d\d-[01]\d-[0-3]\d\b")
_URL = re.compile(r"https?://[^\s,;)]+[^\s,;).]")


def import_book(day: date, corrections: Corrections) -> bytes:
    """The text of a book made today from the installed package. Raises ConfigError where it is not installed."""
    try:
        from genai_prices.data import providers  # noqa: PLC0415 - an extra that only the import needs
    except ImportError as error:
        raise ConfigError("genai-prices is not installed; install farebox[prices]") from error
    known = {provider.id: provider for provider in providers}
    header = Header(str(day), f"genai-prices {version('genai-prices')}, with this project's corrections")
    lines: list[Any] = [header]
    for name, aliases in PROVIDERS.items():
        lines += [_section(known[name], aliases), *corrections.applied(name, _entries(known[name]))]
    backends = {name.partition("_")[2]: known[name] for name in known if name.startswith(f"{HUGGING_FACE}_")}
    for provider in backends.values():
        lines += [_section(provider, []), *_entries(provider)]
    lines.append(
        Section(HUGGING_FACE, [], [r"https://router\.huggingface\.co"], [], ["https://huggingface.co/inference/models"])
    )
    lines += router_entries({backend: list(_entries(provider)) for backend, provider in backends.items()})
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def _section(provider: Any, names: list[str]) -> Section:
    falls_back = [name for name in provider.fallback_model_providers or () if name in PROVIDERS]
    return Section(provider.id, names, [provider.api_pattern], falls_back, list(provider.pricing_urls or ()))


def _entries(provider: Any) -> Iterator[Entry]:
    for model in provider.models:
        comments = model.price_comments or ""
        days = [found for found in _DAY.findall(comments) if "verified" in comments or "checked" in comments]
        urls = _URL.findall(comments)
        prices = model.prices if isinstance(model.prices, list) else None
        yield Entry(
            model=model.id,
            match=_rules(model.match),
            usd=_usd(model.prices) if prices is None else {},
            periods=[_period(one.prices, one.constraint) for one in prices or ()],
            service=_service(model.price_variants or ()),
            source=urls[0] if urls else "",
            checked=max(days, default=""),
        )


def _rules(clause: Any) -> list[Rule]:
    kind = type(clause).__name__
    if kind == "ClauseOr":
        return [rule for inner in clause.or_ for rule in _rules(inner)]
    if kind == "ClauseAnd":
        return [[_single(inner) for inner in clause.and_]]
    return [_single(clause)]


def _single(clause: Any) -> str:
    sign = _CLAUSES[type(clause).__name__]  # a clause within an "and" is never a list itself: KeyError if it ever is
    (text,) = vars(clause).values()
    return sign + str(text if sign == "/" else text.lower())


def _usd(prices: Any) -> dict[str, str]:
    found = {}
    for name, value in vars(prices).items():
        if value is None or name in _UNMETERED:
            continue
        counter, times = _UNITS[name]  # KeyError: a new kind of price, to be mapped by hand
        found[counter] = format_steps(_steps(value, times))
    return found


def _steps(value: Any, times: Fraction) -> Steps:
    if hasattr(value, "base"):
        return ((0, _rate(value.base, times)), *((tier.start, _rate(tier.price, times)) for tier in value.tiers))
    return ((0, _rate(value, times)),)


def _rate(usd: Any, times: Fraction) -> Fraction:
    """A rate of ours. Digits behind the fifteenth are what is left of somebody's float; they are rounded away."""
    return Fraction(round(Fraction(usd) * _FINEST), _FINEST) * times


def _period(prices: Any, constraint: Any) -> Period:
    if constraint is None:
        return Period(_usd(prices))
    if hasattr(constraint, "start_date"):
        return Period(_usd(prices), since=constraint.start_date)
    hours = (constraint.start_time.replace(tzinfo=None), constraint.end_time.replace(tzinfo=None))
    return Period(_usd(prices), hours=hours)


def _service(variants: Iterable[Any]) -> dict[str, list[Period]]:
    """Service tiers by name. Variants that say nothing, and those that no request of ours selects, stay out."""
    tiers: dict[str, list[Period]] = {}
    for variant in variants:
        (what, name), *more = variant.when.items()
        if more or what not in {_BATCH, _SPEED, _TIER}:
            continue
        changes = _period(variant.prices, variant.constraint)
        if changes.usd:
            tiers.setdefault(name, []).append(changes)
    return tiers
