"""/admin/v1/usage: the usage records of all calls, searched; and one of them, with its ledger entries."""

import msgspec

from proxy.accounts.administrators import READ
from proxy.admin.call import Call, Cursor, Endpoint, Limit
from proxy.admin.ledger_entries import EntryView, entry_view
from proxy.admin.search_shapes import UsageFilters, wanted_of
from proxy.admin.shapes import members
from proxy.core.errors import NotFound
from proxy.records.exports import shown_usage
from proxy.records.search import USAGE, newest
from proxy.sql.database import Row

TAG = "Usage"
SEARCHED = ((404, "account_not_found"), (404, "key_not_found"), (400, "invalid_cursor"))
_ENTRIES_OF_CALL = 1000


class UsageView(msgspec.Struct, kw_only=True):
    """One call as it was recorded. `credits` is its charge; `cached_tokens` null in records of old versions."""

    call_id: str
    time: str
    at: int
    account_id: str
    key_id: str
    provider: str
    model: str
    dialect: str
    path: str
    status: int | None
    outcome: str
    stream: bool
    input_tokens: int
    output_tokens: int
    cached_tokens: int | None
    usage: dict[str, int]
    cost_nano_usd: int
    charge_microcredits: int
    credits: str
    hold_microcredits: int
    price_version: str
    settlement_basis: str
    attempts: int
    duration_ms: int | None
    time_to_first_byte_ms: int | None
    trace_id: str
    tags: dict[str, str]


class UsageWithEntries(UsageView, kw_only=True):
    """One call with the ledger entries that belong to it, oldest first, and what was refunded of it."""

    refunded_microcredits: int
    entries: list[EntryView]


class UsagePage(msgspec.Struct, kw_only=True):
    """Usage records, newest first. A page may be short, even empty, and yet have a next one: `next_cursor` alone says so."""

    items: list[UsageView]
    next_cursor: str | None


class UsageQuery(UsageFilters, kw_only=True, forbid_unknown_fields=True):
    """A search of usage records."""

    limit: Limit = 100
    cursor: Cursor | None = None


async def search_usage(call: Call) -> UsagePage:
    """A page of usage records."""
    query: UsageQuery = call.query
    last = call.after()
    wanted = await wanted_of(call, query)
    before = None if last is None else tuple(last)
    found = await newest(call.office.database, USAGE, wanted, limit=query.limit, before=before)
    cursor = None if found.place is None else call.office.cursors.dump(call.list_name, found.place)
    return UsagePage(items=[usage_view(row) for row in found.rows], next_cursor=cursor)


async def read_usage(call: Call) -> UsageWithEntries:
    """One call."""
    database, call_id = call.office.database, call.parts["call"]
    row = await database.fetch_one("usage_record", call_id=call_id)
    if row is None:
        raise NotFound("There is no such call, or it is not recorded yet.", code="call_not_found")
    entries = await database.fetch("admin_entries_of_call", call_id=call_id, row_limit=_ENTRIES_OF_CALL)
    shown = [entry_view(entry) for entry in reversed(entries)]
    return UsageWithEntries(
        **members(usage_view(row)),
        refunded_microcredits=sum(entry.amount_microcredits for entry in shown if entry.kind == "refund"),
        entries=shown,
    )


def usage_view(row: Row) -> UsageView:
    """A row as the API shows it."""
    return UsageView(**shown_usage(row))  # type: ignore[arg-type]  # the columns are the members


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/usage",
        right=READ,
        handler=search_usage,
        summary="Usage records by account, key, provider, model, outcome, status, basis, tag, time, charge and trace, newest first.",
        tag=TAG,
        query=UsageQuery,
        answer=UsagePage,
        refusals=SEARCHED,
    ),
    Endpoint(
        method="GET",
        path="/usage/{call}",
        right=READ,
        handler=read_usage,
        summary="One call's usage record with its ledger entries.",
        tag=TAG,
        answer=UsageWithEntries,
        refusals=((404, "call_not_found"),),
    ),
)
