"""Accounts and their API keys: made, listed, changed, ended. SQL commits first, then the ledger hears of it.

Every change of what a key may do (status, limits, markup, models, a key's end) raises the account's version in the same commit
and is then announced, so that it holds on the very next paid call everywhere. Repeating a change that is already made
announces it again: that is the way out of `saved_not_announced`. Each change leaves a row in the log of changes, in the same
commit; `acting_as` says who makes it. How keys are handled is in `proxy/accounts/api_keys.py`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from proxy.accounts.api_keys import MAX_LISTED, MAX_MANAGER_KEYS, ApiKeys, check_changeable
from proxy.accounts.audit_log import STEP, Change, row_of
from proxy.accounts.rows import (
    ACTIVE,
    CLOSED,
    MAX_NAME,
    SUSPENDED,
    Account,
    ApiKey,
    KeySettings,
    NewKey,
    account_row,
    checked_markup,
    checked_name,
    checked_names,
    read_account,
)
from proxy.core.errors import Conflict, InvalidRequest
from proxy.core.ids import new_account_id
from proxy.sql.database import RowRefused

__all__ = [
    "MAX_LISTED",
    "MAX_MANAGER_KEYS",
    "MAX_NAME",
    "Account",
    "AccountSearch",
    "ApiKey",
    "Directory",
    "KeySettings",
    "NewKey",
    "checked_markup",
    "checked_name",
    "checked_names",
]

Changes = Mapping[str, object]
_CHANGEABLE = frozenset({"name", "limits", "markup_ppm", "metadata", "low_balance_microcredits"})
_ORDERS = {
    "-created_at": "search_accounts_newest",
    "created_at": "search_accounts_oldest",
    "name": "search_accounts_by_name",
    "-name": "search_accounts_by_name_down",
}
STATUSES = (ACTIVE, SUSPENDED, CLOSED)
ORDERS = tuple(_ORDERS)


@dataclass(frozen=True, slots=True)
class AccountSearch:
    """Which accounts, in which order: `text` is part of the name or the beginning of the id, taken literally."""

    text: str | None = None
    status: str | None = None
    order: str = "-created_at"


class Directory(ApiKeys):
    """All methods raise Unavailable when a store is away; a reference is an account's id or name."""

    def acting_as(self, actor: str) -> Self:
        """The same directory for somebody else: "root", "admin:<name>", "cli:<user>", "key:<id>"."""
        return type(self)(self._database, self._ledger, self._hasher, self._clock, actor)

    async def create_account(
        self,
        name: str,
        *,
        limits: Mapping[str, object] | None = None,
        markup_ppm: int | None = None,
        metadata: Mapping[str, str] | None = None,
        new: str | None = None,
    ) -> Account:
        """A new account with a balance of zero; `new` is its id where the caller has one.

        Raises InvalidRequest, Conflict (the name is taken; `id_taken`: there is an account `new` already).
        """
        now_ms = self._clock.now_ms()
        made = Account(new or new_account_id(), name, ACTIVE, 1, limits or {}, markup_ppm, now_ms, None, metadata or {})
        row = {**account_row(made), "created_at": now_ms}
        change = Change(self._actor, "account.create", made.id, None, shown_account(made))
        try:
            await self._database.transaction(("insert_account", [row]), (STEP, [row_of(change, now_ms)]))
        except RowRefused as error:
            if await self._database.fetch_one("account_by_id", id=made.id) is not None:
                raise Conflict(f"There is already an account {made.id}.", code="id_taken") from error
            raise Conflict(f"There is already an account named {name!r}.", code="name_taken", param="name") from error
        return await self._announced(made.id)

    async def accounts(self, *, limit: int = 100, after: Account | None = None) -> list[Account]:
        """Newest first, at most `limit` (1000); `after` is the last one of the page before."""
        return await self.search(AccountSearch(), limit=limit, after=after)

    async def search(self, wanted: AccountSearch, *, limit: int = 100, after: Account | None = None) -> list[Account]:
        """At most `limit` (1000) accounts that fit. Raises InvalidRequest for an order or a status that is not known."""
        if wanted.order not in _ORDERS:
            raise InvalidRequest(f"sort must be one of {', '.join(ORDERS)}", param="sort")
        if wanted.status not in {None, *STATUSES}:
            raise InvalidRequest(f"status must be one of {', '.join(STATUSES)}", param="status")
        found = None if wanted.text is None else escaped(wanted.text)
        page = {
            "status": wanted.status,
            "pattern": None if found is None else f"%{found}%",
            "id_pattern": None if found is None else f"{found}%",
            "row_limit": max(0, min(limit, MAX_LISTED)),
        }
        if wanted.order.endswith("name"):
            page["last_name"] = after.name if after else None
        else:
            page |= {"last_at": after.created_at if after else 0, "last_id": after.id if after else None}
        return [read_account(row) for row in await self._database.fetch(_ORDERS[wanted.order], **page)]

    async def suspend(self, reference: str) -> Account:
        """Every key of the account is refused (403) from now on; running calls end as they would. Raises Conflict (closed)."""
        return await self._set_status(reference, SUSPENDED, "account.suspend")

    async def resume(self, reference: str) -> Account:
        """Ends a suspension. Raises Conflict (closed)."""
        return await self._set_status(reference, ACTIVE, "account.resume")

    async def update_account(self, reference: str, changes: Changes | Callable[[Account], Changes]) -> Account:
        """Changes what is named (name, limits, markup_ppm, metadata, low_balance_microcredits); it holds from the next call on.

        `changes` may be made of the account as it stands. Nothing to change changes nothing.
        Raises NotFound, InvalidRequest, Conflict (name taken, account closed).
        """

        async def once() -> Account:
            before = self._open(await self.account(reference))
            wanted = changes(before) if callable(changes) else changes
            check_changeable(wanted, _CHANGEABLE)
            if not wanted:
                return before
            after = dataclasses.replace(before, **wanted)  # type: ignore[arg-type]  # checked by account_row
            row = account_row(after)
            if after.name != before.name and await self._database.fetch_one("account_by_name", name=after.name):
                raise Conflict(f"There is already an account named {after.name!r}.", code="name_taken", param="name")
            shown = {name: value for name, value in shown_account(after).items() if name in wanted}
            change = Change(self._actor, "account.update", before.id, shown_account(before), shown)
            await self._commit(before, change, ("update_account", [row]))
            return await self._announced(before.id)

        return await self._repeated(once)

    async def set_limits(self, reference: str, limits: Mapping[str, object] | None) -> Account:
        """Replaces the account's limits; they hold from the next call on."""
        return await self.update_account(reference, {"limits": limits or {}})

    async def set_markup(self, reference: str, markup_ppm: int | None) -> Account:
        """Replaces the account's markup (parts per million, 1,000,000 = none); None: the configured one."""
        return await self.update_account(reference, {"markup_ppm": markup_ppm})

    async def end(self, reference: str) -> Account:
        """Closes an account for ever and revokes its keys. What becomes of its balance: `proxy.accounts.closing`."""

        async def once() -> Account:
            before = await self.account(reference)
            if before.status != CLOSED:
                now_ms = self._clock.now_ms()
                change = Change(self._actor, "account.close", before.id, shown_account(before), {"status": CLOSED})
                await self._commit(
                    before,
                    change,
                    ("close_account", [{"id": before.id, "closed_at": now_ms}]),
                    ("revoke_keys_of_account", [{"account_id": before.id, "revoked_at": now_ms}]),
                )
            return await self._announced(before.id)

        return await self._repeated(once)

    async def _set_status(self, reference: str, status: str, action: str) -> Account:
        async def once() -> Account:
            before = self._open(await self.account(reference))
            if before.status != status:
                change = Change(self._actor, action, before.id, {"status": before.status}, {"status": status})
                await self._commit(before, change, ("set_account_status", [{"id": before.id, "status": status}]))
            return await self._announced(before.id)

        return await self._repeated(once)

    def _open(self, account: Account) -> Account:
        if account.status == CLOSED:
            raise Conflict("The account is closed.", code="account_closed")
        return account


def escaped(text: str) -> str:
    """A text that LIKE takes literally, where the query says ESCAPE '!'."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def shown_account(account: Account) -> dict[str, object]:
    """What the log says of an account."""
    return {
        "name": account.name,
        "status": account.status,
        "limits": dict(account.limits),
        "markup_ppm": account.markup_ppm,
        "metadata": dict(account.metadata),
        "low_balance_microcredits": account.low_balance_microcredits,
    }
