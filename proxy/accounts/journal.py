"""The journal of credit operations: what is asked for stands in SQL before the ledger hears of it, and its answer after.

Order: the row (pending, with its operation id), the ledger (atomic, repeatable by operation id), the row again (applied with
the answer, or refused with the error). Killed in between, the row is pending: repeating the request finishes it, and so does
the reconciliation (proxy/accounts/reconcile.py). The ledger keeps an operation's answer until a day after its entry was
committed to SQL; so a pending row is first looked up among the entries in SQL, and only then is the ledger asked again.
There is no moment at which a repeat could credit twice. A key that was used with another body is a conflict, for ever.
"""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from proxy.accounts.announce import AccountLedger, announce
from proxy.accounts.audit_log import STEP_OF_OPERATION, STEP_OF_REFUSAL, Change, row_of
from proxy.accounts.holding import insufficient
from proxy.accounts.operations import (
    APPLIED,
    DEDUCTION,
    PENDING,
    REFUSED,
    VOID,
    not_refunded,
    operation_of,
    refusal_of,
    refusal_text,
)
from proxy.core.clock import Clock
from proxy.core.errors import (
    KEY_USED,
    Conflict,
    FareboxError,
    Forbidden,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    Unavailable,
)
from proxy.core.ids import new_id
from proxy.core.money import MAX_AMOUNT
from proxy.core.outcomes import Credited
from proxy.ledger.credit_scripts import CreditScripts, NotCovered, NotExpired, NotRefunded, TooManyGrants, live_grant
from proxy.sql.database import Database, Params, Row, Step, integer, optional_integer, optional_text, text

TOPUP, GRANT, REFUND, ADJUSTMENT, EXPIRY = "topup", "grant", "refund", "adjustment", "expiry"
SYSTEM_ACCOUNT = "acct_system"  # of usage that is recorded without an account; see recorded_usage
REFUSAL = "credit.refused"  # in the log of changes, after the row of what was asked for
OWN_KEYS = "farebox:"  # of operations that the program asks for itself
MAX_TEXT = 500
MAX_KEY = 255
_PAGE = 500


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
class Wanted:
    """A credit operation as it is asked for; `digest` is of everything that makes two requests the same."""

    account_id: str
    idempotency_key: str
    kind: str
    amount_microcredits: int
    digest: str
    actor: str = ""
    reason: str = ""
    call_id: str | None = None
    grant_id: str | None = None


