"""OpenAI's usage and costs of an organization, in its pages, buckets and results, for administrators and manager keys.

Shapes and parameters: https://platform.openai.com/docs/api-reference/usage (and the official SDKs'
`client.admin.organization.usage`). An administrator's organization is the installation; a manager key's (scope `usage:read`) is
its account. A project is an account, `api_key_id` our id of a key, a line item a model. Embeddings are the calls whose path says
so; completions are all others, so that both together are every token. Costs are what was charged, in dollars.

Buckets lie on UTC minutes, hours and days; the first is cut to `start_time`, the last to `end_time` where one is given. A
bucket without calls has no results. `page` is a cursor that only fits the query that it came from.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from proxy.accounts.administrators import READ, Administrator
from proxy.accounts.keys import MANAGER
from proxy.accounts.rows import USAGE_READ
from proxy.core.cursors import Cursors
from proxy.core.errors import InvalidRequest, NotFound
from proxy.records import sums
from proxy.sql.database import Row, integer
from proxy.surfaces.credentials import bearer
from proxy.surfaces.numbers import usd_number
from proxy.surfaces.openai_shape import refuse
from proxy.surfaces.organization_query import Asked, Kind, read_asked
from proxy.surfaces.purse import dollars
from proxy.surfaces.r9s import require_scope
from proxy.surfaces.vendor import Answer, Endpoint, Query, Vendor
from proxy.tasks import in_turns, used_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.surfaces.house import House

MOST_RESULTS = 20_000  # of one page
_BUCKET = b'{"object":"bucket","start_time":%d,"end_time":%d,"results":['
_encode = msgspec.json.Encoder(decimal_format="number").encode
_EMBEDDINGS = "embeddings"
_DIMENSIONS = {"project_id": sums.ACCOUNT, "api_key_id": sums.KEY, "model": sums.MODEL, "line_item": sums.MODEL}
_PATH = "/v1/organization"
_USAGE_BUCKETS = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 31)}
_COMMON = ("project_id", "user_id", "api_key_id")
COMPLETIONS = Kind("completions", _USAGE_BUCKETS, (*_COMMON, "model", "batch", "service_tier", "api_source"))
EMBEDDINGS = Kind("embeddings", _USAGE_BUCKETS, (*_COMMON, "model"))
COSTS = Kind("all", {"1d": (7, 180)}, (*_COMMON, "line_item", "api_source"))


def openai_organization(house: House) -> Vendor:
    """The surface."""
    api = _Organization(house)
    return Vendor(
        name="openai-organization",
        endpoints=(
            Endpoint("GET", f"{_PATH}/usage/completions", api.completions),
            Endpoint("GET", f"{_PATH}/usage/embeddings", api.embeddings),
            Endpoint("GET", f"{_PATH}/costs", api.costs),
        ),
        credential=bearer,
        refuse=refuse,
        kind=MANAGER,
        administrators=True,
    )


@dataclass(frozen=True, slots=True)
class _View:
    """Whose records are seen: of one account, or of all (""), among `accounts` where any are named."""

    account_id: str
    accounts: tuple[str, ...]


class _Organization:
    def __init__(self, house: House) -> None:
        self._house = house
        self._cursors = Cursors(house.config.keys.pepper)

    async def completions(self, query: Query) -> object:
        return await self._page(query, COMPLETIONS, _completions)

    async def embeddings(self, query: Query) -> object:
        return await self._page(query, EMBEDDINGS, _embeddings)

    async def costs(self, query: Query) -> object:
        return await self._page(query, COSTS, self._costs)

    async def _page(self, query: Query, kind: Kind, result: Callable[[Row, Asked], object]) -> Answer:
        asked = read_asked(query.params, kind, query.at_ms)
        view = await self._view(query, asked)
        name = f"{query.exchange.path} {view.account_id} {asked.signature}"
        first, end_ms = asked.start_ms // asked.width_ms, asked.end_ms
        if asked.page is not None:
            first, end_ms = (int(part) for part in self._cursors.load(name, asked.page))
        last = -(-end_ms // asked.width_ms)  # the bucket behind the last one
        until = min(last, first + asked.limit)
        rows = await self._rows(kind, asked, view, max(first * asked.width_ms, asked.start_ms), until, end_ms)
        until = _whole_buckets(rows, first, until)
        page = bytearray(b'{"object":"page","data":[')
        await in_turns(_write(page, rows, range(first, until), asked, result))
        more = until < last
        next_page = self._cursors.dump(name, [until, end_ms]) if more else None
        page += b'],"has_more":%b,"next_page":%b}' % (_encode(more), _encode(next_page))
        return Answer(200, Raw(page))

    async def _rows(  # noqa: PLR0917 - the bounds of one page
        self, kind: Kind, asked: Asked, view: _View, from_ms: int, until: int, end_ms: int
    ) -> list[Row]:
        if not asked.possible:
            return []
        summary = sums.Asked(
            from_at=from_ms,
            to_at=min(until * asked.width_ms, end_ms),
            account_id=view.account_id,
            accounts=view.accounts,
            key_ids=asked.key_ids,
            models=asked.models,
            services=(_EMBEDDINGS,) if kind is EMBEDDINGS else (),
            not_services=(_EMBEDDINGS,) if kind is COMPLETIONS else (),
            width_ms=asked.width_ms,
            by=frozenset(_DIMENSIONS[name] for name in asked.group_by if name in _DIMENSIONS),
            row_limit=MOST_RESULTS + 1,
        )
        return await sums.usage_sums(self._house.database, summary)

    async def _view(self, query: Query, asked: Asked) -> _View:
        """Raises Forbidden without the scope, NotFound for the id of another's account or key."""
        if isinstance(query.who, Administrator):
            query.who.require(READ)
            alone = asked.project_ids[0] if len(asked.project_ids) == 1 else ""
            return _View(alone, asked.project_ids)
        account_id = require_scope(query, USAGE_READ)
        if any(project != account_id for project in asked.project_ids):
            raise NotFound("There is no such project.", code="project_not_found", param="project_ids")
        for key_id in asked.key_ids:
            row = await self._house.database.fetch_one("key_by_id", id=key_id)
            if row is None or row["account_id"] != account_id:
                raise NotFound("There is no such API key.", code="key_not_found", param="api_key_ids")
        return _View(account_id, ())

    def _costs(self, row: Row, _asked: Asked) -> object:
        charge = dollars(self._house, integer(row, "charge_microcredits"))
        return {
            "object": "organization.costs.result",
            "amount": {"value": usd_number(charge), "currency": "usd"},
            "line_item": row["model"],
            "project_id": row["account_id"],
            "api_key_id": row["key_id"],
        }


