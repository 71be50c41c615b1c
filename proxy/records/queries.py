"""Reading the rows back: usage records, ledger entries and balances, newest first, always bounded."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from proxy.core.errors import NotFound
from proxy.core.money import format_credits
from proxy.core.outcomes import Balance
from proxy.core.records import LedgerEntry, UsageRecord
from proxy.sql.database import Database, Row, integer, text

MAX_PAGE = 1000
_LATEST = 2**62
_OF_SQL_ALONE = frozenset({"revision", "cached_tokens"})  # columns of usage_records that say what others say


class BalanceLedger(Protocol):
    """The part of the ledger that knows balances; see `proxy.ledger.ledger.Ledger`."""

    async def balance(self, account_id: str) -> Balance | None:
        """The account at one instant, None where it is unknown."""
        ...


@dataclass(frozen=True, slots=True)
class BalanceView:
    """A balance as people and programs are shown it; microcredits, `credits` as an exact decimal of credits."""

    credits: str
    microcredits: int
    held: int
    available: int


async def find_account_id(database: Database, reference: str) -> str:
    """The id of an account given by id or name. Raises NotFound."""
    row = await database.fetch_one("account_by_id", id=reference)
    row = row or await database.fetch_one("account_by_name", name=reference)
    if row is None:
        raise NotFound(f"There is no account {reference[:200]!r}.", code="account_not_found")
    return text(row, "id")


async def balance_of(database: Database, ledger: BalanceLedger, reference: str) -> BalanceView:
    """The balance of an account given by id or name; zero for one that the ledger never met. Raises NotFound."""
    balance = await ledger.balance(await find_account_id(database, reference))
    if balance is None:
        return BalanceView("0", 0, 0, 0)
    posted, held = balance.posted_microcredits, balance.held_microcredits
    return BalanceView(format_credits(posted), posted, held, balance.available_microcredits)


async def newest_usage(database: Database, account_id: str, limit: int) -> AsyncIterator[UsageRecord]:
    """An account's usage records, newest first, at most `limit`; read in pages, so `limit` may be large."""
    before_at, before_call_id = _LATEST, ""
    while limit > 0:
        rows = await database.fetch(
            "newest_usage_records",
            account_id=account_id,
            before_at=before_at,
            before_call_id=before_call_id,
            row_limit=min(limit, MAX_PAGE),
        )
        for row in rows:
            yield usage_record(row)
        if len(rows) < MAX_PAGE:
            return
        limit -= len(rows)
        before_at, before_call_id = integer(rows[-1], "at"), text(rows[-1], "call_id")


async def newest_entries(database: Database, account_id: str, limit: int) -> AsyncIterator[LedgerEntry]:
    """An account's ledger entries, newest first, at most `limit`; those of the last moments may still be in the stream."""
    before_seq = _LATEST
    while limit > 0:
        rows = await database.fetch(
            "newest_ledger_entries", account_id=account_id, before_seq=before_seq, row_limit=min(limit, MAX_PAGE)
        )
        for row in rows:
            yield LedgerEntry(**row)  # type: ignore[arg-type]  # the columns are the fields
        if len(rows) < MAX_PAGE:
            return
        limit -= len(rows)
        before_seq = integer(rows[-1], "seq")


async def usage_of_call(database: Database, call_id: str) -> UsageRecord | None:
    """The usage record of one call, None where there is none (yet)."""
    row = await database.fetch_one("usage_record", call_id=call_id)
    return None if row is None else usage_record(row)


def usage_record(row: Row) -> UsageRecord:
    """A row of usage_records as the record that it was."""
    columns: dict[str, object] = {name: value for name, value in row.items() if name not in _OF_SQL_ALONE}
    columns["stream"] = bool(row["stream"])
    columns["usage"] = json.loads(text(row, "usage"))
    columns["tags"] = json.loads(text(row, "tags"))
    return UsageRecord(**columns)  # type: ignore[arg-type]  # the columns are the fields
