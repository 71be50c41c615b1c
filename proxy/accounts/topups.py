"""Credits given to an account: a top-up, grant, refund or adjustment, applied once for ever by its idempotency key (P6).

Order: the row in SQL (pending, with its operation id), the ledger (atomic, repeatable by operation id), the row again
(applied, with the answer). Killed in between, the row is pending: repeating the call finishes it. The ledger keeps an
operation's answer until a day after its entry was committed to SQL; so a pending row is first looked up among the entries
in SQL, and only then is the ledger asked again. There is no moment at which a repeat could credit twice.
"""

import hashlib
from dataclasses import dataclass
from typing import Protocol

from proxy.accounts.announce import AccountLedger, announce
from proxy.core.clock import Clock
from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.core.ids import new_id
from proxy.core.money import MAX_AMOUNT, parse_credits
from proxy.core.outcomes import Credited
from proxy.core.records import LedgerEntry
from proxy.sql.database import Database, Row, integer, text

TOPUP = "topup"
ADJUSTMENT = "adjustment"  # the one kind that may also take
KINDS = (TOPUP, "grant", "refund", ADJUSTMENT)
MAX_TEXT = 500
MAX_KEY = 255


class CreditLedger(AccountLedger, Protocol):
    """The part of the ledger that gives credits; see `proxy.ledger.ledger.Ledger`."""

    async def credit(  # noqa: PLR0917 - the ledger's own signature
        self,
        account_id: str,
        operation_id: str,
        kind: str,
        amount_microcredits: int,
        digest: str,
        actor: str,
        reason: str,
        idempotency_key: str | None,
    ) -> Credited:
        """Applies the amount once for `operation_id`. Raises InvalidRequest beyond what a balance can hold."""
        ...


@dataclass(frozen=True, slots=True)
class Credit:
    """What is asked for: `amount_microcredits` above zero (either sign for an adjustment), `actor` who asks for it."""

    amount_microcredits: int
    idempotency_key: str
    kind: str = TOPUP
    actor: str = ""
    reason: str = ""


def amount_from(credit_text: str) -> int:
    """Credits as people write them ("12.5") in microcredits. Raises InvalidRequest (`amount`)."""
    try:
        return parse_credits(credit_text)
    except ValueError as error:
        raise InvalidRequest(str(error), param="amount") from error


class Topups:
    """See the module's page."""

    def __init__(self, database: Database, ledger: CreditLedger, clock: Clock) -> None:
        self._database = database
        self._ledger = ledger
        self._clock = clock

    async def top_up(self, account_id: str, credit: Credit) -> LedgerEntry:
        """The ledger entry of this credit, the same at every repeat of key, kind and amount.

        Raises InvalidRequest (amount, kind, key), NotFound (account), Conflict (the key was used with another body),
        Unavailable (repeat it with the same key).
        """
        check(credit)
        account = await self._database.fetch_one("account_by_id", id=account_id)
        if account is None:
            raise NotFound(f"There is no account {account_id[:MAX_KEY]!r}.", code="account_not_found")
        row = await self._agreed_row(account_id, credit)
        if row["digest"] != digest_of(account_id, credit):
            raise Conflict(
                "This idempotency key was used before with another kind or amount.", code="idempotency_conflict"
            )
        if row["status"] == "applied":
            return _entry(row)
        answer = await self._recorded(row) or await self._apply(row, integer(account, "version"))
        await self._database.execute(
            "apply_topup", account_id=account_id, idempotency_key=credit.idempotency_key, **answer
        )
        return _entry({**row, **answer})

    async def _agreed_row(self, account_id: str, credit: Credit) -> Row:
        """The row of this idempotency key, whoever made it first."""
        await self._database.execute(
            "insert_topup",
            account_id=account_id,
            idempotency_key=credit.idempotency_key,
            digest=digest_of(account_id, credit),
            operation_id=new_id("op"),
            kind=credit.kind,
            amount_microcredits=credit.amount_microcredits,
            actor=credit.actor,
            reason=credit.reason,
            created_at=self._clock.now_ms(),
        )
        row = await self._database.fetch_one("topup", account_id=account_id, idempotency_key=credit.idempotency_key)
        if row is None:
            raise RuntimeError("a top-up vanished between its commit and its reading; rows are never deleted")
        return row

    async def _recorded(self, row: Row) -> dict[str, int] | None:
        """The answer from the entries in SQL, where an earlier attempt got as far as that."""
        entry = await self._database.fetch_one("ledger_entry_by_operation", operation_id=row["operation_id"])
        if entry is None:
            return None
        return {name: integer(entry, name) for name in ("seq", "before_microcredits", "after_microcredits", "at")}

    async def _apply(self, row: Row, version: int) -> dict[str, int]:
        await announce(self._database, self._ledger, text(row, "account_id"), version)
        answer = await self._ledger.credit(
            text(row, "account_id"),
            text(row, "operation_id"),
            text(row, "kind"),
            integer(row, "amount_microcredits"),
            text(row, "digest"),
            text(row, "actor"),
            text(row, "reason"),
            text(row, "idempotency_key"),
        )
        return {
            "seq": answer.seq,
            "before_microcredits": answer.before_microcredits,
            "after_microcredits": answer.after_microcredits,
            "at": answer.at_ms,
        }


def check(credit: Credit) -> None:
    """Raises InvalidRequest for an amount, kind, key or text that cannot be."""
    amount: object = credit.amount_microcredits
    if type(amount) is not int or not 0 < abs(amount) <= MAX_AMOUNT:
        raise InvalidRequest("the amount must be whole microcredits, not zero, at most 2^53 - 1", param="amount")
    if credit.kind not in KINDS:
        raise InvalidRequest(f"kind must be one of {', '.join(KINDS)}", param="kind")
    if amount < 0 and credit.kind != ADJUSTMENT:
        raise InvalidRequest(f"a {credit.kind} must be above zero", param="amount")
    if not 1 <= len(credit.idempotency_key) <= MAX_KEY or not credit.idempotency_key.isprintable():
        raise InvalidRequest(f"an idempotency key has 1 to {MAX_KEY} printable characters", param="idempotency_key")
    for name, value in (("actor", credit.actor), ("reason", credit.reason)):
        if len(value) > MAX_TEXT or not (value.isprintable() or not value):
            raise InvalidRequest(f"{name} has at most {MAX_TEXT} printable characters", param=name)


def digest_of(account_id: str, credit: Credit) -> str:
    """What makes two requests the same: account, kind and amount, as 64 hexadecimal digits."""
    body = f"{account_id}\n{credit.kind}\n{credit.amount_microcredits}"
    return hashlib.sha256(body.encode()).hexdigest()


def _entry(row: Row) -> LedgerEntry:
    return LedgerEntry(
        account_id=text(row, "account_id"),
        seq=integer(row, "seq"),
        kind=text(row, "kind"),
        amount_microcredits=integer(row, "amount_microcredits"),
        before_microcredits=integer(row, "before_microcredits"),
        after_microcredits=integer(row, "after_microcredits"),
        at=integer(row, "at"),
        operation_id=text(row, "operation_id"),
        actor=text(row, "actor"),
        reason=text(row, "reason"),
        idempotency_key=text(row, "idempotency_key"),
    )
