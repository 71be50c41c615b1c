"""`farebox price`: what models cost, where that is said, and how it is changed. Rates are USD per million units."""

import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from proxy.cli.context import find_config, json_option, print_fields, print_json, print_table, with_config, with_path
from proxy.cli.price_findings import overridden, stale, unpriced
from proxy.config import Config
from proxy.core.errors import ConfigError
from proxy.core.pricing import Price
from proxy.core.usage import COUNTERS
from proxy.prices import edit
from proxy.prices.book import PriceBook, Rules
from proxy.prices.in_force import in_force, priced_at
from proxy.prices.sheet import parse_usd
from proxy.prices.shipped import ShippedBook
from proxy.prices.view import as_json as price_json
from proxy.prices.view import as_usd, book_changes
from proxy.roles import load

STALE_DAYS = 120
_COLUMNS = ("PROVIDER", "MODEL", "INPUT#", "CACHED#", "OUTPUT#", "OTHER UNITS AND TOKENS", "FROM")
_MAIN = ("input", "cache_read", "output")

provider_option = click.option("--provider", metavar="NAME", help="Only this provider: its name here, or the book's.")


@click.group()
def price() -> None:
    """What models cost, in USD per million units: the configuration's [prices] over the shipped book."""


def with_prices(command: Any) -> Any:
    """Hands a command `prices` and `config`; the shipped book alone (`config` None) where there is no configuration."""

    @click.option("--config", "given", metavar="FILE", help="The configuration file.")
    @click.pass_context
    def wrapped(ctx: click.Context, /, *, given: str | None, **options: object) -> Any:
        named = given or ctx.find_root().obj
        try:
            path = find_config(named)
        except ConfigError:
            if named:
                raise
            return command(config=None, prices=PriceBook(Rules()), **options)
        config = load(path)
        return command(config=config, prices=config.price_book(), **options)

    wrapped.__doc__ = command.__doc__
    wrapped.__name__ = command.__name__
    wrapped.__click_params__ = [  # type: ignore[attr-defined]
        *getattr(wrapped, "__click_params__", ()),
        *getattr(command, "__click_params__", ()),
    ]
    return wrapped


@price.command("list")
@provider_option
@click.option("--model", "wanted", metavar="TEXT", default="", help="Only models with this in their names.")
@json_option
@with_prices
def list_prices(config: Config | None, prices: PriceBook, *, provider: str | None, wanted: str, as_json: bool) -> None:
    """Prices in force: of the configured models and [prices], or with --provider or --model of the shipped book too."""
    rows = [
        one
        for one in in_force(config, prices, _now_ms(), provider, everything=bool(provider or wanted or config is None))
        if wanted.lower() in one[1].model.lower()
    ]
    if as_json:
        for name, found in rows:
            print_json(price_json(name, found))
        return
    print_table(
        _COLUMNS,
        (_row(name, found) for name, found in rows),
        empty="No such price. Try: farebox price list --model TEXT",
    )


@price.command()
@click.argument("model")
@provider_option
@click.option("--at", "day", metavar="DAY", help="As it is on that day (UTC, 2026-12-01) instead of now.")
@json_option
@with_prices
def show(
    config: Config | None, prices: PriceBook, *, model: str, provider: str | None, day: str | None, as_json: bool
) -> int:
    """Everything about a model's price, at every provider that has one. Exit code 1 where it has none."""
    at_ms = _now_ms() if day is None else _day_ms(day)
    priced = priced_at(config, prices, model, at_ms, provider)
    for number, (name, one) in enumerate(priced.items()):
        if as_json:
            print_json({**price_json(name, one), "asked": model})
        else:
            if number:
                click.echo()
            print_fields(_fields(name, model, one, prices))
    if not priced:
        click.echo(
            f"{model} has no price; calls to it are refused. Give it one: farebox price set {model} input=USD output=USD",
            err=True,
        )
    return 0 if priced else 1


@price.command("set")
@click.argument("name")
@click.argument("rates", nargs=-1, metavar="COUNTER=USD...")
@click.option("--extends", is_flag=True, help="Keep the shipped book's rates for what is not named.")
@click.option("--remove", is_flag=True, help="Remove this price from the configuration.")
@json_option
@with_path
def set_price(path: Path, *, name: str, rates: tuple[str, ...], extends: bool, remove: bool, as_json: bool) -> None:
    """Write [prices."NAME"] into the configuration: NAME is a model, provider/model, or either with a trailing *.

    For example: farebox price set gpt-4o input=2.50 cache_read=1.25 output=10
    """
    text = path.read_text(encoding="utf-8")
    if remove:
        changed = edit.remove_price(text, name)
    else:
        values = dict(_rate(one) for one in rates) | ({"extends": "true"} if extends else {})
        if not values:
            raise click.UsageError("name at least one rate, such as input=2.50")
        changed = edit.set_price(text, name, values)
    edit.write(path, changed, check=lambda fresh: load(fresh).price_book())  # what would not load is not written
    if as_json:
        print_json({"name": name, "removed": remove, "config": str(path)})
        return
    click.echo(f'{"Removed" if remove else "Set"} [prices."{name}"] in {path}.')
    click.echo(
        "A running Farebox takes it up at farebox reload (or SIGHUP); calls in progress keep the price that they began with."
    )


