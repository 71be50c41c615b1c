"""Prices and markups as the configuration says them: `[prices."NAME"]` tables and `[markups]`.

NAME is a model, "provider/model" for one provider only, or either with a trailing `*`; "*" alone prices what nothing else
does. Rates are USD per million units by counter. Errors are ConfigError and name the key.
"""

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any, TypeVar

from proxy.core.errors import ConfigError
from proxy.core.money import NANO_USD_PER_USD, parse_scaled
from proxy.core.pricing import MARKUP_ONE_PPM
from proxy.core.usage import COUNTERS, TOKEN_COUNTERS
from proxy.prices.entries import Entry, Period, write_sheet
from proxy.prices.sheet import Quote, Sheet, Terms, make_price, parse_usd

EVERYTHING = "*"
_ASSUMED = "assumed_output_tokens"
_SETTINGS = (_ASSUMED, "extends", "tiers", "service_tiers", "later")
_MULTIPLIER = "multiplier"

T = TypeVar("T")


@dataclass(frozen=True)
class Override:
    """One `[prices]` table. `extends`: what it does not name stays as the shipped book has it."""

    name: str
    entry: Entry
    version: str
    assumed_output_tokens: int | None
    extends: bool


def read_overrides(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Override]:
    """The overrides by name, checked whole. Raises ConfigError."""
    return {name: _override(name, table) for name, table in tables.items()}


def read_markups(table: Mapping[str, str | int]) -> dict[str, int]:
    """Name -> markup in parts per million: "1.2" -> 1200000. Raises ConfigError."""
    markups = {}
    for name, text in table.items():
        where = f'markups."{name}"'
        try:
            markups[name] = parse_scaled(str(text), MARKUP_ONE_PPM)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
        if not 1 <= markups[name] <= 1_000 * MARKUP_ONE_PPM:
            raise ConfigError(f"{where} must be above 0 and at most 1000")
    return markups


def best_match(named: Mapping[str, T], provider: str, models: tuple[str, ...]) -> T | None:
    """What fits best of exact names and prefixes, "*" alone left out: exact before prefix, a provider's own before any."""
    for model in models:
        for exact in (f"{provider}/{model}", model):
            if exact in named and exact != EVERYTHING:
                return named[exact]
    best: tuple[int, T] | None = None
    for pattern, value in named.items():
        if not pattern.endswith("*") or pattern == EVERYTHING:
            continue
        prefix = pattern[:-1]
        if any(f"{provider}/{model}".startswith(prefix) or model.startswith(prefix) for model in models) and (
            best is None or len(prefix) > best[0]
        ):
            best = (len(prefix), value)
    return None if best is None else best[1]


def _override(name: str, table: Mapping[str, Any]) -> Override:
    where = f'prices."{name}"'
    rest = dict(table)
    assumed = _whole(rest.pop(_ASSUMED, None), f"{where}.{_ASSUMED}")
    extends = rest.pop("extends", False)
    if not isinstance(extends, bool):
        raise ConfigError(f"{where}.extends must be true or false")
    later = _tables(rest.pop("later", []), f"{where}.later")
    first, service = _rates(rest, where, allowed=_SETTINGS)
    if not extends:
        _check_complete(first, where)
    periods, services = (
        [Period(write_sheet(first))],
        {tier: [Period(write_sheet(sheet))] for tier, sheet in service.items()},
    )
    for number, change in enumerate(later):
        path = f"{where}.later[{number}]"
        since = _day(change.pop("since", None), f"{path}.since")
        sheet, its_service = _rates(change, path, allowed=("since", "tiers", "service_tiers"))
        periods.append(Period(write_sheet({**first, **sheet}), since=since))
        for tier, tier_sheet in its_service.items():  # of two in force the first counts, so the later one stands first
            services.setdefault(tier, []).insert(0, Period(write_sheet(tier_sheet), since=since))
    entry = Entry(model=name, match=[], periods=periods, service=services)
    try:
        make_price(entry.quote(0)[0], Terms(name, "", 0))
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    return Override(name, entry, f"config-{_digest(first, services, later)}", assumed, extends)


