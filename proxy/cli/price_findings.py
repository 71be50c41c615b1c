"""What `farebox price check` finds: (kind, name, detail)."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

from proxy.config import Config
from proxy.prices.book import PriceBook
from proxy.prices.view import as_usd, differences

Finding = tuple[str, str, str]


def unpriced(config: Config, prices: PriceBook, now_ms: int) -> Iterator[Finding]:
    """Models that the configuration names and that have no price."""
    for name, settings in config.providers.items():
        for model in settings.models:
            if not model.endswith("*") and prices.find(name, model, now_ms) is None:
                yield "unpriced", f"{name}/{model}", "no price: calls to it are refused"


def overridden(config: Config, prices: PriceBook, now_ms: int) -> Iterator[Finding]:
    """Each override beside what the shipped book says for the same model."""
    for name in config.prices:
        provider, slash, rest = name.partition("/")
        places = (
            [(provider, rest)] if slash and provider in config.providers else [(one, name) for one in config.providers]
        )
        known = False
        for place, model in places:
            entry = prices.shipped_entry(place, model)
            ours = prices.find(place, model, now_ms)
            if entry is None or ours is None:
                continue
            known = True
            shipped = prices.named_price(place, entry, now_ms)
            changes = differences({} if shipped is None else as_usd(shipped), as_usd(ours))
            yield (
                "differs" if changes else "same",
                f"{place}/{model}",
                ", ".join(changes) or "as the shipped book: can go",
            )
        if not known:
            yield "own", name, "not in the shipped book"


def stale(prices: PriceBook, days: int) -> Iterator[Finding]:
    """A book that is older than so many days, and overrides that a later price has replaced."""
    age = (datetime.now(tz=UTC).date() - date.fromisoformat(prices.shipped.header.book)).days
    if age > days:
        yield "stale", f"book {prices.shipped.header.book}", f"{age} days old: farebox price import"
    for name, override in prices.overrides.items():
        later = [period.since for period in override.entry.periods if period.since is not None]
        if len(later) > 1 and later[-2] < datetime.now(tz=UTC).date():
            yield (
                "past",
                name,
                f"a later price replaced {later[-2]}'s: it can go when no older call is settled any more",
            )
