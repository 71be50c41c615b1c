"""Grants: credits with an expiry and a priority, which burn before bought ones (proxy/core/grants.py has the rules).

A grant is a row in SQL, an entry in the ledger, and for as long as anything is left of it a part of what Redis keeps beside
the account's balance. Its end (expiry, or revocation before it) is an operation of its own, made by the sweep in the reaper
role: pending in SQL, then the ledger, then applied. What open holds need at that moment leaves by a further one, later.
What is shown to remain is what Redis says at that instant.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from proxy.accounts.journal import (
    EXPIRY,
    GRANT,
    OWN_KEYS,
    Journal,
    Wanted,
    check_amount_asked,
    check_words,
    digest_of,
    known_account,
)
from proxy.accounts.operations import APPLIED, entry_of
from proxy.core.errors import InvalidRequest, NotFound, Unavailable
from proxy.core.grants import DEFAULT_PRIORITY, MAX_PRIORITY
from proxy.core.ids import new_id
from proxy.core.money import MAX_AMOUNT
from proxy.core.records import LedgerEntry
from proxy.sql.database import Row, Step, integer, optional_integer, text
from proxy.tasks import in_turns

log = logging.getLogger("farebox.grants")

MAX_LISTED = 1000
_PAGE = 200
LIVE, USED, EXPIRED, REVOKED = "live", "used", "expired", "revoked"


@dataclass(frozen=True, slots=True)
class GrantOrder:
    """What is asked for. `expires_at` in Unix milliseconds, None for never; a lower `priority` burns first among equals."""

    amount_microcredits: int
    idempotency_key: str
    expires_at: int | None = None
    priority: int = DEFAULT_PRIORITY
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant as it stands. `status` is pending, live, used, expired, revoked or refused; instants in Unix milliseconds."""

    id: str
    account_id: str
    amount_microcredits: int
    remaining_microcredits: int
    expired_microcredits: int
    priority: int
    expires_at: int | None
    ends_at: int | None
    created_at: int
    status: str
    operation_id: str
    actor: str
    reason: str
    idempotency_key: str


# Inside the class `list` is the method.
_Grants: TypeAlias = list[Grant]
_Rows: TypeAlias = list[Row]


class Grants:
    """See the module's page. Methods raise Unavailable when a store is away: repeat with the same key."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._database = journal.database

    async def give(self, account_id: str, order: GrantOrder) -> tuple[LedgerEntry, Grant]:
        """The ledger entry of this grant, the same at every repeat, and the grant as it is now.

        Raises NotFound (`account_not_found`), InvalidRequest (amount, expires_at, priority, key), Conflict
        (`too_many_grants`: 100 live ones; `idempotency_conflict`).
        """
        check_amount_asked(order.amount_microcredits)
        check_words(order.idempotency_key, order.actor, order.reason)
        check_priority(order.priority)
        if await self._journal.row(account_id, order.idempotency_key) is None:
            check_later(order.expires_at, self._journal.clock.now_ms(), "expires_at")
        wanted, grant = grant_wanted(account_id, order)
        operation_id = new_id("op")
        step: Step = (
            "insert_grant",
            [{**grant, "operation_id": operation_id, "created_at": self._journal.clock.now_ms()}],
        )
        row = await self._journal.finish(await self._journal.agree(wanted, step, operation_id=operation_id))
        return entry_of(row), await self.grant(text(row, "grant_id"))

    async def list(self, account_id: str, *, limit: int = 100, before: Grant | None = None) -> _Grants:
        """Newest first, at most `limit` (1000); `before` is the last one of the page before. Raises NotFound."""
        await known_account(self._database, account_id)
        rows = await self._database.fetch(
            "list_grants",
            account_id=account_id,
            before_created_at=before.created_at if before else 2**62,
            before_id=before.id if before else "",
            row_limit=max(0, min(limit, MAX_LISTED)),
        )
        return await self._as_now(account_id, rows)

    async def grant(self, grant_id: str) -> Grant:
        """One grant by its id. Raises NotFound (`grant_not_found`)."""
        row = await self._database.fetch_one("grant_by_id", id=grant_id)
        if row is None:
            raise NotFound(f"There is no grant {grant_id[:200]!r}.", code="grant_not_found")
        return (await self._as_now(text(row, "account_id"), [row]))[0]

    async def remaining(self, account_id: str) -> int:
        """Microcredits that are left of all the account's grants at this instant: one round trip to Redis. Raises NotFound."""
        return sum((await self._journal.scripts.grants(account_id)).remaining.values())

    async def revoke(self, grant_id: str) -> Grant:
        """Takes what is left of a grant, as its expiry would; what open holds need is taken by the next sweeps.

        Revoking one that has ended changes nothing. Raises NotFound (`grant_not_found`).
        """
        grant = await self.grant(grant_id)
        await self._database.execute("revoke_grant", id=grant_id, now_ms=self._journal.clock.now_ms())
        await self._end_due(grant.account_id)
        return await self.grant(grant_id)

    async def sweep(self) -> int:
        """Ends every grant whose time is over; how many entries that made. An account that cannot be served now is left."""
        made, after_at, after_id, seen = 0, -1, "", set[str]()
        while True:
            page = await self._database.fetch(
                "due_grants",
                now_ms=self._journal.clock.now_ms(),
                after_ends_at=after_at,
                after_id=after_id,
                row_limit=_PAGE,
            )
            for account_id in dict.fromkeys(text(row, "account_id") for row in page):
                if account_id in seen:
                    continue
                seen.add(account_id)
                try:
                    made += await self._end_due(account_id)
                except Unavailable as error:
                    log.warning("grants of %s are not ended now: %s", account_id, error.message)
            if len(page) < _PAGE:
                return made
            after_at, after_id = integer(page[-1], "ends_at"), text(page[-1], "id")

    async def _end_due(self, account_id: str) -> int:
        """Ends the account's grants whose time is over, in the order in which they burn; how many entries that made."""
        now_ms, made = self._journal.clock.now_ms(), 0
        for row in await self._refresh(account_id):
            ends_at = optional_integer(row, "ends_at")
            if ends_at is not None and ends_at <= now_ms:
                made += await self._end(row)
        if made:
            await self._refresh(account_id)
        return made

    async def _end(self, grant: Row) -> bool:
        """One expiry of a grant: the one that was begun and not finished, else a new one."""
        account_id, grant_id = text(grant, "account_id"), text(grant, "id")
        known = await self._database.fetch_one("expiries_of_grant", grant_id=grant_id)
        assert known is not None  # an aggregate always has a row
        number = integer(known, "begun") - (1 if integer(known, "pending") else 0)
        wanted = Wanted(
            account_id,
            f"{OWN_KEYS}expiry:{grant_id}:{number}",
            EXPIRY,
            0,
            digest_of(account_id, EXPIRY, grant_id, number),
            "farebox",
            "grant expired" if grant["ends_at"] == grant["expires_at"] else "grant revoked",
            grant_id=grant_id,
        )
        row = await self._journal.finish(await self._journal.agree(wanted))
        return row["status"] == APPLIED

    async def _refresh(self, account_id: str) -> _Rows:
        """Brings SQL's rows up to what Redis says; the account's grants that are still live, in the order they burn."""
        rows = await self._database.fetch(
            "live_grants", account_id=account_id
        )  # before Redis: a new one may come between
        if not rows:
            return []
        now = await self._journal.scripts.grants(account_id)
        steps: Step = (
            "note_grant",
            [
                {
                    "id": row["id"],
                    "remaining_microcredits": now.remaining.get(text(row, "id"), 0),
                    "status": LIVE if now.remaining.get(text(row, "id")) else "ended",
                }
                for row in rows
                if now.remaining.get(text(row, "id"), 0) != row["remaining_microcredits"]
                or not row["remaining_microcredits"]
            ],
        )
        if steps[1]:
            await self._database.transaction(steps)
        by_id = {text(row, "id"): row for row in rows}
        return [by_id[one.id] for one in now.stored if one.id in by_id and now.remaining[one.id]]

    async def _as_now(self, account_id: str, rows: Iterable[Row]) -> _Grants:
        """Rows with what remains of the live ones at this instant."""
        found = await in_turns(_grant(row) for row in rows)
        if not any(grant.status == LIVE for grant in found):
            return found
        remaining = (await self._journal.scripts.grants(account_id)).remaining
        return await in_turns(
            _ended(replace(grant, remaining_microcredits=remaining.get(grant.id, 0))) if grant.status == LIVE else grant
            for grant in found
        )


