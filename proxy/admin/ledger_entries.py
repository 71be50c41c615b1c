"""/admin/v1/ledger-entries: every change of every balance, searched."""

from dataclasses import asdict

import msgspec

from proxy.accounts.administrators import READ
from proxy.admin.call import Call, Cursor, Endpoint, Limit
from proxy.admin.search_shapes import EntryFilters, wanted_of
from proxy.core.records import LedgerEntry
from proxy.records.exports import shown_entry
from proxy.records.search import ENTRIES, newest
from proxy.sql.database import Row

TAG = "Ledger"


class EntryView(msgspec.Struct, kw_only=True):
    """An immutable signed change of a balance; `seq` counts an account's entries from 1 without gaps, `credits` is the amount."""

    account_id: str
    seq: int
    time: str
    at: int
    kind: str
    amount_microcredits: int
    credits: str
    before_microcredits: int
    after_microcredits: int
    call_id: str | None
    operation_id: str | None
    actor: str
    reason: str
    idempotency_key: str | None


class EntryPage(msgspec.Struct, kw_only=True):
    """Ledger entries, newest first. A page may be short, even empty, and yet have a next one: `next_cursor` alone says so."""

    items: list[EntryView]
    next_cursor: str | None


class EntryQuery(EntryFilters, kw_only=True, forbid_unknown_fields=True):
    """A search of ledger entries."""

    limit: Limit = 100
    cursor: Cursor | None = None


async def search_ledger_entries(call: Call) -> EntryPage:
    """A page of ledger entries."""
    query: EntryQuery = call.query
    last = call.after()
    wanted = await wanted_of(call, query)
    before = None if last is None else tuple(last)
    found = await newest(call.office.database, ENTRIES, wanted, limit=query.limit, before=before)
    cursor = None if found.place is None else call.office.cursors.dump(call.list_name, found.place)
    return EntryPage(items=[entry_view(row) for row in found.rows], next_cursor=cursor)


def entry_view(entry: Row | LedgerEntry) -> EntryView:
    """A ledger entry as the API shows it."""
    row = entry if isinstance(entry, dict) else asdict(entry)
    return EntryView(**shown_entry(row))  # type: ignore[arg-type]  # the columns are the members


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/ledger-entries",
        right=READ,
        handler=search_ledger_entries,
        summary="Ledger entries by account, kind, actor, amount, time, and by what is recorded of their calls, newest first.",
        tag=TAG,
        query=EntryQuery,
        answer=EntryPage,
        refusals=((404, "account_not_found"), (404, "key_not_found"), (400, "invalid_cursor")),
    ),
)
