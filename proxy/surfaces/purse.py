"""An account's money in dollars, as the balance calls of gateways show it. Amounts are integers in nano-USD.

`left` and `used` are floored where the exchange rate leaves less than a nano-dollar, and `given` is their sum, so that
given - used = left holds to the last digit on every surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.accounts.grants import LIVE
from proxy.surfaces.numbers import usd_nano_of_microcredits
from proxy.tasks import in_turns

if TYPE_CHECKING:
    from proxy.surfaces.house import House

MOST_GRANTS = 1000
_NEVER_GIVEN = frozenset({"pending", "refused"})


@dataclass(frozen=True, slots=True)
class Purse:
    """`used` is what calls were charged in all; `left` the posted balance, held credits included; `can_pay` if any is free."""

    used_nano_usd: int
    left_nano_usd: int
    can_pay: bool

    @property
    def given_nano_usd(self) -> int:
        """Everything that was ever put in: top-ups, grants, refunds and adjustments, less what expired."""
        return self.left_nano_usd + self.used_nano_usd


async def purse_of(house: House, account_id: str) -> Purse:
    """The account's money now, in one round trip to Redis. Raises Unavailable."""
    funds = await house.glance.funds(account_id)
    return Purse(
        used_nano_usd=dollars(house, funds.spent_microcredits),
        left_nano_usd=dollars(house, funds.posted_microcredits),
        can_pay=funds.available_microcredits > 0,
    )


def dollars(house: House, microcredits: int) -> int:
    """Microcredits in nano-USD at the configured rate, floored."""
    return usd_nano_of_microcredits(microcredits, house.config.credits.per_usd)


@dataclass(frozen=True, slots=True)
class Coupon:
    """A grant, as gateways show coupons; microcredits and Unix milliseconds. `left_microcredits` is 0 for one that has ended."""

    id: str
    given_microcredits: int
    left_microcredits: int
    created_at: int
    expires_at: int | None


async def coupons_of(house: House, account_id: str) -> list[Coupon]:
    """The account's newest grants, at most 1000, with what is left of each. Raises Unavailable."""
    grants = await house.desk.grants.list(account_id, limit=MOST_GRANTS)
    return await in_turns(
        Coupon(
            id=grant.id,
            given_microcredits=grant.amount_microcredits,
            left_microcredits=grant.remaining_microcredits if grant.status == LIVE else 0,
            created_at=grant.created_at,
            expires_at=grant.expires_at,
        )
        for grant in grants
        if grant.status not in _NEVER_GIVEN
    )
