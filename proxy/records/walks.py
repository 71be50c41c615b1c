"""Usage records and ledger entries by filters: all of them oldest first for exports, an account's newest first for people.

Read a page at a time, each page by the place where the one before ended: memory does not grow, and what is recorded meanwhile
neither repeats nor drops a row. Instants are Unix milliseconds, from `from_at` (included) to `to_at` (not).
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from proxy.core.records import LedgerEntry, UsageRecord
from proxy.records.queries import MAX_PAGE, usage_record
from proxy.sql.database import Database, Row, integer, text

FOREVER_MS = 2**62
_ABOVE_ALL = "~"  # above every id


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows; None lets all pass. Of entries, model, provider, key and outcome are those of their call; `kind` is theirs alone."""

    account_id: str | None = None
    from_at: int = 0
    to_at: int = FOREVER_MS
    model: str | None = None
    provider: str | None = None
    key_id: str | None = None
    outcome: str | None = None
    kind: str | None = None


async def usage_pages(database: Database, wanted: Wanted) -> AsyncIterator[list[UsageRecord]]:
    """All records that fit, oldest first, in pages of at most 1000."""
    query = "export_usage" if wanted.account_id is None else "export_usage_of_account"
    owner = {} if wanted.account_id is None else {"account_id": wanted.account_id}
    from_at, last_id = wanted.from_at, ""
    while True:
        rows = await database.fetch(
            query,
            **owner,
            **_of_calls(wanted),
            from_at=from_at,
            last_id=last_id,
            to_at=wanted.to_at,
            row_limit=MAX_PAGE,
        )
        if rows:
            yield [usage_record(row) for row in rows]
            from_at, last_id = integer(rows[-1], "at"), text(rows[-1], "call_id")
        if len(rows) < MAX_PAGE:
            return


async def entry_pages(database: Database, wanted: Wanted) -> AsyncIterator[list[LedgerEntry]]:
    """All entries that fit, oldest first (an account's by number), in pages of at most 1000."""
    of_account = wanted.account_id is not None
    from_at, last_id, last_seq = wanted.from_at, "", 0
    while True:
        where = {"account_id": wanted.account_id} if of_account else {"last_id": last_id}
        rows = await database.fetch(
            "export_entries_of_account" if of_account else "export_entries",
            **where,
            **_of_entries(wanted),
            from_at=from_at,
            last_seq=last_seq,
            to_at=wanted.to_at,
            row_limit=MAX_PAGE,
        )
        if rows:
            yield [_entry(row) for row in rows]
            last_seq = integer(rows[-1], "seq")
            if not of_account:
                from_at, last_id = integer(rows[-1], "at"), text(rows[-1], "account_id")
        if len(rows) < MAX_PAGE:
            return


async def newest_usage_found(database: Database, wanted: Wanted, limit: int) -> AsyncIterator[UsageRecord]:
    """An account's records that fit, newest first, at most `limit`."""
    to_at, last_id = wanted.to_at - 1, _ABOVE_ALL
    while limit > 0:
        rows = await database.fetch(
            "newest_usage_found",
            **_of_calls(wanted),
            account_id=wanted.account_id,
            from_at=wanted.from_at,
            to_at=to_at,
            last_id=last_id,
            row_limit=min(limit, MAX_PAGE),
        )
        for row in rows:
            yield usage_record(row)
        if len(rows) < MAX_PAGE:
            return
        limit -= len(rows)
        to_at, last_id = integer(rows[-1], "at"), text(rows[-1], "call_id")


async def newest_entries_found(database: Database, wanted: Wanted, limit: int) -> AsyncIterator[LedgerEntry]:
    """An account's entries that fit, newest first, at most `limit`; those of the last moments may still be in the stream."""
    last_seq = FOREVER_MS
    while limit > 0:
        rows = await database.fetch(
            "newest_entries_found",
            **_of_entries(wanted),
            account_id=wanted.account_id,
            from_at=wanted.from_at,
            to_at=wanted.to_at - 1,
            last_seq=last_seq,
            row_limit=min(limit, MAX_PAGE),
        )
        for row in rows:
            yield _entry(row)
        if len(rows) < MAX_PAGE:
            return
        limit -= len(rows)
        last_seq = integer(rows[-1], "seq")


def _of_calls(wanted: Wanted) -> dict[str, str | None]:
    return {
        "model": wanted.model,
        "provider": wanted.provider,
        "key_id": wanted.key_id,
        "outcome": wanted.outcome,
    }


def _of_entries(wanted: Wanted) -> dict[str, str | int | None]:
    of_calls = _of_calls(wanted)
    return {**of_calls, "kind": wanted.kind, "of_calls": int(any(value is not None for value in of_calls.values()))}


def _entry(row: Row) -> LedgerEntry:
    return LedgerEntry(**row)  # type: ignore[arg-type]  # the columns are the fields
