"""Transactions: an account's ledger entries, newest first, and entries made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.accounts.administrators import FINANCE
from proxy.accounts.journal import ADJUSTMENT
from proxy.core.errors import InvalidRequest
from proxy.sql.database import integer, optional_text, text
from proxy.surfaces.credits_dev.access import account_id_of, page_of, said
from proxy.surfaces.credits_dev.accounts import notes_of
from proxy.surfaces.credits_dev.dates import dates_of
from proxy.surfaces.fields import microcredits, read_object
from proxy.surfaces.numbers import credits_number, instant
from proxy.tasks import in_turns

if TYPE_CHECKING:
    from proxy.core.records import LedgerEntry
    from proxy.sql.database import Row, Value
    from proxy.surfaces.credits_dev.access import Access
    from proxy.surfaces.credits_dev.accounts import Accounts
    from proxy.surfaces.house import House
    from proxy.surfaces.once import Once, Work
    from proxy.surfaces.vendor import Query

_SIGNS = {"credit": 1, "debit": -1}


class Transactions:
    """Handlers under /v1/transactions."""

    def __init__(self, house: House, access: Access, accounts: Accounts, once: Once) -> None:
        self._house = house
        self._access = access
        self._accounts = accounts
        self._once = once

    async def list(self, query: Query) -> object:
        """GET /v1/transactions; of all accounts where an administrator names none."""
        limit, offset = page_of(query)
        from_at, to_at = dates_of(query)
        account = await self._access.maybe_named(query, said(query))
        where: dict[str, Value] = {"from_at": from_at, "to_at": to_at}
        name = "all_transactions"
        if account is not None:
            where["account_id"] = account_id_of(account)
            name = "transactions"
        database = self._house.database
        counted = await database.fetch_one(f"{name}_count", **where)
        total = 0 if counted is None else integer(counted, "items")
        rows: list[Row] = []
        if offset < total:
            rows = await database.fetch(f"{name}_page", **where, row_limit=limit, row_offset=offset)
        pagination = {
            "limit": limit,
            "offset": offset,
            "totalCount": total,
            "hasMore": offset + len(rows) < total,
        }
        return {"items": await in_turns(_shown(row) for row in rows), "pagination": pagination}

    async def create(self, query: Query) -> object:
        """POST /v1/transactions/create: an adjustment of either sign; a debit never of more than is available."""
        query.administrator(FINANCE)

        async def prepare() -> Work:
            amount, kind = microcredits(query.body, "amount"), query.body.get("type")
            if not isinstance(kind, str) or kind not in _SIGNS:
                raise InvalidRequest("type must be credit or debit", param="type")
            account_id = account_id_of(await self._access.named(query, query.body, FINANCE))

            async def work(operation_id: str) -> object:
                signed = _SIGNS[kind] * amount
                entry = await self._accounts.credit(query, account_id, signed, ADJUSTMENT, operation_id)
                return {"success": True, "transaction": _made(entry, notes_of(query.body))}

            return work

        return await self._once.answer(query, "/v1/transactions/create", prepare)


def _made(entry: LedgerEntry, note: str) -> object:
    return _transaction(
        f"txn_{entry.account_id.removeprefix('acct_')}_{entry.seq}",
        entry.account_id,
        entry.amount_microcredits,
        {
            "description": entry.reason or entry.kind,
            "balanceAfter": credits_number(entry.after_microcredits),
            "metadata": read_object(note.encode()),
            "createdAt": instant(entry.at),
        },
    )


def _shown(row: Row) -> object:
    metadata = read_object((optional_text(row, "note") or "{}").encode())
    if row["call_id"] is not None:
        metadata["callId"] = row["call_id"]
    account_id = text(row, "account_id")
    identifier = f"txn_{account_id.removeprefix('acct_')}_{integer(row, 'seq')}"
    if row["kind"] == "charge" and row["call_id"] is not None:
        identifier = charge_id(text(row, "call_id"))
    return _transaction(
        identifier,
        account_id,
        integer(row, "amount_microcredits"),
        {
            "description": text(row, "reason") or text(row, "kind"),
            "balanceAfter": credits_number(integer(row, "after_microcredits")),
            "metadata": metadata,
            "createdAt": instant(integer(row, "at")),
        },
    )


def charge_id(call_id: str) -> str:
    """The id of the transaction that charged a call."""
    return f"txn_{call_id.replace('-', '')}"


def _transaction(identifier: str, account_id: str, amount_microcredits: int, more: dict[str, object]) -> object:
    return {
        "id": identifier,
        "accountId": account_id,
        "type": "debit" if amount_microcredits < 0 else "credit",
        "amount": credits_number(abs(amount_microcredits)),
        **more,
    }