class Journal:
    """See the module's page. Methods raise Unavailable when a store is away: repeat with the same key."""

    def __init__(self, database: Database, ledger: CreditLedger, scripts: CreditScripts, clock: Clock) -> None:
        self.database = database
        self.scripts = scripts
        self.clock = clock
        self._ledger = ledger

    async def agree(self, wanted: Wanted, *more: Step, operation_id: str | None = None) -> Row:
        """The row of this idempotency key, whoever made it first; `more` is a part of its commit.

        Raises Conflict (`idempotency_conflict`) where the key was used with another body, or where what is new would give
        credits to a closed account (`account_closed`); NotFound for an unknown account.
        """
        account = await check_account(self.database, wanted.account_id)
        if wanted.kind in {TOPUP, GRANT} and await self.row(wanted.account_id, wanted.idempotency_key) is None:
            check_open(account)
        row: Params = {
            "account_id": wanted.account_id,
            "idempotency_key": wanted.idempotency_key,
            "digest": wanted.digest,
            "operation_id": operation_id or new_id("op"),
            "kind": wanted.kind,
            "amount_microcredits": wanted.amount_microcredits,
            "actor": wanted.actor,
            "reason": wanted.reason,
            "created_at": self.clock.now_ms(),
            "call_id": wanted.call_id,
            "grant_id": wanted.grant_id,
        }
        await self.database.transaction(("insert_operation", [row]), *more, *self._logged(wanted, row))
        return await self.agreed(wanted)

    def _logged(self, wanted: Wanted, row: Params) -> tuple[Step, ...]:
        """The row of the log of changes; none for what the program does by itself."""
        if wanted.idempotency_key.startswith(OWN_KEYS):
            return ()
        after = {
            "amount_microcredits": wanted.amount_microcredits or None,  # none: all that is left, which the ledger knows
            "operation_id": row["operation_id"],
            "idempotency_key": wanted.idempotency_key,
            "call_id": wanted.call_id,
            "grant_id": wanted.grant_id,
            "reason": wanted.reason,
        }
        change = Change(wanted.actor or "system", f"credit.{wanted.kind}", wanted.account_id, None, after)
        logged = {**row_of(change, self.clock.now_ms()), "operation_id": row["operation_id"]}
        return ((STEP_OF_OPERATION, [logged]),)

    def _logged_refusal(self, row: Row, error: FareboxError) -> tuple[Step, ...]:
        """The row that says that what the log has of a pending operation did not happen."""
        if text(row, "idempotency_key").startswith(OWN_KEYS):
            return ()
        after = {
            "kind": row["kind"],
            "operation_id": row["operation_id"],
            "idempotency_key": row["idempotency_key"],
            "code": error.code,
        }
        change = Change(text(row, "actor") or "system", REFUSAL, text(row, "account_id"), None, after)
        logged = {**row_of(change, self.clock.now_ms()), "operation_id": row["operation_id"]}
        return ((STEP_OF_REFUSAL, [logged]),)

    async def agreed(self, wanted: Wanted) -> Row:
        """The row of the wanted key, as it is stored. Raises Conflict where it is another request's."""
        row = await self.row(wanted.account_id, wanted.idempotency_key)
        if row is None:
            raise RuntimeError("an operation vanished between its commit and its reading; rows are never deleted")
        if row["digest"] != wanted.digest:
            raise Conflict(KEY_USED, code="idempotency_conflict")
        return row

    async def row(self, account_id: str, idempotency_key: str) -> Row | None:
        """The row of a key, None where nothing was asked for with it."""
        return await self.database.fetch_one("operation_by_key", account_id=account_id, idempotency_key=idempotency_key)

    async def finish(self, row: Row) -> Row:
        """Brings a row to its end: `applied`, or `void` where there was nothing to take, or still `pending` where open
        holds keep back all that an expiry would take. Raises what the operation was refused with.
        """
        if row["status"] in {APPLIED, VOID}:
            return row
        if row["status"] == REFUSED:
            raise refusal_of(row)
        answer: dict[str, int] | NotExpired | None = await self._recorded(row)
        if answer is None:
            try:
                answer = await self._ask(row)
            except (InvalidRequest, NotFound, Conflict, InsufficientCredits) as error:
                return await self._refuse(row, error)
        if isinstance(answer, NotExpired):
            return await self._note_nothing(row, answer)
        steps: list[Step] = [("apply_operation", [{"operation_id": row["operation_id"], **answer}])]
        if row["kind"] == GRANT:
            amount = answer["amount_microcredits"]
            steps.append(("start_grant", [{"operation_id": row["operation_id"], "remaining_microcredits": amount}]))
        await self.database.transaction(*steps)
        return {**row, **answer, "status": APPLIED}

    async def pending(self, created_by: int) -> AsyncIterator[Row]:
        """Every row that has been pending since `created_by` (Unix milliseconds), oldest first."""
        after_at, after_id = -1, ""
        while True:
            page = await self.database.fetch(
                "pending_operations",
                created_by=created_by,
                after_created_at=after_at,
                after_operation_id=after_id,
                row_limit=_PAGE,
            )
            for row in page:
                yield row
            if len(page) < _PAGE:
                return
            after_at, after_id = integer(page[-1], "created_at"), text(page[-1], "operation_id")

    async def _recorded(self, row: Row) -> dict[str, int] | None:
        """The answer from the entries in SQL, where an earlier attempt got as far as that."""
        entry = await self.database.fetch_one("ledger_entry_by_operation", operation_id=row["operation_id"])
        if entry is None:
            return None
        names = ("amount_microcredits", "seq", "before_microcredits", "after_microcredits", "at")
        return {name: integer(entry, name) for name in names}

    async def _ask(self, row: Row) -> dict[str, int] | NotExpired:
        """What the ledger says. Raises InvalidRequest, InsufficientCredits, NotFound and Conflict where it refuses."""
        account_id = text(row, "account_id")
        account = await self.database.fetch_one("account_by_id", id=account_id)
        if account is None:
            raise RuntimeError("an operation without its account; rows are never deleted")
        await announce(self.database, self._ledger, account_id, integer(account, "version"))
        try:
            answer = await self._run(row)
        except NotFound as error:
            raise Unavailable(
                "The balance of this account is not in Redis. `farebox rebuild` restores it; then repeat the request.",
                code="balance_lost",
            ) from error
        if isinstance(answer, TooManyGrants):
            raise Conflict(
                f"The account has {answer.live} live grants, which is as many as it may have.", code="too_many_grants"
            )
        if isinstance(answer, NotCovered):
            raise insufficient("balance", -integer(row, "amount_microcredits"), answer.available_microcredits)
        if isinstance(answer, NotRefunded):
            raise not_refunded(answer)
        if isinstance(answer, NotExpired):
            return answer
        return {
            "amount_microcredits": answer.after_microcredits - answer.before_microcredits,
            "seq": answer.seq,
            "before_microcredits": answer.before_microcredits,
            "after_microcredits": answer.after_microcredits,
            "at": answer.at_ms,
        }

    async def _run(self, row: Row) -> Credited | TooManyGrants | NotExpired | NotRefunded | NotCovered:
        """The script of the row's kind."""
        operation = operation_of(row)
        kind, amount = text(row, "kind"), integer(row, "amount_microcredits")
        grant_id, call_id = optional_text(row, "grant_id"), optional_text(row, "call_id")
        if kind in {GRANT, EXPIRY} and grant_id is not None:
            grant = await self.database.fetch_one("grant_by_id", id=grant_id)
            if grant is None:
                raise RuntimeError("a grant's operation without its grant; they are written in one commit")
            if kind == EXPIRY:
                return await self.scripts.expire_grant(operation, grant_id, integer(grant, "ends_at"))
            live = live_grant(grant_id, integer(grant, "priority"), optional_integer(grant, "expires_at"), amount)
            return await self.scripts.grant(operation, live)
        if kind == REFUND and call_id is not None:
            charge, refunds = await self._known_of(operation.account_id, call_id)
            return await self.scripts.refund(
                operation, call_id, amount, recorded_charge=charge, recorded_refunds=refunds
            )
        if amount < 0:
            return await self.scripts.take(operation, -amount, covered=kind == DEDUCTION)
        return await self._ledger.credit(
            operation.account_id,
            operation.operation_id,
            kind,
            amount,
            operation.digest,
            operation.actor,
            operation.reason,
            operation.idempotency_key,
        )

    async def _known_of(self, account_id: str, call_id: str) -> tuple[int | None, int]:
        """What SQL has of a call: its charge, and the sum of its refunds."""
        record = await self.database.fetch_one("usage_record", call_id=call_id)
        refunds = await self.database.fetch_one("refunded_of_call", account_id=account_id, call_id=call_id)
        assert refunds is not None  # an aggregate always has a row
        mine = record is not None and record["account_id"] == account_id
        charge = integer(record, "charge_microcredits") if record is not None and mine else None
        return charge, integer(refunds, "refunded_microcredits")

    async def _refuse(self, row: Row, error: FareboxError) -> Row:
        """Closes a row that the ledger refused, so that its key is answered with the same error for ever; and raises it."""
        logged = self._logged_refusal(row, error)
        steps: list[Step] = [
            *logged,
            ("refuse_operation", [{"operation_id": row["operation_id"], "refusal": refusal_text(error)}]),
        ]
        if row["kind"] == GRANT:
            steps.append(("refuse_grant", [{"operation_id": row["operation_id"]}]))
        touched = await self.database.transaction(*steps)
        if touched[len(logged)] == 0:  # another attempt came to an end first, and that end stands
            now = await self.row(text(row, "account_id"), text(row, "idempotency_key"))
            if now is not None and now["status"] != PENDING:
                return await self.finish(now)
        raise error

    async def _note_nothing(self, row: Row, answer: NotExpired) -> Row:
        if answer.left or answer.due_in_ms:
            return row
        await self.database.execute("void_operation", operation_id=row["operation_id"])
        return {**row, "status": VOID}


