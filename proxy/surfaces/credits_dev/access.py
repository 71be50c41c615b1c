"""Whose account a request means, and whether it may: an account's key its own, an administrator any. What is not theirs is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.accounts.administrators import READ, Administrator
from proxy.core.errors import InvalidRequest, NotFound
from proxy.sql.database import text
from proxy.surfaces.fields import identifier, integer_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.sql.database import Database, Row
    from proxy.surfaces.vendor import Query

MOST_ROWS = 100
_DEFAULT_ROWS = 50
_FURTHEST = 2**62


class Access:
    """Accounts as requests name them. Rows are those of the query `external_account`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def named(self, query: Query, members: Mapping[str, Any], right: str = READ) -> Row:
        """The account that `accountId` or `externalId` says. Raises NotFound, InvalidRequest where an administrator says none."""
        row = await self.maybe_named(query, members, right)
        if row is None:
            raise InvalidRequest("accountId or externalId is required", param="accountId")
        return row

    async def maybe_named(self, query: Query, members: Mapping[str, Any], right: str = READ) -> Row | None:
        """The same; an account's key that names none means its own, an administrator who names none gets None."""
        account_id, external_id = identifier(members, "accountId"), identifier(members, "externalId")
        own = None
        if isinstance(query.who, Administrator):
            query.who.require(right)
            if account_id is None and external_id is None:
                return None
        else:
            own = query.who.account_id
            if account_id is None and external_id is None:
                account_id = own
        row = await self._find(account_id, external_id)
        if row is None or (own is not None and row["id"] != own):
            raise NotFound("There is no such account.", code="account_not_found")
        return row

    async def _find(self, account_id: str | None, external_id: str | None) -> Row | None:
        if account_id is None:
            return await self._database.fetch_one("external_account_by_external_id", external_id=external_id)
        row = await self._database.fetch_one("external_account", id=account_id)
        return None if row is not None and external_id not in {None, row["external_id"]} else row


def said(query: Query) -> dict[str, str | None]:
    """The account that the query of a request names, as a body would."""
    return {name: query.param(name) for name in ("accountId", "externalId")}


def account_id_of(row: Row) -> str:
    """The id of an account's row."""
    return text(row, "id")


def page_of(query: Query) -> tuple[int, int]:
    """`limit` (1 to 100) and `offset` of a list. Raises InvalidRequest."""
    return _number(query, "limit", 1, MOST_ROWS, _DEFAULT_ROWS), _number(query, "offset", 0, _FURTHEST, 0)


def flag(query: Query, name: str) -> bool:
    """A member of the query that is true or false, false where absent. Raises InvalidRequest."""
    value = query.param(name)
    if value not in {None, "true", "false"}:
        raise InvalidRequest(f"{name} must be true or false", param=name)
    return value == "true"


def _number(query: Query, name: str, least: int, most: int, default: int) -> int:
    said_text = query.param(name)
    if said_text is None:
        return default
    number = integer_text(said_text)
    if number is None or not least <= number <= most:
        raise InvalidRequest(f"{name} must be a whole number from {least} to {most}", param=name)
    return number