def _completions(row: Row, asked: Asked) -> object:
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": integer(row, "input_tokens"),
        "output_tokens": integer(row, "output_tokens"),
        "input_cached_tokens": integer(row, "cached_tokens"),
        "num_model_requests": integer(row, "calls"),
        **_grouped(row),
        "batch": False if "batch" in asked.group_by else None,
        "service_tier": None,
    }


def _embeddings(row: Row, _asked: Asked) -> object:
    return {
        "object": "organization.usage.embeddings.result",
        "input_tokens": integer(row, "input_tokens"),
        "num_model_requests": integer(row, "calls"),
        **_grouped(row),
    }


def _grouped(row: Row) -> dict[str, object]:
    return {"project_id": row["account_id"], "user_id": None, "api_key_id": row["key_id"], "model": row["model"]}


def _write(
    page: bytearray, rows: list[Row], numbers: range, asked: Asked, result: Callable[[Row, Asked], object]
) -> Iterator[None]:
    """Adds the buckets to a page, in steps. `rows`, which come by bucket, are used up.

    As text at once: objects for 1,440 buckets and 20,000 results would be looked through as garbage, and let go of in one long step.
    """
    left = used_up(rows)
    row = next(left, None)
    for number in numbers:
        start, end = number * asked.width_ms, (number + 1) * asked.width_ms
        if asked.end_given:
            end = min(end, asked.end_ms)
        page += b"," if number > numbers.start else b""
        page += _BUCKET % (max(start, asked.start_ms) // 1000, end // 1000)
        comma = b""
        while row is not None and row["bucket"] == number:
            page += comma
            page += _encode(result(row, asked))
            comma, row = b",", next(left, None)
            yield
        page += b"]}"
        yield


def _whole_buckets(rows: list[Row], first: int, until: int) -> int:
    """Where the page ends when there are too many results for one: before the bucket that was cut, which is taken out."""
    if len(rows) <= MOST_RESULTS:
        return until
    cut = integer(rows[-1], "bucket")
    if cut == first:
        raise InvalidRequest("A bucket has too many groups; group by less or filter.", param="group_by")
    del rows[bisect_left(rows, cut, key=lambda row: integer(row, "bucket")) :]
    return cut
