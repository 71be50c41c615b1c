"""r9s' portal for managers: tokens by call or by day, and the balance in dollars. Keys are manager keys (`sk_mg_...`).

Usage is the published call (portal-api.r9s.ai, "Get usage statistics"): Unix seconds, one record a call in order of time, bounds
inclusive. `granularity`, `page` and `pagesize` are ours; `total_tokens` is that of the whole range whatever the page. A manager
key made without scopes may do both calls, one with scopes only what they name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.accounts.keys import MANAGER, kind_of
from proxy.accounts.rows import BALANCE_READ, USAGE_READ
from proxy.core.errors import FareboxError, Forbidden, InvalidKey, InvalidRequest
from proxy.records.sums import DAY_MS, MODEL, Asked, usage_sums
from proxy.sql.database import Row, Value, integer, text
from proxy.surfaces.credentials import bearer
from proxy.surfaces.fields import integer_text
from proxy.surfaces.numbers import usd_number, usd_text
from proxy.surfaces.purse import coupons_of, dollars, purse_of
from proxy.surfaces.vendor import Answer, Endpoint, Query, Vendor
from proxy.tasks import in_turns, used_up

if TYPE_CHECKING:
    from proxy.pipeline.exchange import Exchange
    from proxy.surfaces.house import House

MOST_RECORDS = 1000
_ROOT = "/api/v1/portal/management"
_LATEST = 10**11  # seconds; whoever writes more means milliseconds
_HIGHEST_PAGE = 2**31
_DAY_S = 86_400
_BAD_SHAPE = "malformed_api_key"


def r9s(house: House) -> Vendor:
    """The surface."""
    api = _Portal(house)
    return Vendor(
        name="r9s",
        endpoints=(Endpoint("GET", f"{_ROOT}/usage", api.usage), Endpoint("GET", f"{_ROOT}/balance", api.balance)),
        credential=_manager_key,
        refuse=refuse,
        kind=MANAGER,
    )


def require_scope(query: Query, scope: str) -> str:
    """The account that a manager key speaks for. Raises Forbidden where the key names scopes and not this one."""
    caller = query.caller
    if caller.scopes and scope not in caller.scopes:
        raise Forbidden(f"This API key does not have the scope {scope}.", code="missing_scope")
    return caller.account_id


def refuse(error: FareboxError, call_id: str) -> Answer:
    """An error in the portal's envelope; HTTP status and `meta.code` are one."""
    message = error.message
    if isinstance(error, InvalidKey):
        expired = error.code == "expired_api_key"
        unknown = "API key expired" if expired else "API key not found"
        message = unknown if expired or error.code == InvalidKey.code else "Invalid API key format"
    return Answer(error.status, {"meta": _meta(error.status, message, call_id), "data": None})


class _Portal:
    def __init__(self, house: House) -> None:
        self._house = house

    async def usage(self, query: Query) -> object:
        account_id = require_scope(query, USAGE_READ)
        start, end = (_seconds(query, name) for name in ("start_time", "end_time"))
        if end < start:
            raise InvalidRequest("end_time must not be before start_time", param="end_time")
        page = _bounded(query, "page", 1, _HIGHEST_PAGE)
        size = _bounded(query, "pagesize", MOST_RECORDS, MOST_RECORDS)
        by_day = _by_day(query)
        skipped = (page - 1) * size
        asked = Asked(
            from_at=start * 1000,
            to_at=(end + 1) * 1000,
            account_id=account_id,
            width_ms=DAY_MS if by_day else 0,
            by=frozenset({MODEL}) if by_day else frozenset(),
        )
        sums = await usage_sums(self._house.database, asked)
        if by_day:
            records = await in_turns(_day(row) for row in sums[skipped : skipped + size])
        else:
            span: dict[str, Value] = {"account_id": account_id, "from_at": asked.from_at, "to_at": asked.to_at - 1}
            rows = await self._house.database.fetch("r9s_usage", **span, row_limit=size, row_offset=skipped)
            records = await in_turns(_record(row) for row in rows)
        tokens = await in_turns(_tokens(row) for row in used_up(sums))
        return _success(query, {"records": records, "total_tokens": sum(tokens)})

    async def balance(self, query: Query) -> object:
        account_id = require_scope(query, BALANCE_READ)
        purse = await purse_of(self._house, account_id)
        coupons = await coupons_of(self._house, account_id)
        left = dollars(self._house, sum(one.left_microcredits for one in coupons))
        given = dollars(self._house, sum(one.given_microcredits for one in coupons))
        return _success(
            query,
            {
                "balance": usd_number(purse.left_nano_usd),
                "balance_str": usd_text(purse.left_nano_usd),
                "coupon_balance": usd_number(left),
                "currency_code": "USD",
                "credit_limit": 0,
                "total_coupon_amount": usd_number(given),
            },
        )


def _manager_key(exchange: Exchange) -> bytes:
    key = bearer(exchange)
    if kind_of(key) != MANAGER:
        raise InvalidKey(code=_BAD_SHAPE)
    return key


def _success(query: Query, data: object) -> object:
    return {"meta": _meta(200, "success", query.call_id), "data": data}


def _meta(code: int, message: str, call_id: str) -> dict[str, object]:
    return {"code": code, "message": message, "request_id": call_id}


def _tokens(row: Row) -> int:
    return integer(row, "input_tokens") + integer(row, "output_tokens")


def _day(row: Row) -> dict[str, object]:
    """The sum of a UTC day and a model, at the day's beginning."""
    return {"timestamp": integer(row, "bucket") * _DAY_S, "tokens": _tokens(row), "model": text(row, "model")}


def _record(row: Row) -> dict[str, object]:
    return {"timestamp": integer(row, "second"), "tokens": integer(row, "tokens"), "model": text(row, "model")}


def _one(query: Query, name: str) -> str | None:
    values = query.params.get(name, [])
    if len(values) > 1:
        raise InvalidRequest(f"{name} must be given once", param=name)
    return values[0] if values else None


def _seconds(query: Query, name: str) -> int:
    given = _one(query, name)
    if given is None:
        raise InvalidRequest(f"{name} is required", param=name)
    number = integer_text(given)
    if number is None or not 0 <= number <= _LATEST:
        raise InvalidRequest(f"{name} must be a Unix timestamp in seconds", param=name)
    return number


def _bounded(query: Query, name: str, default: int, most: int) -> int:
    given = _one(query, name)
    number = default if given is None else integer_text(given)
    if number is None or not 1 <= number <= most:
        raise InvalidRequest(f"{name} must be a whole number from 1 to {most}", param=name)
    return number


def _by_day(query: Query) -> bool:
    given = _one(query, "granularity")
    if given not in {None, "day"}:
        raise InvalidRequest("granularity can be day, or left out for one record a call", param="granularity")
    return given is not None
