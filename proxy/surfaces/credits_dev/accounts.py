"""Accounts as the system that uses the surface knows them, and credits given to and taken from them.

An account that is made here is one like any other. Its name here need not be unique; where the directory has the name already, it
is told apart there by the external id. `balance` is posted credits, `reserved` what open holds set aside.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from proxy.accounts.administrators import FINANCE, OPERATE
from proxy.accounts.journal import ADJUSTMENT, MAX_TEXT, TOPUP
from proxy.accounts.rows import checked_name
from proxy.accounts.topups import Credit
from proxy.core.errors import Conflict, InvalidRequest
from proxy.sql.database import integer, text
from proxy.surfaces.credits_dev.access import Access, account_id_of, page_of, said
from proxy.surfaces.fields import MAX_ID, identifier, json_text, line, microcredits, read_object, write_object
from proxy.surfaces.numbers import credits_number, instant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.core.records import LedgerEntry
    from proxy.ledger.glance import Funds
    from proxy.sql.database import Row
    from proxy.surfaces.house import House
    from proxy.surfaces.once import Once, Work
    from proxy.surfaces.vendor import Query


class Accounts:
    """Handlers under /v1/accounts."""

    def __init__(self, house: House, access: Access, once: Once) -> None:
        self._house = house
        self._access = access
        self._once = once
        self._developer_id = f"dev_{house.hasher.digest(b'credits.dev developer')[:20]}"

    async def create(self, query: Query) -> object:
        """POST /v1/accounts/create."""
        administrator = query.administrator(OPERATE)

        async def prepare() -> Work:
            details = _details(query.body)

            async def make(operation_id: str) -> object:
                account_id = await self._claim(f"acct_{_short(operation_id)}", details, query.at_ms)
                await self._open(account_id, details, administrator.actor)
                row = await self._access.named(query, {"accountId": account_id})
                return {"success": True, "account": await self._shown(row)}

            return make

        return await self._once.answer(query, "/v1/accounts/create", prepare)

    async def list(self, query: Query) -> object:
        """GET /v1/accounts: newest first, a page of `limit` from `offset` on."""
        query.administrator("read")
        limit, offset = page_of(query)
        rows = await self._house.database.fetch("external_accounts_page", row_limit=limit, row_offset=offset)
        return {"accounts": await asyncio.gather(*(self._shown(row) for row in rows))}

    async def get(self, query: Query) -> object:
        """GET /v1/accounts/get."""
        return await self._shown(await self._access.named(query, said(query)))

    async def balance(self, query: Query) -> object:
        """GET /v1/accounts/balance."""
        row = await self._access.named(query, said(query))
        funds = await self._funds(row)
        return {
            "accountId": account_id_of(row),
            "externalId": row["external_id"],
            "balance": credits_number(funds.posted_microcredits),
            "reserved": credits_number(funds.held_microcredits),
            "available": credits_number(funds.available_microcredits),
        }

    async def add(self, query: Query) -> object:
        """POST /v1/accounts/credits/add: a top-up."""
        return await self._change(query, "/v1/accounts/credits/add", "added", TOPUP)

    async def deduct(self, query: Query) -> object:
        """POST /v1/accounts/credits/deduct: an adjustment, never of more than is available."""
        return await self._change(query, "/v1/accounts/credits/deduct", "deducted", ADJUSTMENT)

    async def _change(self, query: Query, path: str, word: str, kind: str) -> object:
        query.administrator(FINANCE)

        async def prepare() -> Work:
            amount = microcredits(query.body, "amount")
            row = await self._access.named(query, query.body, FINANCE)

            async def work(operation_id: str) -> object:
                signed = amount if kind == TOPUP else -amount
                entry = await self.credit(query, account_id_of(row), signed, kind, operation_id)
                return {
                    "success": True,
                    "accountId": account_id_of(row),
                    "externalId": row["external_id"],
                    "balance": credits_number(entry.after_microcredits),
                    word: credits_number(amount),
                }

            return work

        return await self._once.answer(query, path, prepare)

    async def credit(self, query: Query, account_id: str, amount: int, kind: str, operation_id: str) -> LedgerEntry:
        """One ledger entry with what the body says of it. Raises InsufficientCredits, InvalidRequest."""
        key = f"surface:{operation_id}"
        reason = line(query.body, "description", MAX_TEXT)
        note = notes_of(query.body)
        if note != "{}":
            await self._house.database.execute("keep_surface_note", idempotency_key=key, metadata=note)
        credit = Credit(amount, key, kind, query.actor, reason, covered=amount < 0)
        return await self._house.desk.topups.top_up(account_id, credit)

    async def _claim(self, account_id: str, details: Mapping[str, str | None], now_ms: int) -> str:
        """The id under which the account is made: a new one, or that of an earlier attempt that made none. Raises Conflict."""
        database, external_id = self._house.database, details["external_id"]
        row = {"account_id": account_id, **details, "created_at": now_ms}
        if await database.execute("insert_external_account", **row):
            return account_id
        if external_id is None:
            return account_id  # this very request, repeated
        before = await database.fetch_one("external_claim", external_id=external_id)
        claimed = account_id if before is None else text(before, "account_id")
        if claimed != account_id and await database.fetch_one("account_by_id", id=claimed) is not None:
            raise Conflict("There is already an account with this externalId.", code="external_id_taken")
        await database.execute("set_external_account", **{**row, "account_id": claimed})
        return claimed

    async def _open(self, account_id: str, details: Mapping[str, str | None], actor: str) -> None:
        """The account itself; a repeat finds it there."""
        directory = self._house.directory.acting_as(actor)
        name = str(details["name"])
        apart = details["external_id"] or account_id.removeprefix("acct_")
        for one in (name, f"{name[: MAX_ID - len(apart) - 3]} ({apart})"):
            try:
                await directory.create_account(one, new=account_id)
            except Conflict as error:
                if error.code == "id_taken":
                    return
                if error.code != "name_taken":
                    raise
            else:
                return
        raise Conflict("There is already an account of this name.", code="name_taken", param="name")

    async def _shown(self, row: Row) -> object:
        funds = await self._funds(row)
        created_at = instant(integer(row, "created_at"))
        return {
            "id": account_id_of(row),
            "developerId": self._developer_id,
            "externalId": row["external_id"],
            "name": row["name"],
            "email": row["email"],
            "balance": credits_number(funds.posted_microcredits),
            "metadata": read_object(text(row, "metadata").encode()),
            "createdAt": created_at,
            "updatedAt": created_at,
        }

    async def _funds(self, row: Row) -> Funds:
        return await self._house.glance.funds(account_id_of(row))


def notes_of(body: Mapping[str, object]) -> str:
    """What is kept beside a ledger entry, as JSON text: `metadata`, and `paymentMethod` among it. Raises InvalidRequest."""
    metadata = json_text(body, "metadata") or "{}"
    method = line(body, "paymentMethod", MAX_ID)
    if not method:
        return metadata
    return write_object({"paymentMethod": method, **read_object(metadata.encode())})


def _details(body: Mapping[str, object]) -> dict[str, str | None]:
    """The columns of an external account. Raises InvalidRequest."""
    name = identifier(body, "name")
    if name is None:
        raise InvalidRequest("name is required", param="name")
    return {
        "external_id": identifier(body, "externalId"),
        "name": checked_name(name),
        "email": identifier(body, "email"),
        "metadata": json_text(body, "metadata") or "{}",
    }


def _short(operation_id: str) -> str:
    return hashlib.sha256(operation_id.encode()).hexdigest()[:20]
