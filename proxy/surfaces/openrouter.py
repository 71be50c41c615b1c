"""OpenRouter's calls about money: credits, the key that asks, one generation. Amounts are dollars, exact.

Shapes: https://openrouter.ai/docs/api/api-reference/credits/get-credits
https://openrouter.ai/docs/api/api-reference/api-keys/get-current-key
https://openrouter.ai/docs/client-sdks/python/components/generationresponsedata
A generation's `id` is the call id that every answer carries in `x-farebox-call-id`. What Farebox does not know is null; the
provider's price is never shown, `total_cost` is what the account was charged. `/api/v1/auth/key` is the older path of the key.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from proxy.core.errors import FareboxError, InvalidRequest, NotFound
from proxy.core.limits import BUDGET_DAY, BUDGET_MONTH, BUDGET_TOTAL, BUDGET_WEEK
from proxy.core.records import CLIENT_LEFT
from proxy.sql.database import Row, integer, optional_integer, text
from proxy.surfaces.credentials import bearer
from proxy.surfaces.fields import MAX_ID
from proxy.surfaces.key_facts import budget_of, key_facts, requests_per_minute, spending
from proxy.surfaces.numbers import instant, usd_number
from proxy.surfaces.purse import dollars, purse_of
from proxy.surfaces.vendor import Answer, Endpoint, Vendor

if TYPE_CHECKING:
    from proxy.surfaces.house import House
    from proxy.surfaces.vendor import Query

_RESETS = {BUDGET_TOTAL: None, BUDGET_DAY: "daily", BUDGET_WEEK: "weekly", BUDGET_MONTH: "monthly"}
_NOTE = "This field is deprecated and safe to ignore."
_PREFIXES = ("/api/v1", "/v1")
# Members of a generation that Farebox does not record.
_UNKNOWN = (
    *("upstream_id", "cache_discount", "upstream_inference_cost", "app_id", "moderation_latency", "finish_reason"),
    *("native_finish_reason", "num_media_prompt", "num_media_completion", "num_input_audio_prompt"),
    *("num_search_results", "external_user", "router"),
)


def openrouter(house: House) -> Vendor:
    """The surface."""
    api = _OpenRouter(house)
    handlers = {"credits": api.credits, "key": api.key, "auth/key": api.key, "generation": api.generation}
    return Vendor(
        name="openrouter",
        endpoints=tuple(
            Endpoint("GET", f"{prefix}/{name}", handler) for prefix in _PREFIXES for name, handler in handlers.items()
        ),
        credential=bearer,
        refuse=refuse,
    )


def refuse(error: FareboxError, _call_id: str) -> Answer:
    """The error as OpenRouter writes it: the HTTP status as its code."""
    return Answer(error.status, {"error": {"code": error.status, "message": error.message}})


class _OpenRouter:
    def __init__(self, house: House) -> None:
        self._house = house

    async def credits(self, query: Query) -> object:
        purse = await purse_of(self._house, query.caller.account_id)
        given, used = usd_number(purse.given_nano_usd), usd_number(purse.used_nano_usd)
        return {"data": {"total_credits": given, "total_usage": used}}

    async def key(self, query: Query) -> object:
        house, caller = self._house, query.caller
        facts = await key_facts(house, caller)
        spent = await spending(house, caller, query.at_ms)
        purse = await purse_of(house, caller.account_id)
        budget, speed = budget_of(caller), requests_per_minute(caller)
        most = None if budget is None else dollars(house, budget[1])
        left = None if budget is None else dollars(house, max(0, budget[1] - spent.of(budget[0])))
        ends = caller.expires_at
        return {
            "data": {
                "label": facts.shown,
                "limit": None if most is None else usd_number(most),
                "limit_remaining": None if left is None else usd_number(left),
                "limit_reset": None if budget is None else _RESETS[budget[0]],
                "usage": usd_number(dollars(house, spent.total)),
                "usage_daily": usd_number(dollars(house, spent.day)),
                "usage_weekly": usd_number(dollars(house, spent.week)),
                "usage_monthly": usd_number(dollars(house, spent.month)),
                **dict.fromkeys(("byok_usage", "byok_usage_daily", "byok_usage_weekly", "byok_usage_monthly"), 0),
                **dict.fromkeys(("include_byok_in_limit", "is_management_key", "is_provisioning_key"), False),
                "is_free_tier": purse.given_nano_usd <= 0,
                "creator_user_id": caller.account_id,
                "expires_at": None if ends is None else instant(ends),
                "rate_limit": {"requests": -1 if speed is None else speed, "interval": "1m", "note": _NOTE},
            }
        }

    async def generation(self, query: Query) -> object:
        call_id = query.param("id")
        if not call_id or len(call_id) > MAX_ID or not call_id.isprintable():
            raise InvalidRequest("id must be that of a generation", param="id")
        row = await self._house.database.fetch_one("usage_record", call_id=call_id)
        if row is None or row["account_id"] != query.caller.account_id:
            raise NotFound("There is no such generation.", code="generation_not_found", param="id")
        return {"data": self._generation(row)}

    def _generation(self, row: Row) -> dict[str, object]:
        counters = json.loads(text(row, "usage"))
        cost = usd_number(dollars(self._house, integer(row, "charge_microcredits")))
        tokens_in, tokens_out = integer(row, "input_tokens"), integer(row, "output_tokens")
        return {
            "id": text(row, "call_id"),
            "model": text(row, "model"),
            "created_at": instant(integer(row, "at")),
            "provider_name": text(row, "provider"),
            "total_cost": cost,
            "usage": cost,
            "is_byok": False,
            "origin": "",
            "api_type": "embeddings" if "embed" in text(row, "path").lower() else "completions",
            "streamed": bool(row["stream"]),
            "cancelled": row["outcome"] == CLIENT_LEFT,
            "latency": optional_integer(row, "time_to_first_byte_ms"),
            "generation_time": optional_integer(row, "duration_ms"),
            "tokens_prompt": tokens_in,
            "tokens_completion": tokens_out,
            "native_tokens_prompt": tokens_in,
            "native_tokens_completion": tokens_out,
            "native_tokens_reasoning": counters.get("reasoning", 0),
            "native_tokens_cached": sum(count for name, count in counters.items() if name.startswith("cache_read")),
            "native_tokens_completion_images": counters.get("output_image", 0),
            **dict.fromkeys(_UNKNOWN),
        }
