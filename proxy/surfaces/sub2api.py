"""sub2api's usage call, which tools ask for a wallet: `{isValid, planName, remaining, unit}`, as it was first published, and the
two members that tell its form today (https://github.com/Wei-Shaw/sub2api/pull/452): `mode` and `balance`. Amounts are dollars.

A refusal says `isValid: false` and has OpenAI's `error` beside it: its readers look at either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.providers.errors import error_body
from proxy.surfaces.credentials import bearer
from proxy.surfaces.numbers import usd_number
from proxy.surfaces.purse import purse_of
from proxy.surfaces.vendor import Answer, Endpoint, Vendor

if TYPE_CHECKING:
    from proxy.core.errors import FareboxError
    from proxy.surfaces.house import House
    from proxy.surfaces.vendor import Query

_PLAN = "Prepaid credits"


def sub2api(house: House) -> Vendor:
    """The surface. It stands behind credits.dev's of the same path, and answers everything that the other does not claim."""

    async def usage(query: Query) -> object:
        purse = await purse_of(house, query.caller.account_id)
        left = usd_number(purse.left_nano_usd)
        return {
            "isValid": True,
            "mode": "unrestricted",
            "planName": _PLAN,
            "remaining": left,
            "balance": left,
            "unit": "USD",
        }

    return Vendor(name="sub2api", endpoints=(Endpoint("GET", "/v1/usage", usage),), credential=bearer, refuse=refuse)


def refuse(error: FareboxError, call_id: str) -> Answer:
    """The error for readers of `isValid` and for readers of `error`."""
    body = msgspec.json.decode(error_body("openai", error, call_id), type=dict[str, object])
    return Answer(error.status, {"isValid": False, **body})
