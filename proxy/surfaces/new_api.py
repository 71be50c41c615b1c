"""new-api's token usage (https://github.com/QuantumNous/new-api-docs, docs/en/api/token-usage.md): whole quota of the account.

The unit is new-api's: 500,000 quota are a dollar, as its readers divide by. What is there and what was used are floored, and
granted is their sum. `expires_at` is in Unix seconds, 0 for a key without an end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.money import NANO_USD_PER_USD
from proxy.surfaces.credentials import bearer
from proxy.surfaces.key_facts import key_facts
from proxy.surfaces.purse import purse_of
from proxy.surfaces.vendor import Answer, Endpoint, Vendor

if TYPE_CHECKING:
    from proxy.core.errors import FareboxError
    from proxy.surfaces.house import House
    from proxy.surfaces.vendor import Query

QUOTA_PER_USD = 500_000
_PATH = "/api/usage/token"


def new_api(house: House) -> Vendor:
    """The surface."""

    async def usage(query: Query) -> object:
        caller = query.caller
        purse = await purse_of(house, caller.account_id)
        facts = await key_facts(house, caller)
        used, left = _quota(purse.used_nano_usd), _quota(purse.left_nano_usd)
        data = {
            "object": "token_usage",
            "name": facts.name,
            "total_granted": used + left,
            "total_used": used,
            "total_available": left,
            "unlimited_quota": False,
            "model_limits": dict.fromkeys(caller.models or (), True),
            "model_limits_enabled": caller.models is not None,
            "expires_at": (caller.expires_at or 0) // 1000,
        }
        return {"code": True, "message": "ok", "data": data}

    endpoints = (Endpoint("GET", _PATH, usage), Endpoint("GET", f"{_PATH}/", usage))
    return Vendor(name="new-api", endpoints=endpoints, credential=bearer, refuse=refuse)


def refuse(error: FareboxError, _call_id: str) -> Answer:
    """The error as the project writes it."""
    return Answer(error.status, {"success": False, "message": error.message})


def _quota(nano_usd: int) -> int:
    return nano_usd * QUOTA_PER_USD // NANO_USD_PER_USD