@price.command("import")
@click.option(
    "--output", metavar="FILE", default="price-book.jsonl", show_default=True, help="Where to write the book."
)
@click.option("--day", metavar="DAY", help="The new book's version; today if it is not given.")
@json_option
@with_prices
def import_prices(config: Config | None, prices: PriceBook, *, output: str, day: str | None, as_json: bool) -> None:
    """Make a new book from the installed genai-prices (farebox[prices]) and say what it changes."""
    del config
    from proxy.prices.corrections import shipped_corrections  # noqa: PLC0415 - only the import needs these
    from proxy.prices.importer import import_book  # noqa: PLC0415

    version = date.fromisoformat(day) if day else datetime.now(tz=UTC).date()
    text = import_book(version, shipped_corrections())
    fresh = ShippedBook(text)
    changes = list(book_changes(prices.shipped, fresh))
    try:
        Path(output).write_bytes(text)
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}") from error
    if as_json:
        for provider, model, what in changes:
            print_json({"provider": provider, "model": model, "change": what})
        return
    print_table(("PROVIDER", "MODEL", "CHANGE"), changes, empty="No price changed.")
    click.echo(f"\nWrote {output}: book {fresh.header.book}, from {fresh.header.made_from}.")
    click.echo(f'To use it: price_book = "{output}" under [credits], then SIGHUP.')


@price.command()
@click.option("--days", default=STALE_DAYS, show_default=True, type=click.IntRange(1), help="Older than this is stale.")
@json_option
@with_config
def check(config: Config, *, days: int, as_json: bool) -> int:
    """Where [prices] differs from the shipped book, what is stale, and what has no price. Exit code 1 for the last."""
    prices, now = config.price_book(), _now_ms()
    findings = [*unpriced(config, prices, now), *overridden(config, prices, now), *stale(prices, days)]
    if as_json:
        for kind, name, detail in findings:
            print_json({"kind": kind, "name": name, "detail": detail})
    else:
        empty = "Every configured model has a price, and none differs from the shipped book."
        print_table(("FINDING", "NAME", "DETAIL"), findings, empty=empty)
    return 1 if any(kind == "unpriced" for kind, _, _ in findings) else 0


def _row(provider: str, found: Price) -> tuple[object, ...]:
    usd = as_usd(found)
    other = ", ".join(f"{counter} {rate}" for counter, rate in usd.items() if counter not in _MAIN)
    more = [f"above {above}" for above, _ in found.tiers] + list(found.service_tiers)
    return (
        provider,
        found.model,
        *(usd.get(counter) for counter in _MAIN),
        other + (f"  ({', '.join(more)})" if more else ""),
        found.version,
    )


def _fields(provider: str, model: str, found: Price, prices: PriceBook) -> Mapping[str, object]:
    fields: dict[str, object] = {"provider": provider, "model": model, "version": found.version, "source": found.source}
    entry = prices.shipped_entry(provider, model)
    if entry is not None:
        fields["book's name"] = entry.model
        fields["last checked"] = entry.checked or prices.shipped.header.book
    fields |= as_usd(found)
    for above, tier in found.tiers:
        fields[f"above {above}"] = _inline(as_usd(tier))
    for name, tier in found.service_tiers.items():
        fields[name] = _inline(dict(set(as_usd(tier).items()) - set(as_usd(found).items())))
    fields["markup"] = f"{prices.markup_ppm(provider, model) / 1_000_000:g}"
    return fields


def _inline(usd: Mapping[str, str]) -> str:
    return ", ".join(f"{counter} {usd[counter]}" for counter in COUNTERS if counter in usd)


def _rate(text: str) -> tuple[str, str]:
    counter, equals, usd = text.partition("=")
    if not equals or counter not in COUNTERS:
        raise click.UsageError(f"{text!r} is not COUNTER=USD; counters: {', '.join(COUNTERS)}")
    try:
        parse_usd(usd)
    except ValueError as error:
        raise click.UsageError(f"{counter}: {error}") from error
    return counter, usd


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _day_ms(day: str) -> int:
    try:
        return round(datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC).timestamp() * 1000)
    except ValueError as error:
        raise click.UsageError(f"{day!r} is not a day, such as 2026-12-01") from error
