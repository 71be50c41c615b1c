"""OpenAI's legacy billing dashboard, which tools still ask a gateway for its balance, with and without `/v1`.

The shapes are those that one-api and new-api publish (https://github.com/songquanpeng/one-api, controller/billing.go): limits in
dollars, usage in hundredths of a dollar over the whole life of the account whatever dates are asked for. So
hard_limit_usd - total_usage / 100 is the balance, exactly. `access_until` is the end of the key in Unix seconds, 0 for none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.surfaces.credentials import bearer
from proxy.surfaces.numbers import usd_number
from proxy.surfaces.openai_shape import refuse
from proxy.surfaces.purse import coupons_of, dollars, purse_of
from proxy.surfaces.vendor import Endpoint, Vendor
from proxy.tasks import in_turns

if TYPE_CHECKING:
    from proxy.surfaces.house import House
    from proxy.surfaces.vendor import Query

_CENTS = 100


def openai_billing(house: House) -> Vendor:
    """The surface."""
    api = _Billing(house)
    handlers = {"subscription": api.subscription, "usage": api.usage, "credit_grants": api.credit_grants}
    return Vendor(
        name="openai-billing",
        endpoints=tuple(
            Endpoint("GET", f"{prefix}/dashboard/billing/{name}", handler)
            for prefix in ("", "/v1")
            for name, handler in handlers.items()
        ),
        credential=bearer,
        refuse=refuse,
    )


class _Billing:
    def __init__(self, house: House) -> None:
        self._house = house

    async def subscription(self, query: Query) -> object:
        purse = await purse_of(self._house, query.caller.account_id)
        limit = usd_number(purse.given_nano_usd)
        return {
            "object": "billing_subscription",
            "has_payment_method": True,
            "soft_limit_usd": limit,
            "hard_limit_usd": limit,
            "system_hard_limit_usd": limit,
            "access_until": (query.caller.expires_at or 0) // 1000,
        }

    async def usage(self, query: Query) -> object:
        purse = await purse_of(self._house, query.caller.account_id)
        return {"object": "list", "total_usage": usd_number(purse.used_nano_usd * _CENTS)}

    async def credit_grants(self, query: Query) -> object:
        account_id = query.caller.account_id
        purse = await purse_of(self._house, account_id)
        coupons = await coupons_of(self._house, account_id)
        grants = await in_turns(
            {
                "object": "credit_grant",
                "id": one.id,
                "grant_amount": usd_number(dollars(self._house, one.given_microcredits)),
                "used_amount": usd_number(dollars(self._house, one.given_microcredits - one.left_microcredits)),
                "effective_at": one.created_at // 1000,
                "expires_at": None if one.expires_at is None else one.expires_at // 1000,
            }
            for one in coupons
        )
        return {
            "object": "credit_summary",
            "total_granted": usd_number(purse.given_nano_usd),
            "total_used": usd_number(purse.used_nano_usd),
            "total_available": usd_number(purse.left_nano_usd),
            "grants": {"object": "list", "data": grants},
        }