async def check_account(database: Database, account_id: str) -> Row:
    """The row of an account that is to be changed. Raises NotFound, and Forbidden for the one that nobody owns."""
    if account_id == SYSTEM_ACCOUNT:
        raise Forbidden("This account only carries usage without an owner; it has no credits.", code="system_account")
    return await known_account(database, account_id)


def check_open(account: Row) -> None:
    """Raises Conflict (`account_closed`) for an account that gets no credits any more."""
    if account["closed_at"] is not None:
        raise Conflict("The account is closed.", code="account_closed")


async def known_account(database: Database, account_id: str) -> Row:
    """The account's row. Raises NotFound (`account_not_found`)."""
    account = await database.fetch_one("account_by_id", id=account_id)
    if account is None:
        raise NotFound(f"There is no account {account_id[:MAX_KEY]!r}.", code="account_not_found")
    return account


def check_amount_asked(value: object, *, lowest: int = 1) -> int:
    """An amount as somebody asks for it. Raises InvalidRequest (`amount`)."""
    if type(value) is not int or not lowest <= value <= MAX_AMOUNT:
        raise InvalidRequest(
            "the amount must be above zero, in whole microcredits, at most 2^53 - 1 of them", param="amount"
        )
    return value


def check_words(idempotency_key: str, actor: str = "", reason: str = "") -> None:
    """Raises InvalidRequest for a key, actor or reason that cannot be."""
    if not 1 <= len(idempotency_key) <= MAX_KEY or not idempotency_key.isprintable():
        raise InvalidRequest(f"an idempotency key has 1 to {MAX_KEY} printable characters", param="idempotency_key")
    if idempotency_key.startswith(OWN_KEYS):
        raise InvalidRequest(f"keys that begin with {OWN_KEYS} are Farebox's own", param="idempotency_key")
    for name, value in (("actor", actor), ("reason", reason)):
        if len(value) > MAX_TEXT or not (value.isprintable() or not value):
            raise InvalidRequest(f"{name} has at most {MAX_TEXT} printable characters", param=name)


def digest_of(*parts: object) -> str:
    """What makes two requests the same, as 64 hexadecimal digits."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
