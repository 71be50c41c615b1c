"""One model of the book as a line of data, and its rates at an instant.

A line is JSON: the model, the rules that say which names it goes by, and what it costs. `usd` holds USD per million units by
counter, as `proxy.prices.sheet` reads them; `periods` stands in its place where prices changed, the last one in force
counts, the first one where none is. A period begins on a day (UTC) or recurs between two times of the day (UTC). `service`
holds, by tier, what differs from the plain rates.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta

import msgspec

from proxy.prices.rules import Rule
from proxy.prices.sheet import Quote, Sheet, Steps, format_steps, parse_steps

FOREVER_MS = 2**62
_LAST_DAY = datetime(9999, 12, 30, tzinfo=UTC)  # the last one that has a next day; whatever is later is priced as it is


class Period(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rates that are in force from a day on, or between two times of every day."""

    usd: dict[str, str] = {}
    since: date | None = None
    hours: tuple[time, time] | None = None

    def in_force(self, at: datetime) -> bool:
        """Whether this period covers an instant (UTC)."""
        if self.since is not None and at.date() < self.since:
            return False
        if self.hours is None:
            return True
        begin, end = self.hours
        now = at.time()
        return begin <= now < end if begin <= end else now >= begin or now < end

    def next_change_ms(self, at: datetime) -> int:
        """The next instant (Unix milliseconds) at which it may begin or end."""
        nights = [FOREVER_MS]
        today = datetime.combine(at.date(), time(), UTC)
        if self.since is not None and at.date() < self.since:
            nights.append(_ms(datetime.combine(self.since, time(), UTC)))
        for clock in self.hours or ():
            turn = datetime.combine(today.date(), clock, UTC)
            nights.append(_ms(turn if turn > at else turn + timedelta(days=1)))
        return min(nights)


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A model of the book."""

    model: str
    match: list[Rule]
    usd: dict[str, str] = {}
    periods: list[Period] = []
    service: dict[str, list[Period]] = {}
    minimum: dict[str, int] = {}
    source: str = ""
    checked: str = ""

    def quote(self, at_ms: int) -> tuple[Quote, str, int]:
        """The rates at an instant (Unix milliseconds), what tells them from others of this model, and until when they stand."""
        at = datetime.fromtimestamp(min(at_ms, _ms(_LAST_DAY)) / 1000, UTC)
        periods = self.periods or [Period(self.usd)]
        chosen = next((one for one in reversed(periods) if one.in_force(at)), periods[0])
        plain = read_sheet(chosen.usd)
        tiers = {name: _with_first_in_force(plain, changes, at) for name, changes in self.service.items()}
        every = [*periods, *(one for changes in self.service.values() for one in changes)]
        until_ms = min(one.next_change_ms(at) for one in every)
        return Quote(plain, tiers, self.minimum), _mark(chosen), until_ms


def read_sheet(usd: Mapping[str, str]) -> Sheet:
    """The sheet of these texts by counter. Raises ValueError."""
    return {counter: parse_steps(text) for counter, text in usd.items()}


def write_sheet(sheet: Sheet) -> dict[str, str]:
    """The texts that `read_sheet` reads."""
    return {counter: format_steps(steps) for counter, steps in sheet.items()}


def _with_first_in_force(plain: Sheet, changes: Iterable[Period], at: datetime) -> Sheet:
    """The plain sheet with the changes that are in force; of two for one counter the first counts."""
    found: dict[str, Steps] = {}
    for change in changes:
        if change.in_force(at):
            found = {**read_sheet(change.usd), **found}
    return {**plain, **found}


def _mark(period: Period) -> str:
    since = f"@{period.since}" if period.since is not None else ""
    hours = f"@{period.hours[0]:%H:%M}" if period.hours is not None else ""
    return since + hours


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
