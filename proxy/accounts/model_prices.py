"""The price of a model by its name alone, for usage that did not go through a provider of ours.

Which provider is meant: the one that the name says ("openai/gpt-4o"), the first target of an alias, else the configured
provider whose `models` fit best (an exact name, then the longest prefix), else any configured provider that has a price for it,
else the shipped book's own section. A price for everything (`[prices."*"]`, the policy for unpriced models) comes last.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from proxy.config import Config
from proxy.core.pricing import Price, Tariff
from proxy.prices.book import PriceBook
from proxy.prices.overrides import EVERYTHING


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What a model costs, at which provider; `markup_ppm` for accounts without one of their own."""

    provider: str
    model: str
    price: Price
    markup_ppm: int


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """`providers` are names with their `models` patterns; `aliases` lead to "provider/model" names."""

    book: PriceBook
    providers: Mapping[str, Sequence[str]]
    aliases: Mapping[str, str | Sequence[str]]
    per_usd: int

    @classmethod
    def of(cls, config: Config, book: PriceBook | None = None) -> Self:
        """The prices of a configuration; `book` is its price book, where that is made already. Raises ConfigError."""
        providers = {name: tuple(provider.models) for name, provider in config.providers.items()}
        return cls(book or config.price_book(), providers, dict(config.aliases), config.credits.per_usd)

    def find(self, model: str, at_ms: int) -> ModelPrice | None:
        """The price of a model at an instant (Unix milliseconds); None where it has none."""
        last: ModelPrice | None = None
        for provider, name, own in self._candidates(model):
            price = self.book.find(provider, name, at_ms, own)
            if price is None:
                continue
            found = ModelPrice(provider, model, price, self.book.markup_ppm(provider, name, own))
            if price.model != EVERYTHING:
                return found
            last = last or found
        return last

    def tariff(self, found: ModelPrice, markup_ppm: int | None) -> Tariff:
        """The price as an account with this markup meets it; None: the configured one."""
        return Tariff(found.price, self.per_usd, found.markup_ppm if markup_ppm is None else markup_ppm)

    def _candidates(self, model: str) -> Iterator[tuple[str, str, str | None]]:
        """Provider, name, and the provider's own name where an alias has one, the best first."""
        aliased = self.aliases.get(model)
        for target in [aliased] if isinstance(aliased, str) else aliased or []:
            provider, _, own = target.partition("/")
            yield provider, model, own
        named, _, rest = model.partition("/")
        if rest and named in self.providers:
            yield named, rest, None
        fits = {name: max((_fit(one, model) for one in models), default=0) for name, models in self.providers.items()}
        for name in sorted(fits, key=lambda name: -fits[name]):
            yield name, model, None
        for section in self.book.shipped.sections:
            yield section, model, None


def _fit(pattern: str, model: str) -> int:
    if pattern == model:
        return 1_000_000
    return len(pattern) if pattern.endswith("*") and model.startswith(pattern[:-1]) else 0
