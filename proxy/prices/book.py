"""What a model costs at a provider at an instant: the configuration's price first, then the shipped book's.

`PriceBook.find` is on the path of every call: what it found is kept per model until a price can change. In the order in
which they count: `[prices]` for this model (at this provider before any, an exact name before a prefix), the shipped book,
`[prices."*"]`, and what the policy for unpriced models says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.core.errors import ConfigError
from proxy.core.pricing import Price
from proxy.core.usage import COUNTERS
from proxy.prices.entries import FOREVER_MS, Entry
from proxy.prices.overrides import EVERYTHING, Override, best_match, merged, read_markups, read_overrides
from proxy.prices.sheet import Quote, Sheet, Terms, make_price
from proxy.prices.shipped import ShippedBook, shipped_book

Policy = Literal["refuse", "maximum", "free"]

# Callers choose names behind a trailing *, so what is remembered is bounded.
_MAX_KNOWN = 4096


@dataclass(frozen=True)
class Rules:
    """What the configuration says about prices. `urls` and `priced_as` are by the configuration's provider names."""

    prices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    markups: Mapping[str, str | int] = field(default_factory=dict)
    markup_ppm: int = 1_000_000
    assumed_output_tokens: int = 4096
    unpriced: Policy = "refuse"
    urls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    priced_as: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Known:
    since_ms: int
    until_ms: int
    price: Price | None


class PriceBook:
    """All prices of an installation, read-only; made anew when the configuration is reloaded. Raises ConfigError."""

    def __init__(self, rules: Rules, shipped: ShippedBook | None = None) -> None:
        self.shipped = shipped or shipped_book()
        self.overrides = read_overrides(rules.prices)
        self._markups = read_markups(rules.markups)
        self._rules = rules
        self._known: dict[tuple[str, str, str | None], _Known] = {}
        for provider, name in rules.priced_as.items():
            if name and self.shipped.provider_of(name) is None:
                known = ", ".join(sorted(self.shipped.sections))
                raise ConfigError(f"providers.{provider}.priced_as: {name!r} is not in the price book; known: {known}")

    def find(self, provider: str, model: str, at_ms: int, upstream_model: str | None = None) -> Price | None:
        """The price of a model at an instant (Unix milliseconds); None where it has none, and calls are to be refused.

        `provider` is the configuration's name, `model` what the caller asked for and `upstream_model` the provider's own
        name for it, where that is another. The price of what has none of its own (`[prices."*"]`, the policy) has the model "*".
        """
        key = (provider, model, upstream_model)
        known = self._known.get(key)
        if known is None or not known.since_ms <= at_ms < known.until_ms:
            price, until_ms = self._find(provider, _names(model, upstream_model), at_ms)
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[key] = _Known(at_ms, until_ms, price)
        return known.price

    def markup_ppm(self, provider: str, model: str, upstream_model: str | None = None) -> int:
        """The markup of a model at a provider, in parts per million, for accounts that have none of their own."""
        if not self._markups:
            return self._rules.markup_ppm
        found = best_match(self._markups, provider, _names(model, upstream_model))
        return self._markups.get(EVERYTHING, self._rules.markup_ppm) if found is None else found

    def book_provider(self, provider: str) -> str | None:
        """The shipped book's word for a provider of the configuration; None where it knows none."""
        named = self._rules.priced_as.get(provider)
        if named is not None:
            return self.shipped.provider_of(named) if named else None
        return self.shipped.provider_of(provider, tuple(self._rules.urls.get(provider, ())))

    def shipped_entry(self, provider: str, model: str) -> Entry | None:
        """The shipped book's entry of a model, by the configuration's name of the provider; None where it knows none."""
        book = self.book_provider(provider)
        return None if book is None else self.shipped.find(book, model)

    def named_price(self, provider: str, entry: Entry, at_ms: int) -> Price | None:
        """The shipped price of an entry at an instant, whatever the configuration says."""
        quote, mark, _ = entry.quote(at_ms)
        book = self.book_provider(provider)
        if not quote.plain or book is None:
            return None
        return make_price(quote, self._terms(book, entry, mark, entry.model))

    def _terms(self, book: str, entry: Entry, mark: str, model: str) -> Terms:
        source = entry.source or next(iter(self.shipped.sections[book].sources), "")
        return Terms(model, f"book-{self.shipped.header.book}{mark}", self._rules.assumed_output_tokens, source)

    def _find(self, provider: str, names: tuple[str, ...], at_ms: int) -> tuple[Price | None, int]:
        override = best_match(self.overrides, provider, names)
        if override is not None:
            return self._overridden(override, provider, names, at_ms)
        found = self._shipped_quote(provider, names, at_ms)
        if found is not None:
            quote, terms, until_ms = found
            return make_price(quote, terms), until_ms
        if EVERYTHING in self.overrides:
            return self._overridden(self.overrides[EVERYTHING], provider, names, at_ms)
        return self._by_policy(provider, at_ms), FOREVER_MS

    def _overridden(
        self, override: Override, provider: str, names: tuple[str, ...], at_ms: int
    ) -> tuple[Price | None, int]:
        quote, mark, until_ms = override.entry.quote(at_ms)
        version = override.version + mark
        if override.extends:
            base = self._shipped_quote(provider, names, at_ms)
            if base is None:
                if not {"input", "output"} <= quote.plain.keys():
                    return None, until_ms
            else:
                quote, until_ms = merged(base[0], quote), min(until_ms, base[2])
                version += f"+{base[1].version}"
        assumed = override.assumed_output_tokens
        if assumed is None:
            assumed = self._rules.assumed_output_tokens
        model = EVERYTHING if override.name == EVERYTHING else names[0]
        terms = Terms(model, version, assumed, "the configuration", any_tier=not override.extends)
        return make_price(quote, terms), until_ms

    def _shipped_quote(self, provider: str, names: tuple[str, ...], at_ms: int) -> tuple[Quote, Terms, int] | None:
        """The shipped rates of a model, what else makes its price, and until when they stand."""
        book = self.book_provider(provider)
        if book is None:
            return None
        for name in reversed(names):  # the provider's own name for the model comes first
            entry = self.shipped.find(book, name)
            if entry is None:
                continue
            quote, mark, until_ms = entry.quote(at_ms)
            if quote.plain:
                return quote, self._terms(book, entry, mark, names[0]), until_ms
        return None

    def _by_policy(self, provider: str, at_ms: int) -> Price | None:
        """The price of a model that has none: nothing at all, or the dearest rate of each counter that the book knows."""
        policy = self._rules.unpriced
        if policy == "refuse":
            return None
        assumed = self._rules.assumed_output_tokens
        if policy == "free":
            return Price(EVERYTHING, dict.fromkeys(COUNTERS, 0), "free", assumed, source="credits.unpriced")
        dearest = self._dearest(self.book_provider(provider), at_ms)
        terms = Terms(EVERYTHING, f"maximum-{self.shipped.header.book}", assumed, "credits.unpriced")
        return make_price(Quote(dearest), terms)

    def _dearest(self, provider: str | None, at_ms: int) -> Sheet:
        """The highest rate of each counter, at one provider or (None) at any."""
        highest: dict[str, Any] = {}
        for book, entry in self.shipped.everything():
            if provider not in {None, book}:
                continue
            for counter, steps in entry.quote(at_ms)[0].plain.items():
                highest[counter] = max(highest.get(counter, 0), *(usd for _, usd in steps))
        return {counter: ((0, usd),) for counter, usd in highest.items()}


def _names(model: str, upstream_model: str | None) -> tuple[str, ...]:
    return (model,) if upstream_model in {None, model} else (model, str(upstream_model))
