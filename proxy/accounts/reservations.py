"""Reservations: the proxy's own holds, offered to applications that meter work of their own. Amounts are microcredits.

One is a hold with a lease of five minutes and the draft of a usage record (dialect `reservation`). Confirming settles it at
what the work cost, cancelling releases it, and nobody coming back ends it free, whatever the policy for abandoned calls.
After its end it cannot be confirmed: its credits may be spent, and a charge without a hold could overdraw the account.
A row in SQL is the index by account and key; whether a hold is open is what Redis says. So a row is written before the hold and
closed after it, and what a crash leaves open is closed by the reconciliation with what Redis and the usage record say.
"""

import json
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeAlias

import msgspec

from proxy.accounts.holding import HoldLedger, hold, insufficient, is_recorded
from proxy.accounts.journal import check_account, check_amount_asked, check_words, digest_of, known_account
from proxy.core import records
from proxy.core.clock import Clock
from proxy.core.errors import Conflict, FareboxError, InvalidRequest, NotFound, Unavailable
from proxy.core.ids import new_call_id
from proxy.core.limits import Limit
from proxy.core.outcomes import EXPIRED, SETTLED, Extended, Gone, HoldRequest
from proxy.core.records import UsageRecord
from proxy.core.reservations import LEASE_MS, reservation_call_id, reservation_id
from proxy.ledger.credit_scripts import OPEN, CallStanding, CreditScripts
from proxy.sql.database import Database, Params, Row, integer, optional_integer, text

PENDING, CONFIRMED, CANCELLED, GONE = "pending", "confirmed", "cancelled", "expired"
DIALECT, PATH, PROVIDER = "reservation", "/v1/reservations", "application"
MAX_LISTED = 1000
MAX_WORDS = 200
MAX_METADATA = 16_384
_CONFIRM_LEASE_MS = 60_000
_GRACE_MS = 60_000  # the reaper's sweep comes between the end of a lease and this
_PAGE = 500
_STEPS_A_MS = 1000
_steps = count()


