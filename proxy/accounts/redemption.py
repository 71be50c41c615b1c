"""Redemption codes: an operator makes them, an account turns one into credits, each exactly once.

A code is `FB-` and 26 letters and digits of Crockford's base 32 (130 random bits) in groups; stored is its HMAC-SHA256 under
the installation's pepper, so that it can be shown only when it is made. Redeeming claims the code and writes the credit
operation (a top-up, or a grant) in one commit: of two accounts at once one wins, and what follows is finished by the
reconciliation if this process dies. Instants in Unix milliseconds.
"""

import secrets
from dataclasses import dataclass
from typing import TypeAlias

from proxy.accounts.audit_log import STEP, STEP_OF_OPERATION, Change, row_of
from proxy.accounts.grants import GrantOrder, check_later, check_priority, grant_wanted
from proxy.accounts.journal import (
    GRANT,
    OWN_KEYS,
    TOPUP,
    Journal,
    Wanted,
    check_account,
    check_amount_asked,
    check_open,
    check_words,
    digest_of,
)
from proxy.accounts.keys import KeyHasher
from proxy.accounts.operations import entry_of
from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.core.grants import DEFAULT_PRIORITY
from proxy.core.ids import new_id
from proxy.core.records import LedgerEntry
from proxy.sql.database import Params, Row, Step, integer, optional_integer, optional_text, text

MAX_CODES = 1000  # made at once
MAX_LISTED = 1000
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford: without I, L, O and U
_LOOKALIKES = str.maketrans("ILO", "110")
_LENGTH, _SHOWN = 26, 4
_PREFIX = "FB-"


@dataclass(frozen=True, slots=True)
class CodeOrder:
    """What is asked for: `count` codes of the same amount. `as_grant`: credits that burn first, until `grant_expires_at`."""

    count: int
    amount_microcredits: int
    expires_at: int | None = None
    grant_expires_at: int | None = None
    as_grant: bool = False
    priority: int = DEFAULT_PRIORITY
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RedemptionCode:
    """A code without the code. `status` is active, redeemed, expired or revoked."""

    id: str
    batch_id: str
    prefix: str
    amount_microcredits: int
    kind: str
    status: str
    priority: int
    expires_at: int | None
    grant_expires_at: int | None
    created_at: int
    actor: str
    reason: str
    account_id: str | None
    redeemed_at: int | None


@dataclass(frozen=True, slots=True)
class NewCode:
    """A code at the only moment when it can be shown."""

    code: str
    redemption_code: RedemptionCode


_Codes: TypeAlias = list[RedemptionCode]
_NewCodes: TypeAlias = list[NewCode]
_Steps: TypeAlias = list[Step]


