"""/admin/v1/summaries: sums of usage records by hour or day, account, key, provider, model, service, status, or the values of a tag.

Exact to the millisecond of the range. All but those by tag come from sums that the recorder keeps; by tag the records are read.
Days and hours are of UTC.
"""

import time
from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from proxy.accounts.administrators import READ
from proxy.admin.call import Call, Endpoint
from proxy.admin.search_shapes import Text, account_of
from proxy.admin.shapes import Instant, credits_of
from proxy.core.errors import InvalidRequest, Unavailable
from proxy.records.exports import time_of
from proxy.records.search import CallFilter, Wanted
from proxy.records.sums import DAY_MS, HOUR_MS, NO_STATUS, Asked, usage_sums
from proxy.records.tag_sums import DIMENSIONS, TagSums
from proxy.sql.database import Row, Value, integer

TAG = "Summaries"
MAX_GROUPS = 10_000
LONGEST_S = 30.0  # of reading records for a sum by tag
_DEFAULT_MS = 30 * DAY_MS
_WIDTHS = {"day": DAY_MS, "hour": HOUR_MS}
_OF_SUMS = frozenset({"account", "key", "provider", "model", "service", "status"})
_TAG = "tag:"


class SumView(msgspec.Struct, kw_only=True):
    """One group. What it is not grouped by is null; so is `tag` for calls that do not carry it, and `status` for those without one.

    `begins_at` and `time` are the beginning of its day or hour; `credits` is the charge.
    """

    begins_at: int | None
    time: str | None
    account_id: str | None
    key_id: str | None
    provider: str | None
    model: str | None
    service: str | None
    status: int | None
    tag: str | None
    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_nano_usd: int
    charge_microcredits: int
    credits: str


class Summary(msgspec.Struct, kw_only=True):
    """All groups of the range, by time and then by name, and their total."""

    from_at: int
    to_at: int
    items: list[SumView]
    total: SumView


class SummaryQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which calls: from `from_at` (included; 30 days before the end by default) to `to_at` (not; now by default)."""

    group_by: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=300,
                description="What to group by, separated by commas: day or hour, account, key, provider, model, service, status, "
                "tag:NAME. By tag, not by service or status.",
                examples=["day,model"],
            ),
        ]
        | None
    ) = None
    account: Text | None = None
    key: Text | None = None
    provider: Text | None = None
    model: Text | None = None
    from_at: Instant | None = None
    to_at: Instant | None = None


class _Grouping(msgspec.Struct, frozen=True):
    width_ms: int
    by: frozenset[str]
    tag: str | None


async def summarize(call: Call) -> Summary:
    """The sums."""
    query: SummaryQuery = call.query
    grouping = _grouping(query.group_by)
    to_at = call.office.clock.now_ms() + 1 if query.to_at is None else query.to_at
    from_at = max(0, to_at - _DEFAULT_MS) if query.from_at is None else query.from_at
    if from_at > to_at:
        raise InvalidRequest("from_at is after to_at", param="from_at")
    account_id = await account_of(call, query.account, query.key)
    wanted = Wanted(
        account_id=account_id,
        from_at=from_at,
        to_at=to_at,
        call=CallFilter(key_id=query.key, provider=query.provider, model=query.model),
    )
    rows = await (_by_tag(call, wanted, grouping) if grouping.tag else _from_sums(call, wanted, grouping))
    if len(rows) > MAX_GROUPS:
        raise _too_many()
    items = [_view(row, grouping.width_ms) for row in rows]
    return Summary(from_at=from_at, to_at=to_at, items=items, total=_total(items))


async def _from_sums(call: Call, wanted: Wanted, grouping: _Grouping) -> list[Row]:
    asked = Asked(
        from_at=wanted.from_at,
        to_at=wanted.to_at,
        account_id=wanted.account_id or "",
        key_ids=_some(wanted.call.key_id),
        providers=_some(wanted.call.provider),
        models=_some(wanted.call.model),
        width_ms=grouping.width_ms,
        by=grouping.by,
        row_limit=MAX_GROUPS + 1,
    )
    return await usage_sums(call.office.database, asked)


async def _by_tag(call: Call, wanted: Wanted, grouping: _Grouping) -> list[Row]:
    sums = TagSums(grouping.tag or "", wanted, grouping.by, grouping.width_ms)
    ends_at = time.monotonic() + LONGEST_S
    async for groups in sums.read(call.office.database):
        if groups > MAX_GROUPS:
            raise _too_many()
        if time.monotonic() > ends_at:
            raise Unavailable(
                "These are too many records to sum by tag. Ask for a shorter time.", code="query_too_long"
            )
        if call.request.transport is None:  # nobody waits for it any more
            break
    names = ("bucket", "account_id", "key_id", "provider", "model", "tag")
    ordered = sorted(sums.found.items(), key=lambda one: [("" if part is None else part) for part in one[0][1:]])
    ordered.sort(key=lambda one: one[0][0] or 0)
    return [{**dict(zip(names, group, strict=True)), "service": None, "status": None, **of} for group, of in ordered]


def _grouping(said: str | None) -> _Grouping:
    """Raises InvalidRequest (`group_by`)."""
    names = [] if said is None else said.split(",")
    tags = [name.removeprefix(_TAG) for name in names if name.startswith(_TAG)]
    plain = frozenset(name for name in names if not name.startswith(_TAG))
    unknown = plain - _OF_SUMS - set(_WIDTHS)
    if unknown or len(tags) > 1 or "" in tags or len(plain) + len(tags) < len(names) or set(_WIDTHS) <= plain:
        raise InvalidRequest(
            "group_by names, each once: day or hour, account, key, provider, model, service, status, tag:NAME",
            param="group_by",
        )
    if tags and plain - set(DIMENSIONS) - set(_WIDTHS):
        raise InvalidRequest("by tag, usage is not summed by service or status", param="group_by")
    width_ms = next((_WIDTHS[name] for name in plain if name in _WIDTHS), 0)
    return _Grouping(width_ms, plain - set(_WIDTHS), tags[0] if tags else None)


def _view(row: Row, width_ms: int) -> SumView:
    begins_at = integer(row, "bucket") * width_ms if width_ms else None
    status = row["status"]
    named: dict[str, Value] = {name: row[name] for name in ("account_id", "key_id", "provider", "model", "service")}
    return SumView(
        begins_at=begins_at,
        time=None if begins_at is None else time_of(begins_at),
        **named,  # type: ignore[arg-type]  # texts or null
        status=None if status is None or status == NO_STATUS else integer(row, "status"),
        tag=row.get("tag"),  # type: ignore[arg-type]  # text or null
        calls=integer(row, "calls"),
        input_tokens=integer(row, "input_tokens"),
        output_tokens=integer(row, "output_tokens"),
        cached_tokens=integer(row, "cached_tokens"),
        cost_nano_usd=integer(row, "cost_nano_usd"),
        charge_microcredits=integer(row, "charge_microcredits"),
        credits=credits_of(integer(row, "charge_microcredits")),
    )


def _total(items: Iterable[SumView]) -> SumView:
    names = ("calls", "input_tokens", "output_tokens", "cached_tokens", "cost_nano_usd", "charge_microcredits")
    shown = list(items)
    sums: Row = {name: sum(getattr(item, name) for item in shown) for name in names}
    nothing = dict.fromkeys(("bucket", "account_id", "key_id", "provider", "model", "service", "status"))
    return _view({**nothing, **sums}, 0)


def _some(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)


def _too_many() -> InvalidRequest:
    message = f"These are more than {MAX_GROUPS} groups: ask for a shorter time, or group by less."
    return InvalidRequest(message, code="too_many_groups", param="group_by")


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/summaries",
        right=READ,
        handler=summarize,
        summary="Calls, tokens, cost and charge summed by day or hour, account, key, provider, model, service, status or tag.",
        tag=TAG,
        query=SummaryQuery,
        answer=Summary,
        refusals=(
            (404, "account_not_found"),
            (404, "key_not_found"),
            (400, "too_many_groups"),
            (503, "query_too_long"),
        ),
    ),
)
