"""DeepSeek's balance call (https://api-docs.deepseek.com/api/get-user-balance): one currency, amounts as decimals in strings.

At least two decimals, and as many as the amount has; granted and topped up make the total, exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.surfaces.credentials import bearer
from proxy.surfaces.numbers import usd_text
from proxy.surfaces.openai_shape import refuse
from proxy.surfaces.purse import coupons_of, dollars, purse_of
from proxy.surfaces.vendor import Endpoint, Vendor

if TYPE_CHECKING:
    from proxy.surfaces.house import House
    from proxy.surfaces.vendor import Query

_LEAST_DECIMALS = 2


def deepseek(house: House) -> Vendor:
    """The surface."""

    async def balance(query: Query) -> object:
        account_id = query.caller.account_id
        purse = await purse_of(house, account_id)
        granted = dollars(house, sum(one.left_microcredits for one in await coupons_of(house, account_id)))
        granted = min(granted, max(purse.left_nano_usd, 0))  # credits below zero are not granted ones
        info = {
            "currency": "USD",
            "total_balance": _amount(purse.left_nano_usd),
            "granted_balance": _amount(granted),
            "topped_up_balance": _amount(purse.left_nano_usd - granted),
        }
        return {"is_available": purse.can_pay, "balance_infos": [info]}

    return Vendor(
        name="deepseek", endpoints=(Endpoint("GET", "/user/balance", balance),), credential=bearer, refuse=refuse
    )


def _amount(nano_usd: int) -> str:
    whole, _, fraction = usd_text(nano_usd).partition(".")
    return f"{whole}.{fraction.ljust(_LEAST_DECIMALS, '0')}"
