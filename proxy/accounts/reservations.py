"""Reservations: the proxy's own holds, offered to applications that meter work of their own. Amounts are microcredits.

One is a hold with a lease of five minutes and the draft of a usage record (dialect `reservation`). Confirming settles it at
what the work cost, cancelling releases it, and nobody coming back ends it free, whatever the policy for abandoned calls.
After its end it cannot be confirmed: its credits may be spent, and a charge without a hold could overdraw the account.
A row in SQL is the index by account and key; whether a hold is open is what Redis says. So a row is written before the hold and
closed after it, and what a crash leaves open is closed by the reconciliation with what Redis and the usage record say.
"""

from dataclasses import replace
from itertools import count
from typing import TypeAlias

import msgspec

from proxy.accounts.holding import HoldLedger, hold, insufficient, is_recorded
from proxy.accounts.journal import check_account, check_amount_asked, digest_of, known_account
from proxy.accounts.reservation_rows import (
    CANCELLED,
    CONFIRMED,
    GONE,
    PENDING,
    Reservation,
    ReservationOrder,
    check_order,
    confirmed_before,
    reservation_of,
    usage_of,
)
from proxy.core import records
from proxy.core.clock import Clock
from proxy.core.errors import KEY_USED, Conflict, FareboxError, NotFound, Unavailable
from proxy.core.ids import new_call_id
from proxy.core.outcomes import EXPIRED, SETTLED, Extended, Gone, HoldRequest
from proxy.core.reservations import LEASE_MS, reservation_call_id, reservation_id
from proxy.ledger.credit_scripts import OPEN, CallStanding, CreditScripts
from proxy.sql.database import Database, Params, Row, integer, text

__all__ = ["Reservation", "ReservationOrder", "Reservations"]

MAX_LISTED = 1000
_CONFIRM_LEASE_MS = 60_000
_GRACE_MS = 60_000  # the reaper's sweep comes between the end of a lease and this
_PAGE = 500
_STEPS_A_MS = 1000
_steps = count()


_Reservations: TypeAlias = list[Reservation]


