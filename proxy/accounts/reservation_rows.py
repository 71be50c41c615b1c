"""Reservations as values: what is asked for, how one stands, and the usage record that it leaves. Amounts in microcredits."""

import json
from dataclasses import dataclass

from proxy.accounts.journal import check_words
from proxy.core import records
from proxy.core.errors import Conflict, InvalidRequest, Unavailable
from proxy.core.limits import Limit
from proxy.core.records import UsageRecord
from proxy.sql.database import Row, integer, optional_integer, text

PENDING, CONFIRMED, CANCELLED, GONE = "pending", "confirmed", "cancelled", "expired"
DIALECT, PATH, PROVIDER = "reservation", "/v1/reservations", "application"
MAX_WORDS = 200
MAX_METADATA = 16_384


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


def usage_of(found: Reservation, outcome: str, charge: int, now_ms: int) -> UsageRecord:
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
        duration_ms=None if outcome == records.ABANDONED else max(0, now_ms - found.created_at),
        tags={"operation": found.operation} if found.operation else {},
    )


def confirmed_before(found: Reservation, actual_microcredits: int) -> Reservation:
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


def check_order(order: ReservationOrder) -> None:
    """Raises InvalidRequest for an order that cannot be."""
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


def reservation_of(row: Row) -> Reservation:
    """A row as a reservation; `open` is shown as pending."""
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
