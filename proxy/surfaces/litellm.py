"""LiteLLM's key info (https://docs.litellm.ai/docs/proxy/virtual_keys#keyinfo): what the key that asks has spent and may.

`key` is our id of the key, never the key. `?key=` names the key that is asked about, as LiteLLM's clients send it; it is no
credential here, and any other key than the caller's own is not there. Amounts are dollars.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from proxy.core.errors import FareboxError, NotFound
from proxy.core.limits import BUDGET_TOTAL
from proxy.surfaces.credentials import bearer
from proxy.surfaces.key_facts import budget_of, key_facts, spending
from proxy.surfaces.numbers import instant, usd_number
from proxy.surfaces.purse import dollars
from proxy.surfaces.vendor import Answer, Endpoint, Vendor

if TYPE_CHECKING:
    from proxy.surfaces.house import House
    from proxy.surfaces.vendor import Query

_TYPES = {401: "auth_error", 403: "auth_error", 404: "not_found_error", 429: "rate_limit_error"}


def litellm(house: House) -> Vendor:
    """The surface."""

    async def info(query: Query) -> object:
        caller = query.caller
        _check_own(house, query)
        facts = await key_facts(house, caller)
        spent = await spending(house, caller, query.at_ms)
        budget = budget_of(caller)
        most = budget[1] if budget is not None and budget[0] == BUDGET_TOTAL else None
        return {
            "key": caller.key_id,
            "info": {
                "key_name": facts.shown,
                "key_alias": facts.name or None,
                "spend": usd_number(dollars(house, spent.total)),
                "max_budget": None if most is None else usd_number(dollars(house, most)),
                "expires": None if caller.expires_at is None else instant(caller.expires_at),
                "user_id": caller.account_id,
                "team_id": None,
                "models": list(caller.models or ()),
            },
        }

    return Vendor(name="litellm", endpoints=(Endpoint("GET", "/key/info", info),), credential=bearer, refuse=refuse)


def refuse(error: FareboxError, _call_id: str) -> Answer:
    """The error as LiteLLM's proxy writes it: OpenAI's members, and the HTTP status as a text in `code`."""
    ours = "internal_server_error" if error.status >= 500 else "invalid_request_error"
    kind = _TYPES.get(error.status, ours)
    body = {"message": error.message, "type": kind, "param": error.param, "code": str(error.status)}
    return Answer(error.status, {"error": body})


def _check_own(house: House, query: Query) -> None:
    """Raises NotFound where `?key=` asks about another key than the caller's."""
    for asked in query.params.get("key", ()):
        given = asked.encode()
        if given != query.caller.key_id.encode() and not hmac.compare_digest(
            house.hasher.digest(given), query.caller.digest
        ):
            raise NotFound("Key not found.", code="key_not_found", param="key")