class Reservations:
    """See the module's page. Methods raise Unavailable when a store is away: repeat the request."""

    def __init__(self, database: Database, ledger: HoldLedger, scripts: CreditScripts, clock: Clock) -> None:
        self._database = database
        self._ledger = ledger
        self._scripts = scripts
        self._clock = clock

    async def create(self, account_id: str, order: ReservationOrder) -> Reservation:
        """Sets credits aside for five minutes; the same key gets the same reservation.

        Raises InsufficientCredits (402), RateLimited (429), NotFound, InvalidRequest, Conflict (`idempotency_conflict`;
        `reservation_expired`: the key's reservation was never finished, and its time is over).
        """
        check_amount_asked(order.amount_microcredits)
        check_order(order)
        await check_account(self._database, account_id)
        row = await self._agreed_row(account_id, order)
        if row["status"] != PENDING:
            return await self._as_now(row)
        reservation = reservation_of(row)
        draft = self._record(reservation, records.ABANDONED, 0)
        request = HoldRequest(
            account_id, reservation.call_id, order.amount_microcredits, 0, LEASE_MS, order.limits, 0, draft
        )
        try:
            await hold(self._database, self._ledger, request)
        except Unavailable:
            raise  # it may be held: a repeat with the same key, or the end of its lease, settles that
        except Conflict as error:
            await self._close(row)
            raise Conflict("The time of this reservation is over.", code="reservation_expired") from error
        except FareboxError:
            await self._database.execute("drop_reservation", id=reservation.id)
            raise
        expires_at = self._clock.now_ms() + LEASE_MS
        if await self._database.execute("open_reservation", id=reservation.id, expires_at=expires_at) == 0:
            found = await self._database.fetch_one("reservation_by_id", id=reservation.id)
            if found is None:  # a request with the same key was refused a moment ago, and took the row away
                await self._ledger.release(account_id, reservation.call_id, draft)
                raise Unavailable("Another request with this key was just refused. Try again.")
            return await self._as_now(found)
        return replace(reservation, expires_at=expires_at)

    async def confirm(
        self, reservation_id_: str, actual_microcredits: int, *, account_id: str | None = None
    ) -> Reservation:
        """Charges what the work cost, and ends the hold; the same amount again is answered the same.

        More than was reserved is charged only where the balance covers it (else InsufficientCredits, and the reservation
        stays open). Raises NotFound (unknown, or not of `account_id`), Conflict (`reservation_expired`,
        `reservation_cancelled`, `reservation_confirmed`: with another amount), InvalidRequest.
        """
        check_amount_asked(actual_microcredits, lowest=0)
        found = await self.get(reservation_id_, account_id=account_id)
        if found.status != PENDING:
            return confirmed_before(found, actual_microcredits)
        extended = await self._extended(found, max(actual_microcredits, found.amount_microcredits))
        if not isinstance(extended, Extended):
            return confirmed_before(await self.get(reservation_id_), actual_microcredits)
        if actual_microcredits > extended.amount_microcredits:
            balance = await self._available(found.account_id)
            raise insufficient("balance", actual_microcredits, extended.amount_microcredits + balance)
        record = self._record(found, records.COMPLETED, actual_microcredits)
        ended = await self._ledger.settle(found.account_id, found.call_id, actual_microcredits, 0, record)
        if ended.state != SETTLED:
            return confirmed_before(await self.get(reservation_id_), actual_microcredits)
        await self._database.execute(
            "end_reservation", id=found.id, status=CONFIRMED, actual_microcredits=ended.charge_microcredits
        )
        return confirmed_before(
            replace(found, status=CONFIRMED, actual_microcredits=ended.charge_microcredits), actual_microcredits
        )

    async def cancel(self, reservation_id_: str, *, account_id: str | None = None) -> Reservation:
        """Gives the credits back; one that is cancelled or has expired stays so.

        Raises NotFound, Conflict (`reservation_confirmed`).
        """
        found = await self.get(reservation_id_, account_id=account_id)
        if found.status == PENDING:
            record = self._record(found, records.CLIENT_LEFT, 0)
            await self._ledger.release(found.account_id, found.call_id, record)
            await self._close(await self._row(reservation_id_))
            found = await self.get(reservation_id_)
        if found.status == CONFIRMED:
            raise Conflict("This reservation was confirmed; a refund returns its charge.", code="reservation_confirmed")
        return found

    async def get(self, reservation_id_: str, *, account_id: str | None = None) -> Reservation:
        """One reservation as it is now. Raises NotFound (unknown, or not of `account_id`)."""
        row = await self._row(reservation_id_)
        if account_id is not None and row["account_id"] != account_id:
            raise NotFound("There is no such reservation.", code="reservation_not_found")
        return await self._as_now(row)

    async def list(
        self,
        account_id: str,
        *,
        active_only: bool = False,
        limit: int = 100,
        before: Reservation | None = None,
    ) -> _Reservations:
        """Newest first, at most `limit` (1000); `before` is the last one of the page before. Active: its hold is open.

        A page of active ones may be shorter than `limit` although more follow: those that just ended are left out.
        """
        await known_account(self._database, account_id)
        rows = await self._database.fetch(
            "list_open_reservations" if active_only else "list_reservations",
            account_id=account_id,
            before_created_at=before.created_at if before else 2**62,
            before_id=before.id if before else "",
            row_limit=max(0, min(limit, MAX_LISTED)),
        )
        open_rows = [row for row in rows if row["status"] == "open"]
        standings = await self._scripts.standing(account_id, [text(row, "call_id") for row in open_rows])
        by_id = {text(row, "id"): found for row, found in zip(open_rows, standings, strict=True)}
        found = [await self._judged(row, by_id.get(text(row, "id"))) for row in rows]
        return [one for one in found if not active_only or one.status == PENDING]

    async def sweep(self) -> int:
        """Closes the rows of reservations whose time is over and whose end nobody noted; how many that were."""
        closed, after_at, after_id = 0, -1, ""
        while True:
            page = await self._database.fetch(
                "unended_reservations",
                ended_by=self._clock.now_ms() - _GRACE_MS,
                after_expires_at=after_at,
                after_id=after_id,
                row_limit=_PAGE,
            )
            for row in page:
                closed += await self._close(row)
            if len(page) < _PAGE:
                return closed
            after_at, after_id = integer(page[-1], "expires_at"), text(page[-1], "id")

    async def _row(self, reservation_id_: str) -> Row:
        row = await self._database.fetch_one("reservation_by_id", id=reservation_id_)
        if row is None:
            raise NotFound("There is no such reservation.", code="reservation_not_found")
        return row

    async def _agreed_row(self, account_id: str, order: ReservationOrder) -> Row:
        call_id, now_ms = reservation_call_id(new_call_id()), self._clock.now_ms()
        wanted: Params = {
            "id": reservation_id(call_id),
            "account_id": account_id,
            "call_id": call_id,
            # Without a key every request is another one.
            "idempotency_key": f"none:{call_id}" if order.idempotency_key is None else f"key:{order.idempotency_key}",
            "digest": digest_of(account_id, order.amount_microcredits, order.operation, order.model, order.metadata),
            "amount_microcredits": order.amount_microcredits,
            "key_id": order.key_id,
            "operation": order.operation,
            "model": order.model,
            "metadata": order.metadata,
            "created_at": now_ms,
            "expires_at": now_ms + LEASE_MS,
        }
        await self._database.execute("insert_reservation", **wanted)
        row = await self._database.fetch_one(
            "reservation_by_key", account_id=account_id, idempotency_key=wanted["idempotency_key"]
        )
        if row is None:
            raise Unavailable("Another request with this key was just refused. Try again.")
        if row["digest"] != wanted["digest"]:
            raise Conflict(KEY_USED, code="idempotency_conflict")
        return row

    async def _as_now(self, row: Row) -> Reservation:
        """A row with what Redis says of its hold."""
        if row["status"] != "open":
            return reservation_of(row)
        standing = await self._scripts.standing(text(row, "account_id"), [text(row, "call_id")])
        return await self._judged(row, standing[0])

    async def _judged(self, row: Row, standing: CallStanding | None) -> Reservation:
        """A row whose hold is as `standing` says; what Redis no longer knows is looked up among the usage records."""
        found = reservation_of(row)
        if row["status"] not in {"pending", "open"} or (standing is not None and standing.state == OPEN):
            return found
        if standing is not None and standing.state == SETTLED:
            return replace(found, status=CONFIRMED, actual_microcredits=standing.figure_microcredits)
        if standing is not None:
            return replace(found, status=GONE if standing.state == EXPIRED else CANCELLED)
        record = await self._database.fetch_one("usage_record", call_id=found.call_id)
        if record is not None and record["outcome"] == records.COMPLETED:
            charge = integer(record, "charge_microcredits")
            return replace(found, status=CONFIRMED, actual_microcredits=charge)
        cancelled = record is not None and record["outcome"] == records.CLIENT_LEFT
        return replace(found, status=CANCELLED if cancelled else GONE)

    async def _close(self, row: Row) -> bool:
        """Notes how a reservation ended; False while its hold is open, or its end may not be in SQL yet."""
        standing = await self._scripts.standing(text(row, "account_id"), [text(row, "call_id")])
        if standing[0] is not None and standing[0].state == OPEN:
            return False
        if standing[0] is None and not await is_recorded(self._database, self._scripts, row):
            return False
        found = await self._judged(row, standing[0])
        await self._database.execute(
            "end_reservation", id=found.id, status=found.status, actual_microcredits=found.actual_microcredits
        )
        return True

    def _record(self, found: Reservation, outcome: str, charge: int) -> bytes:
        return msgspec.json.encode(usage_of(found, outcome, charge, self._clock.now_ms()))

    async def _extended(self, found: Reservation, amount: int) -> Extended | Gone:
        """A new lease proves that the hold is open and keeps the reaper away until it is settled; grown where need be."""
        now_ms = self._clock.now_ms()
        return await self._ledger.extend(
            found.account_id,
            found.call_id,
            now_ms * _STEPS_A_MS + next(_steps) % _STEPS_A_MS,  # each attempt must count as a newer one
            amount,
            0,
            max(_CONFIRM_LEASE_MS, found.expires_at - now_ms),
            self._record(found, records.ABANDONED, 0),
        )

    async def _available(self, account_id: str) -> int:
        now = await self._scripts.grants(account_id)
        return max(0, now.posted_microcredits - now.held_microcredits)