def grant_wanted(
    account_id: str, order: GrantOrder, grant_id: str | None = None
) -> tuple[Wanted, dict[str, str | int | None]]:
    """An order as an operation, and the row of its grant but for what the operation gives it."""
    grant_id = grant_id or new_id("grant")
    wanted = Wanted(
        account_id,
        order.idempotency_key,
        GRANT,
        order.amount_microcredits,
        digest_of(account_id, GRANT, order.amount_microcredits, order.expires_at, order.priority),
        order.actor,
        order.reason,
        grant_id=grant_id,
    )
    return wanted, {
        "id": grant_id,
        "account_id": account_id,
        "amount_microcredits": order.amount_microcredits,
        "priority": order.priority,
        "expires_at": order.expires_at,
    }


def check_later(instant: object, now_ms: int, param: str) -> None:
    """Raises InvalidRequest for an instant that is none or not in the future; None is one that never comes."""
    if instant is not None and (type(instant) is not int or not now_ms < instant < MAX_AMOUNT):
        raise InvalidRequest(f"{param} must be an instant in the future, in Unix milliseconds", param=param)


def check_priority(priority: object) -> None:
    """Raises InvalidRequest for a priority that cannot be."""
    if type(priority) is not int or not 0 <= priority <= MAX_PRIORITY:
        raise InvalidRequest(f"priority must be a whole number from 0 to {MAX_PRIORITY}", param="priority")


def _ended(grant: Grant) -> Grant:
    """What became of a live grant of which nothing is left."""
    if grant.remaining_microcredits:
        return grant
    if not grant.expired_microcredits:
        return replace(grant, status=USED)
    return replace(grant, status=EXPIRED if grant.ends_at == grant.expires_at else REVOKED)


def _grant(row: Row) -> Grant:
    found = Grant(
        id=text(row, "id"),
        account_id=text(row, "account_id"),
        amount_microcredits=integer(row, "amount_microcredits"),
        remaining_microcredits=integer(row, "remaining_microcredits"),
        expired_microcredits=integer(row, "expired_microcredits"),
        priority=integer(row, "priority"),
        expires_at=optional_integer(row, "expires_at"),
        ends_at=optional_integer(row, "ends_at"),
        created_at=integer(row, "created_at"),
        status=text(row, "status"),
        operation_id=text(row, "operation_id"),
        actor=text(row, "actor"),
        reason=text(row, "reason"),
        idempotency_key=text(row, "idempotency_key"),
    )
    return _ended(replace(found, remaining_microcredits=0)) if found.status == "ended" else found