class RedemptionCodes:
    """See the module's page. Methods raise Unavailable when a store is away."""

    def __init__(self, journal: Journal, hasher: KeyHasher) -> None:
        self._journal = journal
        self._database = journal.database
        self._hasher = hasher

    async def create(self, order: CodeOrder, batch_id: str | None = None) -> _NewCodes:
        """New codes, in one commit with its row in the log of changes. Raises InvalidRequest, and RowRefused where a batch
        of this id was made before: its codes can never be shown again.
        """
        now_ms = self._journal.clock.now_ms()
        _check(order, now_ms)
        batch_id = batch_id or new_id("batch")
        ends = [at for at in (order.expires_at, order.grant_expires_at) if at is not None]
        made: dict[str, Params] = {}
        for number in range(order.count):
            code = new_code()
            made[code] = {
                "id": f"code_{batch_id.removeprefix('batch_')}_{number:04d}",  # what makes a batch one that is made once
                "batch_id": batch_id,
                "digest": self._digest(code),
                "prefix": code[: len(_PREFIX) + _SHOWN],
                "kind": GRANT if _is_grant(order) else TOPUP,
                "amount_microcredits": order.amount_microcredits,
                "priority": order.priority,
                "expires_at": min(ends, default=None),  # a code is worth nothing after its grant's end
                "grant_expires_at": order.grant_expires_at,
                "actor": order.actor,
                "reason": order.reason,
                "created_at": now_ms,
            }
        said = {"count": order.count, "amount_microcredits": order.amount_microcredits, "reason": order.reason}
        change = Change(order.actor or "system", "codes.create", batch_id, None, said)
        await self._database.transaction(("insert_code", list(made.values())), (STEP, [row_of(change, now_ms)]))
        unused = {"revoked_at": None, "account_id": None, "redeemed_at": None}
        return [NewCode(code, _code({**row, **unused}, now_ms)) for code, row in made.items()]

    async def redeem(self, account_id: str, code: str, actor: str = "redemption") -> LedgerEntry:
        """The ledger entry that the code makes; the same account is answered the same at every repeat.

        Raises NotFound (`code_not_found`, `account_not_found`), Conflict (`code_redeemed`: by another account,
        `code_expired`, `code_revoked`).
        """
        account = await check_account(self._database, account_id)
        row = await self._database.fetch_one("code_by_digest", digest=self._digest(code))
        if row is None:
            raise NotFound("There is no such code.", code="code_not_found")
        now_ms = self._journal.clock.now_ms()
        wanted, steps = self._claim(account_id, row, now_ms, actor)
        if row["account_id"] is None:
            check_open(account)
            await self._database.transaction(*steps)
            row = await self._database.fetch_one("code_by_id", id=row["id"]) or row
        if row["account_id"] != account_id:
            raise _not_for(_code(row, now_ms))
        return entry_of(await self._journal.finish(await self._journal.agreed(wanted)))

    async def list(
        self,
        *,
        limit: int = 100,
        before: RedemptionCode | None = None,
        batch_id: str | None = None,
        status: str | None = None,
    ) -> _Codes:
        """Newest first, at most `limit` (1000), of one batch or status where it is given; `before` is the last one of the
        page before.
        """
        now_ms = self._journal.clock.now_ms()
        rows = await self._database.fetch(
            "list_codes",
            before_created_at=before.created_at if before else 2**62,
            before_id=before.id if before else "",
            batch_id=batch_id,
            status=status,
            now_ms=now_ms,
            row_limit=max(0, min(limit, MAX_LISTED)),
        )
        return [_code(row, now_ms) for row in rows]

    async def code(self, code_id: str) -> RedemptionCode:
        """One code by its id. Raises NotFound (`code_not_found`)."""
        row = await self._database.fetch_one("code_by_id", id=code_id)
        if row is None:
            raise NotFound("There is no such code.", code="code_not_found")
        return _code(row, self._journal.clock.now_ms())

    async def revoke(self, code_id: str, actor: str = "system") -> RedemptionCode:
        """Ends a code that nobody has redeemed; its row in the log of changes is written once.

        Raises NotFound (`code_not_found`), Conflict (`code_redeemed`).
        """
        now_ms = self._journal.clock.now_ms()
        change = row_of(Change(actor, "code.revoke", code_id, {"status": "active"}, {"status": "revoked"}), now_ms)
        await self._database.transaction(
            ("log_code_revoked", [change]), ("revoke_code", [{"id": code_id, "now_ms": now_ms}])
        )
        found = await self.code(code_id)
        if found.status == "redeemed":
            raise _not_for(found)
        return found

    def _claim(self, account_id: str, code: Row, now_ms: int, actor: str) -> tuple[Wanted, _Steps]:
        """The operation that a code stands for, and the one commit that claims the code for an account and begins it."""
        code_id, amount = text(code, "id"), integer(code, "amount_microcredits")
        key, operation_id = f"{OWN_KEYS}redeem:{code_id}", new_id("op")
        reason = text(code, "reason") or f"redemption code {text(code, 'prefix')}"
        order = GrantOrder(
            amount, key, optional_integer(code, "grant_expires_at"), integer(code, "priority"), actor, reason
        )
        wanted = Wanted(account_id, key, TOPUP, amount, digest_of(account_id, TOPUP, amount), order.actor, reason)
        steps: _Steps = [("claim_code", [{"id": code_id, "account_id": account_id, "now_ms": now_ms}])]
        grant: dict[str, str | int | None] = {}
        if code["kind"] == GRANT:
            wanted, grant = grant_wanted(account_id, order)
        operation: Params = {
            "account_id": account_id,
            "idempotency_key": key,
            "digest": wanted.digest,
            "operation_id": operation_id,
            "actor": order.actor,
            "reason": reason,
            "created_at": now_ms,
            "grant_id": wanted.grant_id,
            "code_id": code_id,
        }
        steps.append(("insert_operation_of_code", [operation]))
        if grant:
            steps.append(("insert_grant", [{**grant, "operation_id": operation_id, "created_at": now_ms}]))
        said = {"amount_microcredits": amount, "operation_id": operation_id, "grant_id": wanted.grant_id}
        change = Change(actor, "code.redeem", account_id, None, {"code_id": code_id, **said})
        steps.append((STEP_OF_OPERATION, [{**row_of(change, now_ms), "operation_id": operation_id}]))
        return wanted, steps

    def _digest(self, code: str) -> str:
        return self._hasher.digest(b"redemption code " + normalised(code).encode())


