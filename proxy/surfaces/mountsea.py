"""mountsea's usage and credits API: balance, services, and two searches over what an account's calls did and cost.

Paths, purposes and the request are the published ones (docs.mountsea.ai, "Usage & Credits"); so is the item of a points search.
The item of a usage search and the errors, which Nest's validation would write, are ours. A point is what one ledger entry of
a call took: `beforeCredits` - `afterCredits` = `finalAmount`, negative where credits came back; top-ups are no points.
Amounts are credits with every digit; `credits` is a whole number, floored.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxy.core.clock import MAX_INSTANT_MS
from proxy.core.errors import FareboxError, InvalidKey
from proxy.core.usage import INPUT_COUNTERS
from proxy.records.sums import STATUS, Asked, usage_sums
from proxy.sql.database import Row, Value, integer, optional_integer, optional_text, text
from proxy.surfaces.credentials import x_api_key_or_query
from proxy.surfaces.fields import MAX_ID, as_integer
from proxy.surfaces.numbers import as_uuid, credits_number, instant, whole_credits
from proxy.surfaces.services import ID_OF, NAME_OF, SERVICES
from proxy.surfaces.vendor import Answer, Endpoint, Invalid, Query, Vendor
from proxy.tasks import in_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.surfaces.house import House

LONGEST_RANGE_MS = 90 * 86_400_000
MOST_ITEMS = 100
_DEFAULT_ITEMS = 10
_HIGHEST_PAGE = 2**53
_HIGHEST_STATUS = 999
_ANY, _ONE = "any", "one"
_GOOD = "good"
_OUTCOMES = {"success": _GOOD, "failed": "bad"}
_METHOD = "POST"  # of every path that is metered; the record of a call does not say
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NO_SERVICE = "-"  # a service id that is a UUID of nothing: no call has this service
_CACHED = tuple(name for name in INPUT_COUNTERS if name.startswith("cache_read"))
_PHRASES = {400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout"}
_PHRASES |= {
    413: "Payload Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


def mountsea(house: House) -> Vendor:
    """The surface."""
    api = _Mountsea(house)
    return Vendor(
        name="mountsea",
        endpoints=(
            Endpoint("GET", "/api-user/credits", api.credits),
            Endpoint("GET", "/api-user/services", api.services),
            Endpoint("POST", "/api-user/usage/search", api.search_usage),
            Endpoint("POST", "/api-user/points/search", api.search_points),
        ),
        credential=x_api_key_or_query,
        refuse=refuse,
    )


def refuse(error: FareboxError, _call_id: str) -> Answer:
    """An error as Nest's exception filter writes it; a 400 lists everything that is wrong."""
    if isinstance(error, InvalidKey):
        return Answer(401, {"statusCode": 401, "message": "Unauthorized"})
    message: object = error.message
    if error.status == 400:
        message = error.messages if isinstance(error, Invalid) else [error.message]
    phrase = _PHRASES.get(error.status, "Error")
    return Answer(error.status, {"statusCode": error.status, "message": message, "error": phrase})