def _rates(table: dict[str, Any], where: str, allowed: tuple[str, ...]) -> tuple[Sheet, dict[str, Sheet]]:
    """The sheet that a table describes with its tiers, and those of its service tiers."""
    tiers = _tables(table.pop("tiers", []), f"{where}.tiers")
    service = table.pop("service_tiers", {})
    plain = _numbers(table, where, allowed)
    steps = {counter: [(0, usd)] for counter, usd in plain.items()}
    reached = 0
    for number, tier in enumerate(tiers):
        path = f"{where}.tiers[{number}]"
        above = _whole(tier.pop("above", None), f"{path}.above")
        if above is None or above <= reached:
            raise ConfigError(f"{path}.above must be a number of tokens, larger in each tier")
        reached = above
        for counter, usd in _numbers(tier, path, ("above",)).items():
            if counter not in steps:
                raise ConfigError(f"{path}.{counter} has no rate below the tier: name it in {where} too")
            steps[counter].append((above, usd))
    sheet: Sheet = {counter: tuple(found) for counter, found in steps.items()}
    if not isinstance(service, dict):
        raise ConfigError(f"{where}.service_tiers must be a table of tables")
    return sheet, {
        tier: _service_sheet(sheet, changes, f"{where}.service_tiers.{tier}") for tier, changes in service.items()
    }


def _service_sheet(plain: Sheet, changes: Any, where: str) -> Sheet:
    """What a service tier changes: rates of its own, or every token's rate times a factor."""
    if not isinstance(changes, dict):
        raise ConfigError(f"{where} must be a table")
    changes = dict(changes)
    factor = changes.pop(_MULTIPLIER, None)
    if factor is None:
        return _rates(changes, where, allowed=(_MULTIPLIER, "tiers"))[0]
    if changes:
        raise ConfigError(f"{where} takes a multiplier or rates, not both")
    times = _usd(factor, f"{where}.{_MULTIPLIER}")
    return {
        counter: tuple((above, usd * times) for above, usd in steps)
        for counter, steps in plain.items()
        if counter in TOKEN_COUNTERS
    }


def _numbers(table: Mapping[str, Any], where: str, allowed: tuple[str, ...]) -> dict[str, Fraction]:
    rates = {}
    for counter, text in table.items():
        if counter not in COUNTERS:
            near = difflib.get_close_matches(counter, (*COUNTERS, *allowed), n=1, cutoff=0.4)
            raise ConfigError(f"unknown setting {where}.{counter}" + (f"; did you mean {near[0]}?" if near else ""))
        rates[counter] = _usd(text, f"{where}.{counter}")
    return rates


def _usd(text: Any, where: str) -> Fraction:
    written = str(text)
    if isinstance(text, bool | dict | list):
        raise ConfigError(f"{where} must be a decimal number")
    if written.startswith("-"):
        raise ConfigError(f"{where} must not be negative")
    try:
        usd = parse_usd(written)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    if "/" not in written and (usd * NANO_USD_PER_USD).denominator != 1:
        raise ConfigError(f"{where}: {written} has more decimals than can be stored")
    return usd


def _check_complete(sheet: Sheet, where: str) -> None:
    """Both sides of tokens have to be priced, unless only other units are."""
    if sheet and not any(counter in TOKEN_COUNTERS for counter in sheet):
        return
    for side in ("input", "output"):
        if side not in sheet:
            raise ConfigError(f"{where}.{side} is missing; a price of 0 must be said")


def _tables(value: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ConfigError(f"{where} must be an array of tables")
    return [dict(one) for one in value]


def _whole(value: Any, where: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not str(value).isdecimal():
        raise ConfigError(f"{where} must be a whole number")
    return int(str(value))


def _day(value: Any, where: str) -> date:
    try:
        return value if isinstance(value, date) and not isinstance(value, datetime) else date.fromisoformat(str(value))
    except ValueError as error:
        raise ConfigError(f"{where} must be a day, such as 2026-12-01 (UTC)") from error


def _digest(first: Sheet, services: Mapping[str, list[Period]], later: list[dict[str, Any]]) -> str:
    """Names the rates themselves, so that a record can be checked against the price that it was charged at."""
    what = repr((sorted(write_sheet(first).items()), sorted(services.items(), key=lambda one: one[0]), later))
    return hashlib.sha256(what.encode()).hexdigest()[:12]


def merged(base: Quote, change: Quote) -> Quote:
    """The shipped rates with what an override names in their place, in every service tier that it does not name itself."""
    tiers = {name: {**sheet, **change.plain} for name, sheet in base.service_tiers.items()}
    return Quote({**base.plain, **change.plain}, {**tiers, **change.service_tiers}, base.minimums)
