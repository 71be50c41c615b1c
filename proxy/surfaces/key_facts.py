"""What gateways say of the API key that asks: its name and what may be shown of it, its budget, what it has spent so far.

Spending is the sum of what the key's calls were charged, in microcredits, by UTC day, ISO week, month and in all; periods begin
where those of budgets do. Refunds do not lower it, as they do not give a budget back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from proxy.core.clock import MAX_INSTANT_MS
from proxy.core.limits import BUDGET_DAY, BUDGET_MONTH, BUDGET_TOTAL, BUDGET_WEEK, REQUESTS
from proxy.records.sums import DAY_MS, Asked, usage_sums
from proxy.sql.database import integer, text

if TYPE_CHECKING:
    from proxy.accounts.caller import Caller
    from proxy.surfaces.house import House

# In this order one of them is the key's budget, where a vendor knows a single one.
BUDGETS = (BUDGET_TOTAL, BUDGET_MONTH, BUDGET_WEEK, BUDGET_DAY)


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """`name` may be empty; `shown` is the beginning of the key, with dots for the rest."""

    name: str
    shown: str


@dataclass(frozen=True, slots=True)
class Spending:
    """Microcredits that a key's calls were charged: in all, and since the beginning of the month, week and day."""

    total: int
    month: int
    week: int
    day: int

    def of(self, budget: str) -> int:
        """What counts against a budget of this kind."""
        return {BUDGET_TOTAL: self.total, BUDGET_MONTH: self.month, BUDGET_WEEK: self.week, BUDGET_DAY: self.day}[
            budget
        ]


async def key_facts(house: House, caller: Caller) -> KeyFacts:
    """The key's row. Raises Unavailable."""
    row = await house.database.fetch_one("key_by_id", id=caller.key_id) or {"name": "", "prefix": ""}
    return KeyFacts(text(row, "name"), f"{text(row, 'prefix')}...")


async def spending(house: House, caller: Caller, at_ms: int) -> Spending:
    """What the key has spent, as the records in SQL have it. Raises Unavailable."""
    asked = Asked(
        from_at=0,
        to_at=MAX_INSTANT_MS,
        account_id=caller.account_id,
        key_ids=(caller.key_id,),
        width_ms=DAY_MS,  # all periods begin with a day
    )
    days = [
        (integer(row, "bucket") * DAY_MS, integer(row, "charge_microcredits"))
        for row in await usage_sums(house.database, asked)
    ]
    day, week, month = (sum(charge for at, charge in days if at >= start) for start in period_starts(at_ms))
    return Spending(sum(charge for _, charge in days), month, week, day)


def period_starts(at_ms: int) -> tuple[int, int, int]:
    """The beginnings of the UTC day, the ISO week and the month that an instant is in, in Unix milliseconds."""
    day = datetime.fromtimestamp(at_ms // 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    starts = (day, day - timedelta(days=day.weekday()), day.replace(day=1))
    first, second, third = (int(start.timestamp()) * 1000 for start in starts)
    return first, second, third


def budget_of(caller: Caller) -> tuple[str, int] | None:
    """The key's own budget (kind, microcredits): the one in all, else of the longest period; None without any."""
    own = {limit.kind: limit.ceiling for limit in caller.limits if limit.scope == f"key:{caller.key_id}"}
    return next(((kind, own[kind]) for kind in BUDGETS if kind in own), None)


def requests_per_minute(caller: Caller) -> int | None:
    """The key's own limit on speed; None without one."""
    scope = f"key:{caller.key_id}"
    return next((limit.ceiling for limit in caller.limits if (limit.scope, limit.kind) == (scope, REQUESTS)), None)