class _Mountsea:
    def __init__(self, house: House) -> None:
        self._house = house

    async def credits(self, query: Query) -> object:
        funds = await self._house.glance.funds(query.caller.account_id)
        return {"credits": whole_credits(funds.posted_microcredits)}

    async def services(self, query: Query) -> object:
        _ = query.caller
        return [{"id": ID_OF[name], "name": name} for name in SERVICES]

    async def search_usage(self, query: Query) -> object:
        search = read_search(query.body, with_status=True)
        return await self._page("surface_usage", search, query.caller.account_id, _usage_item)

    async def search_points(self, query: Query) -> object:
        search = read_search(query.body, with_status=False)
        return await self._page("surface_points", search, query.caller.account_id, _point)

    async def _page(self, query: str, search: Search, account_id: str, item: Callable[[Row], object]) -> object:
        """One page, newest first. `totalItems` is counted by the same filter, a moment before."""
        database = self._house.database
        where: dict[str, Value] = {"account_id": account_id, "from_at": search.from_at, "to_at": search.to_at}
        total = await self._count(query, search, account_id, where)
        offset = (search.page - 1) * search.limit
        rows: list[Row] = []
        if offset < total:
            rows = await database.fetch(
                f"{query}_page", **where, **search.filters, row_limit=search.limit, row_offset=offset
            )
        meta = {
            "totalItems": total,
            "itemCount": len(rows),
            "itemsPerPage": search.limit,
            "totalPages": -(-total // search.limit),
            "currentPage": search.page,
        }
        return {"items": await in_turns(item(row) for row in rows), "meta": meta}

    async def _count(self, query: str, search: Search, account_id: str, where: dict[str, Value]) -> int:
        database = self._house.database
        if "status_rule" in search.filters and not search.filters["trace_id"]:
            service = str(search.filters["service"])
            asked = Asked(
                from_at=search.from_at,
                to_at=search.to_at + 1,
                account_id=account_id,
                services=(service,) if service else (),
                by=frozenset({STATUS}),
            )
            rows = await usage_sums(database, asked)
            return sum(integer(row, "calls") for row in rows if _fits(integer(row, "status"), search.filters))
        count, filters = (f"{query}_count_filtered", search.filters) if search.filtered else (f"{query}_count", {})
        counted = await database.fetch_one(count, **where, **filters)
        return 0 if counted is None else integer(counted, "items")


def _fits(status: int, filters: Mapping[str, Value]) -> bool:
    """Whether a status is what the search's rule wants, as `surface_usage_page` has it; NO_STATUS for none."""
    rule = filters["status_rule"]
    if rule == _ONE:
        return status == filters["status"]
    good = 200 <= status < 400
    return rule == _ANY or good == (rule == _GOOD)


@dataclass(frozen=True, slots=True)
class Search:
    """A search as SQL takes it: bounds in Unix milliseconds, inclusive; `filtered` where more than the bounds decides."""

    from_at: int
    to_at: int
    page: int
    limit: int
    filters: dict[str, Value]
    filtered: bool


def read_search(body: Mapping[str, Any], *, with_status: bool) -> Search:
    """The body of a search. Raises Invalid with everything that is wrong, in the words of Nest's validation."""
    wrong: list[str] = []
    from_at, to_at = _range(body.get("dateRange"), wrong)
    page = _bounded(body, "page", 1, _HIGHEST_PAGE, wrong)
    limit = _bounded(body, "limit", _DEFAULT_ITEMS, MOST_ITEMS, wrong)
    filters: dict[str, Value] = {"service": _service(body, wrong), "trace_id": _trace(body, wrong)}
    filtered = bool(filters["service"] or filters["trace_id"])
    if with_status:
        rule, status = _status(body, wrong)
        filters |= {"status_rule": rule, "status": status}
        filtered = filtered or rule != _ANY
    if wrong:
        raise Invalid(wrong)
    return Search(from_at, to_at, page, limit, filters, filtered)


def _range(value: object, wrong: list[str]) -> tuple[int, int]:
    if value is None:
        wrong.append("dateRange should not be empty")
        return 0, 0
    if not isinstance(value, dict):
        wrong.append("dateRange must be an object")
        return 0, 0
    start, end = (_instant(value, name, wrong) for name in ("start", "end"))
    if start is not None and end is not None:
        if end < start:
            wrong.append("dateRange.end must not be less than dateRange.start")
        elif end - start > LONGEST_RANGE_MS:
            wrong.append("dateRange must not be longer than 90 days")
    return start or 0, end or 0


def _instant(members: Mapping[str, Any], name: str, wrong: list[str]) -> int | None:
    if members.get(name) is None:
        wrong.append(f"dateRange.{name} should not be empty")
        return None
    number = as_integer(members[name])
    if number is None or not 0 <= number <= MAX_INSTANT_MS:
        wrong.append(f"dateRange.{name} must be a Unix timestamp in milliseconds")
        return None
    return number


def _bounded(body: Mapping[str, Any], name: str, default: int, most: int, wrong: list[str]) -> int:
    if name not in body:
        return default
    number = as_integer(body[name])
    if number is None:
        wrong.append(f"{name} must be an integer number")
    elif number < 1:
        wrong.append(f"{name} must not be less than 1")
    elif number > most:
        wrong.append(f"{name} must not be greater than {most}")
    else:
        return number
    return default


def _service(body: Mapping[str, Any], wrong: list[str]) -> str:
    """The service's name; one that no call has for a UUID that is no service's."""
    value = body.get("serviceId")
    if value is None:
        return ""
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        wrong.append("serviceId must be a UUID")
        return ""
    return NAME_OF.get(value.lower(), _NO_SERVICE)


def _trace(body: Mapping[str, Any], wrong: list[str]) -> str:
    """The trace id as records have it: a UUID without its dashes, anything else as it is."""
    value = body.get("traceId")
    if value is None:
        return ""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_ID or not value.isprintable():
        wrong.append(f"traceId must be a string of 1 to {MAX_ID} printable characters")
        return ""
    return value.replace("-", "").lower() if _UUID.fullmatch(value) else value


def _status(body: Mapping[str, Any], wrong: list[str]) -> tuple[str, int]:
    """The rule of `surfaces.sql` and its status, of `statusCode` or `status`."""
    for name in ("statusCode", "status"):
        value = body.get(name)
        if value is None:
            continue
        if name == "status" and isinstance(value, str) and value in _OUTCOMES:
            return _OUTCOMES[value], 0
        number = as_integer(value)
        if number is None or not 0 <= number <= _HIGHEST_STATUS:
            more = ' or one of "success", "failed"' if name == "status" else ""
            wrong.append(f"{name} must be an HTTP status code{more}")
            return _ANY, 0
        return _ONE, number
    return _ANY, 0


def _usage_item(row: Row) -> dict[str, object]:
    counters = json.loads(text(row, "usage"))
    service = text(row, "service")
    return {
        "id": as_uuid(text(row, "call_id")),
        "serviceId": ID_OF[service],
        "serviceName": service,
        "apiPath": text(row, "path"),
        "apiMethod": _METHOD,
        "statusCode": optional_integer(row, "status"),
        "consumedCredits": credits_number(integer(row, "charge_microcredits")),
        "finalAmount": credits_number(integer(row, "net_microcredits")),
        "traceId": as_uuid(text(row, "trace_id")),
        "metadata": {
            "model": text(row, "model"),
            "inputTokens": integer(row, "input_tokens"),
            "outputTokens": integer(row, "output_tokens"),
            "cachedTokens": sum(counters.get(name, 0) for name in _CACHED),
            "durationMs": optional_integer(row, "duration_ms"),
            "stream": bool(row["stream"]),
            "settlementBasis": text(row, "settlement_basis"),
        },
        "createdAt": instant(integer(row, "at")),
    }


def _point(row: Row) -> dict[str, object]:
    """A ledger entry; `path` and the like are empty where its call has no usage record."""
    before, after = integer(row, "before_microcredits"), integer(row, "after_microcredits")
    return {
        "id": as_uuid(f"{text(row, 'account_id')}:{integer(row, 'seq')}"),
        "serviceName": optional_text(row, "service") or "other",
        "apiPath": optional_text(row, "path") or "",
        "apiMethod": _METHOD,
        "finalAmount": credits_number(before - after),
        "beforeCredits": credits_number(before),
        "afterCredits": credits_number(after),
        "traceId": as_uuid(optional_text(row, "trace_id") or text(row, "call_id")),
        "createdAt": instant(integer(row, "at")),
    }