def new_code() -> str:
    """A code that nobody has seen before."""
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return _PREFIX + "-".join(letters[start : start + 5] for start in range(0, _LENGTH, 5))


def normalised(code: str) -> str:
    """A code as people type it: case, spaces, dashes and look-alike letters do not matter."""
    letters = "".join(code.split()).upper().replace("-", "")
    if len(letters) > _LENGTH:
        letters = letters.removeprefix(_PREFIX.rstrip("-"))
    return letters.translate(_LOOKALIKES)[: 2 * _LENGTH]


def _is_grant(order: CodeOrder) -> bool:
    return order.as_grant or order.grant_expires_at is not None


def _check(order: CodeOrder, now_ms: int) -> None:
    if type(order.count) is not int or not 1 <= order.count <= MAX_CODES:
        raise InvalidRequest(f"count must be a whole number from 1 to {MAX_CODES}", param="count")
    check_amount_asked(order.amount_microcredits)
    check_words("-", order.actor, order.reason)
    check_priority(order.priority)
    check_later(order.expires_at, now_ms, "expires_at")
    check_later(order.grant_expires_at, now_ms, "grant_expires_at")


def _not_for(code: RedemptionCode) -> Conflict:
    """Why a code cannot be had."""
    why = {"expired": "The code has expired.", "revoked": "The code was withdrawn."}
    if code.status in why:
        return Conflict(why[code.status], code=f"code_{code.status}")
    return Conflict("The code was redeemed before.", code="code_redeemed")


def _code(row: Row, now_ms: int) -> RedemptionCode:
    expires_at = optional_integer(row, "expires_at")
    status = "active"
    if row["account_id"] is not None:
        status = "redeemed"
    elif row["revoked_at"] is not None:
        status = "revoked"
    elif expires_at is not None and expires_at <= now_ms:
        status = "expired"
    return RedemptionCode(
        id=text(row, "id"),
        batch_id=text(row, "batch_id"),
        prefix=text(row, "prefix"),
        amount_microcredits=integer(row, "amount_microcredits"),
        kind=text(row, "kind"),
        status=status,
        priority=integer(row, "priority"),
        expires_at=expires_at,
        grant_expires_at=optional_integer(row, "grant_expires_at"),
        created_at=integer(row, "created_at"),
        actor=text(row, "actor"),
        reason=text(row, "reason"),
        account_id=optional_text(row, "account_id"),
        redeemed_at=optional_integer(row, "redeemed_at"),
    )
