"""Prices in force: of the models that the configuration names, and of the shipped book's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config import Config
    from proxy.core.pricing import Price
    from proxy.prices.book import PriceBook


ANY = "any"  # the provider of a price that the configuration has for a model, whoever serves it


def in_force(
    config: Config | None, prices: PriceBook, now_ms: int, provider: str | None = None, *, everything: bool = False
) -> Iterator[tuple[str, Price]]:
    """(provider, price) of what the configuration names, then, if `everything`, of the shipped book's models.

    A price for a model that no configured provider has stands under `any` (`farebox dev` adds its providers when it starts).
    `provider` is the configuration's name or the book's; None: all. `config` None: the shipped book alone.
    """
    seen: set[tuple[str, str]] = set()
    for name, settings in (config.providers if config else {}).items():
        if provider not in {None, name, prices.book_provider(name)}:
            continue
        for model in (*settings.models, *config.prices) if config else ():
            found = None if model.endswith("*") or "/" in model else prices.find(name, model, now_ms)
            if found is not None and found.model != "*" and (name, model) not in seen:
                seen.add((name, model))
                yield name, found
    for model in config.prices if config and provider is None else ():
        found = None if model.endswith("*") or "/" in model else prices.find(ANY, model, now_ms)
        if found is not None and model not in {seen_model for _, seen_model in seen}:
            yield ANY, found
    if not everything:
        return
    book = None if provider is None else prices.book_provider(provider)
    for section, entry in prices.shipped.everything():
        if provider is None or section == book:
            found = prices.find(section, entry.model, now_ms) or prices.named_price(section, entry, now_ms)
            if found is not None:
                yield section, found


def priced_at(
    config: Config | None, prices: PriceBook, model: str, at_ms: int, provider: str | None = None
) -> dict[str, Price]:
    """Provider -> the price of a model: at the configured providers, and at those of the book with what the book says of them."""
    configured = config.providers if config else {}
    names = [provider] if provider else [*configured, *prices.shipped.sections]
    found = {name: prices.find(name, model, at_ms) for name in dict.fromkeys(names)}
    priced = {
        name: one
        for name, one in found.items()
        if one is not None and (name in configured or name == provider or one.version.startswith("book-"))
    }
    anywhere = prices.find(ANY, model, at_ms) if not priced and provider is None else None
    return priced if anywhere is None else {ANY: anywhere}
