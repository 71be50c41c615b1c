"""Prices as people and programs read them: USD per million units, as exact decimals."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from proxy.core.money import NANO_USD_PER_USD
from proxy.core.pricing import Price
from proxy.prices.entries import Entry
from proxy.prices.sheet import format_usd
from proxy.prices.shipped import ShippedBook


def as_usd(price: Price) -> dict[str, str]:
    """Counter -> USD per million units, of the plain rates."""
    return {
        counter: format_usd(Fraction(rate, NANO_USD_PER_USD * price.scale)) for counter, rate in price.rates.items()
    }


def as_json(provider: str, price: Price) -> dict[str, Any]:
    """One price whole: {"provider", "model", "version", "source", "usd", "tiers", "service_tiers"}."""
    shown: dict[str, Any] = {
        "provider": provider,
        "model": price.model,
        "version": price.version,
        "source": price.source,
        "usd": as_usd(price),
    }
    if price.tiers:
        shown["tiers"] = _tiers(price)
    if price.service_tiers:
        shown["service_tiers"] = {
            name: {"usd": as_usd(tier)} | ({"tiers": _tiers(tier)} if tier.tiers else {})
            for name, tier in price.service_tiers.items()
        }
    if price.minimums:
        shown["minimums"] = dict(price.minimums)
    return shown


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What changed between two sheets: "input 2.5 -> 3", "cache_read + 0.25", "web_searches - 10000"."""
    changes = []
    for counter in dict.fromkeys((*before, *after)):
        old, new = before.get(counter), after.get(counter)
        if old == new:
            continue
        if old is None:
            changes.append(f"{counter} + {new}")
        elif new is None:
            changes.append(f"{counter} - {old}")
        else:
            changes.append(f"{counter} {old} -> {new}")
    return changes


def book_changes(before: ShippedBook, after: ShippedBook) -> Iterator[tuple[str, str, str]]:
    """(provider, model, what changed) between two books."""
    old = {(provider, entry.model): entry for provider, entry in before.everything()}
    new = {(provider, entry.model): entry for provider, entry in after.everything()}
    for key, entry in new.items():
        if key not in old:
            yield (*key, "new")
        elif _sheets(entry) != _sheets(old[key]):
            yield (*key, ", ".join(differences(_sheets(old[key]), _sheets(entry))))
    yield from ((*key, "gone") for key in old if key not in new)


def _sheets(entry: Entry) -> dict[str, str]:
    """Every rate of an entry by a name that says where it stands."""
    sheets = dict(entry.usd)
    for period in entry.periods:
        sheets |= {f"{counter}@{period.since or period.hours or 'first'}": usd for counter, usd in period.usd.items()}
    for tier, periods in entry.service.items():
        for period in periods:
            sheets |= {f"{tier}.{counter}@{period.since or 'first'}": usd for counter, usd in period.usd.items()}
    return sheets


def _tiers(price: Price) -> list[dict[str, Any]]:
    return [{"above": above, "usd": as_usd(tier)} for above, tier in price.tiers]