@dataclass(frozen=True, slots=True)
class ReservationOrder:
    """What is asked for. `metadata` is JSON text; `limits` are those of the key that asks, to be met as by a call."""

    amount_microcredits: int
    operation: str = ""
    model: str = ""
    metadata: str = "{}"
    idempotency_key: str | None = None
    key_id: str = ""
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reservation as it stands: `status` is pending (open), confirmed, cancelled or expired. Unix milliseconds."""

    id: str
    account_id: str
    amount_microcredits: int
    status: str
    actual_microcredits: int | None
    operation: str
    model: str
    metadata: str
    created_at: int
    expires_at: int
    call_id: str
    key_id: str


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
        _check_words(order)
        await check_account(self._database, account_id)
        row = await self._agreed_row(account_id, order)
        if row["status"] != PENDING:
            return await self._as_now(row)
        reservation = _reservation(row)
        draft = _encode(self._record(reservation, records.ABANDONED, 0))
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
            return _confirmed_before(found, actual_microcredits)
        extended = await self._extended(found, max(actual_microcredits, found.amount_microcredits))
        if not isinstance(extended, Extended):
            return _confirmed_before(await self.get(reservation_id_), actual_microcredits)
        if actual_microcredits > extended.amount_microcredits:
            balance = await self._available(found.account_id)
            raise insufficient("balance", actual_microcredits, extended.amount_microcredits + balance)
        record = self._record(found, records.COMPLETED, actual_microcredits)
        ended = await self._ledger.settle(found.account_id, found.call_id, actual_microcredits, 0, _encode(record))
        if ended.state != SETTLED:
            return _confirmed_before(await self.get(reservation_id_), actual_microcredits)
        await self._database.execute(
            "end_reservation", id=found.id, status=CONFIRMED, actual_microcredits=ended.charge_microcredits
        )
        return _confirmed_before(
            replace(found, status=CONFIRMED, actual_microcredits=ended.charge_microcredits), actual_microcredits
        )

    async def cancel(self, reservation_id_: str, *, account_id: str | None = None) -> Reservation:
        """Gives the credits back; one that is cancelled or has expired stays so.

        Raises NotFound, Conflict (`reservation_confirmed`).
        """
        found = await self.get(reservation_id_, account_id=account_id)
        if found.status == PENDING:
            record = self._record(found, records.CLIENT_LEFT, 0)
            await self._ledger.release(found.account_id, found.call_id, _encode(record))
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
            raise Conflict("This idempotency key was used before with another request.", code="idempotency_conflict")
        return row

    async def _as_now(self, row: Row) -> Reservation:
        """A row with what Redis says of its hold."""
        if row["status"] != "open":
            return _reservation(row)
        standing = await self._scripts.standing(text(row, "account_id"), [text(row, "call_id")])
        return await self._judged(row, standing[0])

    async def _judged(self, row: Row, standing: CallStanding | None) -> Reservation:
        """A row whose hold is as `standing` says; what Redis no longer knows is looked up among the usage records."""
        found = _reservation(row)
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
            _encode(self._record(found, records.ABANDONED, 0)),
        )

    async def _available(self, account_id: str) -> int:
        now = await self._scripts.grants(account_id)
        return max(0, now.posted_microcredits - now.held_microcredits)

    def _record(self, found: Reservation, outcome: str, charge: int) -> UsageRecord:
        """The usage record of a reservation that ends so; its charge is what the application says."""
        return UsageRecord(
            call_id=found.call_id,
            at=found.created_at,
            account_id=found.account_id,
            key_id=found.key_id,
            provider=PROVIDER,
            model=found.model,
            dialect=DIALECT,
            path=PATH,
            outcome=outcome,
            charge_microcredits=charge,
            hold_microcredits=found.amount_microcredits,
            settlement_basis=records.REPORTED if charge else records.NONE,
            duration_ms=None if outcome == records.ABANDONED else max(0, self._clock.now_ms() - found.created_at),
            tags={"operation": found.operation} if found.operation else {},
        )


def _confirmed_before(found: Reservation, actual_microcredits: int) -> Reservation:
    """What a confirmation of an ended reservation is answered. Raises Conflict unless it is a repeat of the first."""
    if found.status == CONFIRMED and found.actual_microcredits == actual_microcredits:
        return found
    why = {
        CONFIRMED: "This reservation was confirmed with another amount.",
        CANCELLED: "This reservation was cancelled.",
        GONE: "The time of this reservation is over and its credits are free again.",
    }
    if found.status not in why:
        raise Unavailable("The reservation is being changed. Try again.")
    raise Conflict(why[found.status], code=f"reservation_{found.status}")


def _check_words(order: ReservationOrder) -> None:
    if order.idempotency_key is not None:
        check_words(order.idempotency_key)
    for name, value in (("operation", order.operation), ("model", order.model)):
        if len(value) > MAX_WORDS or not (value.isprintable() or not value):
            raise InvalidRequest(f"{name} has at most {MAX_WORDS} printable characters", param=name)
    try:
        order.metadata.encode()  # half a surrogate pair cannot be stored
        is_object = isinstance(json.loads(order.metadata), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object or len(order.metadata) > MAX_METADATA or "\0" in order.metadata:
        raise InvalidRequest(f"metadata is a JSON object of at most {MAX_METADATA} characters", param="metadata")


def _encode(record: UsageRecord) -> bytes:
    return msgspec.json.encode(record)


def _reservation(row: Row) -> Reservation:
    status = text(row, "status")
    return Reservation(
        id=text(row, "id"),
        account_id=text(row, "account_id"),
        amount_microcredits=integer(row, "amount_microcredits"),
        status=PENDING if status == "open" else status,
        actual_microcredits=optional_integer(row, "actual_microcredits"),
        operation=text(row, "operation"),
        model=text(row, "model"),
        metadata=text(row, "metadata"),
        created_at=integer(row, "created_at"),
        expires_at=integer(row, "expires_at"),
        call_id=text(row, "call_id"),
        key_id=text(row, "key_id"),
    )
