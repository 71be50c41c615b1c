"""Rows of the journal of credit operations as what they stand for: a script's question, a ledger entry, an error."""

import json

from proxy.core.errors import Conflict, FareboxError, InsufficientCredits, InvalidRequest, NotFound
from proxy.core.money import format_credits
from proxy.core.records import LedgerEntry
from proxy.ledger.credit_scripts import NotRefunded, Operation
from proxy.sql.database import Row, integer, optional_text, text

DEDUCTION = "deduction"  # an adjustment that takes only what is available
PENDING, APPLIED, REFUSED, VOID = "pending", "applied", "refused", "void"
_REFUSALS: dict[int, type[FareboxError]] = {
    400: InvalidRequest,
    402: InsufficientCredits,
    404: NotFound,
    409: Conflict,
}


def operation_of(row: Row) -> Operation:
    """A row as the scripts are asked."""
    names = ("account_id", "operation_id", "digest", "actor", "reason", "idempotency_key")
    return Operation(*(text(row, name) for name in names))


def entry_kind(kind: str) -> str:
    """The kind of the ledger entry that an operation of this kind makes."""
    return "adjustment" if kind == DEDUCTION else kind


def entry_of(row: Row) -> LedgerEntry:
    """The ledger entry of an applied row."""
    if row["status"] != APPLIED:
        raise Conflict("What this operation was about was lost with Redis, and so was its effect.", code="undone")
    return LedgerEntry(
        account_id=text(row, "account_id"),
        seq=integer(row, "seq"),
        kind=entry_kind(text(row, "kind")),
        amount_microcredits=integer(row, "amount_microcredits"),
        before_microcredits=integer(row, "before_microcredits"),
        after_microcredits=integer(row, "after_microcredits"),
        at=integer(row, "at"),
        call_id=optional_text(row, "call_id"),
        operation_id=text(row, "operation_id"),
        actor=text(row, "actor"),
        reason=text(row, "reason"),
        idempotency_key=text(row, "idempotency_key"),
    )


def not_refunded(answer: NotRefunded) -> FareboxError:
    """The error that a refund without effect means."""
    if answer.why == "exceeds":
        charge, refunded = format_credits(answer.charge_microcredits), format_credits(answer.refunded_microcredits)
        return Conflict(
            "The refund would be more than what is left of the call's charge: it was charged "
            f"{charge} credits, and {refunded} of them are returned. Another amount needs another idempotency key.",
            code="refund_exceeds_charge",
            metadata={"charge": answer.charge_microcredits, "refunded": answer.refunded_microcredits},
        )
    if answer.why == "open":
        return Conflict("The call has not ended yet.", code="call_open")
    return NotFound("There is no such call.", code="call_not_found")


def refusal_of(row: Row) -> FareboxError:
    """What a refused row was refused with."""
    refusal = json.loads(text(row, "refusal"))
    error = _REFUSALS[refusal["status"]]
    return error(refusal["message"], code=refusal["code"], param=refusal["param"], metadata=refusal["metadata"])


def refusal_text(error: FareboxError) -> str:
    """An error as a refused row keeps it."""
    return json.dumps(
        {
            "status": error.status,
            "code": error.code,
            "message": error.message,
            "param": error.param,
            "metadata": error.metadata,
        }
    )
