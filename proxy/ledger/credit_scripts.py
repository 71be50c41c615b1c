"""The scripts behind grants, refunds and reservations: one method a script, typed both ways, beside `Ledger`.

Amounts are microcredits, instants Unix milliseconds. As with the ledger's own methods, every change is atomic, is repeatable
by its operation id, and appends its event; what is raised is the same: RedisUnavailable, RedisAmbiguous, EpochMismatch and
ScriptRefused (503), Conflict (the operation was asked for with another digest), InvalidRequest (beyond 2^53-1 in all),
NotFound (the ledger does not know the account), ValueError for arguments that only a defect can produce.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.core.grants import MAX_LIVE, NEVER, LiveGrant
from proxy.core.outcomes import CORRECTED, EXPIRED, RELEASED, SETTLED, Credited
from proxy.ledger.connection import Argument
from proxy.ledger.encoding import Reply, check_amount, check_text
from proxy.ledger.errors import ScriptRefused
from proxy.ledger.keys import Partition, check_id
from proxy.ledger.ledger import Ledger
from proxy.ledger.scripts import ScriptRunner, load

# After the last refund of a call; its refunds are in SQL long before.
REFUNDED_KEPT_MS = 30 * 24 * 60 * 60 * 1000
OPEN = "open"
_STATES = {b"H": OPEN, b"S": SETTLED, b"R": RELEASED, b"X": EXPIRED, b"C": CORRECTED}


@dataclass(frozen=True, slots=True)
class Operation:
    """What every credit operation carries; `digest` is of what was asked for."""

    account_id: str
    operation_id: str
    digest: str
    actor: str = ""
    reason: str = ""
    idempotency_key: str = ""


@dataclass(frozen=True, slots=True)
class TooManyGrants:
    """The account has as many live grants as it may have; nothing was given."""

    live: int


@dataclass(frozen=True, slots=True)
class NotCovered:
    """Less is available than was to be taken; nothing was."""

    available_microcredits: int


@dataclass(frozen=True, slots=True)
class NotExpired:
    """An expiry that changed nothing. `left` is what open holds keep back, 0 where nothing is left of the grant."""

    left: int
    due_in_ms: int = 0


@dataclass(frozen=True, slots=True)
class NotRefunded:
    """A refund that changed nothing: `why` is exceeds, open or unknown_call; for the first, what the call was charged."""

    why: str
    charge_microcredits: int = 0
    refunded_microcredits: int = 0


@dataclass(frozen=True, slots=True)
class GrantsNow:
    """The live grants of an account at one instant, with the number of its last entry. `mark`: see core/grants.py."""

    seq: int
    posted_microcredits: int
    held_microcredits: int
    mark: int | None
    stored: tuple[LiveGrant, ...]
    remaining: dict[str, int]


@dataclass(frozen=True, slots=True)
class CallStanding:
    """How a call stands: open (with what it holds) or ended (with its charge)."""

    state: str
    figure_microcredits: int


class CreditScripts:
    """Works on the Redis, the partitions and the epoch of `ledger`."""

    def __init__(self, ledger: Ledger, runner: ScriptRunner) -> None:
        self._ledger = ledger
        self._runner = runner

    async def grant(self, operation: Operation, grant: LiveGrant) -> Credited | TooManyGrants:
        """Gives a grant of `grant.remaining` microcredits."""
        keys, args = self._start(operation, check_amount(grant.remaining, "amount", lowest=1))
        args += (
            check_id(grant.id, "grant_id"),
            check_amount(grant.expires_at, "expires_at"),
            check_amount(grant.priority, "priority"),
            MAX_LIVE,
        )
        reply = await self._run("grant", (*keys, self._grants_key(operation.account_id)), args)
        return TooManyGrants(reply[1]) if reply[0] == b"too_many" else _credited(reply)

    async def expire_grant(self, operation: Operation, grant_id: str, ends_at: int) -> Credited | NotExpired:
        """Takes what is left of a grant whose end has come, but for what open holds need."""
        keys, args = self._start(operation)
        args += (check_id(grant_id, "grant_id"), check_amount(ends_at, "ends_at"))
        reply = await self._run("expire_grant", (*keys, self._grants_key(operation.account_id)), args)
        if reply[0] == b"expired":
            return _credited(reply)
        if reply[0] == b"not_due":
            return NotExpired(0, due_in_ms=reply[1])
        return NotExpired(reply[1] if reply[0] == b"waiting" else 0)

    async def take(
        self, operation: Operation, amount_microcredits: int, *, covered: bool = False
    ) -> Credited | NotCovered:
        """Takes credits back (an adjustment below zero; the amount is above), bought ones before granted ones.

        `covered`: only where that much is available; else nothing is taken.
        """
        keys, args = self._start(operation, check_amount(amount_microcredits, "amount", lowest=1))
        args += (b"1" if covered else b"0",)
        reply = await self._run("take", (*keys, self._grants_key(operation.account_id)), args)
        return NotCovered(reply[1]) if reply[0] == b"uncovered" else _credited(reply)

    async def refund(
        self,
        operation: Operation,
        call_id: str,
        amount_microcredits: int,
        *,
        recorded_charge: int | None,
        recorded_refunds: int,
    ) -> Credited | NotRefunded:
        """Returns a part of a call's charge, or all that is left of it where the amount is 0.

        The last two are the call's charge (None: no record yet) and the sum of its refunds as SQL has them.
        """
        partition = self._ledger.partition_of(operation.account_id)
        keys, args = self._start(operation, check_amount(amount_microcredits, "amount"))
        keys += (partition.prefix + b"refunded:" + check_id(call_id, "call_id").encode(), partition.hold(call_id))
        charge = "" if recorded_charge is None else check_amount(recorded_charge, "charge")
        args += (call_id, charge, check_amount(recorded_refunds, "refunds"), REFUNDED_KEPT_MS)
        reply = await self._run("refund", keys, args)
        if reply[0] == b"refunded":
            return _credited(reply)
        return NotRefunded(reply[0].decode(), *reply[1:3])

    async def grants(self, account_id: str) -> GrantsNow:
        """The account's live grants at this instant."""
        partition = self._ledger.partition_of(account_id)
        keys = (partition.epoch, partition.account(check_id(account_id, "account_id")), self._grants_key(account_id))
        _, seq, posted, held, mark, *rows = await self._run("grants", keys, (self._ledger.epoch,))
        stored, remaining = [], {}
        for place in range(0, len(rows), 5):
            name, expires_at, priority, then, now = rows[place : place + 5]
            stored.append(LiveGrant(expires_at, priority, name.decode(), then))
            remaining[name.decode()] = now
        return GrantsNow(seq, posted, held, None if mark == -1 else mark, tuple(stored), remaining)

    async def standing(self, account_id: str, call_ids: Sequence[str]) -> list[CallStanding | None]:
        """How calls of the account stand, in the given order; None for what is not known (any more) or another's."""
        if not call_ids:
            return []
        partition = self._ledger.partition_of(check_id(account_id, "account_id"))
        keys = (partition.epoch, *(partition.hold(check_id(call_id, "call_id")) for call_id in call_ids))
        reply = await self._run("standing", keys, (self._ledger.epoch, account_id))
        return [
            CallStanding(_STATES[letter], figure) if letter else None
            for letter, figure in zip(reply[::2], reply[1::2], strict=True)
        ]

    def _grants_key(self, account_id: str) -> bytes:
        return grants_key(self._ledger.partition_of(account_id), account_id)

    def _start(self, operation: Operation, *amount: int) -> tuple[tuple[bytes, ...], tuple[Argument, ...]]:
        """The keys and arguments that the scripts of operations begin with."""
        account_id = check_id(operation.account_id, "account_id")
        partition = self._ledger.partition_of(account_id)
        name = partition.operation(check_id(operation.operation_id, "operation_id"))
        return (partition.epoch, partition.account(account_id), name, partition.stream), (
            self._ledger.epoch,
            account_id,
            operation.operation_id,
            *amount,
            check_id(operation.digest, "digest"),
            check_text(operation.actor, "actor"),
            check_text(operation.reason, "reason"),
            check_text(operation.idempotency_key, "idempotency_key"),
        )

    async def _run(self, name: str, keys: Sequence[bytes], args: Sequence[Argument]) -> Reply:
        try:
            reply: Reply = await self._runner.run(load(name), keys, args)
        except ScriptRefused as error:
            if error.kind == "CONFLICT":
                raise Conflict from error
            if error.kind == "RANGE":
                raise InvalidRequest(
                    "An account is credited between 0 and 2^53-1 microcredits in all; this would leave that range.",
                    param="amount",
                ) from error
            raise
        if reply[0] == b"unknown_account":
            raise NotFound("There is no such account in the ledger.")
        return reply


def grants_key(partition: Partition, account_id: str) -> bytes:
    """The account's live grants: a packed string (lua/parts/grants.lua)."""
    return partition.prefix + b"grants:" + account_id.encode()


def live_grant(grant_id: str, priority: int, expires_at: int | None, remaining: int) -> LiveGrant:
    """A grant as the scripts know it; `expires_at` None for never."""
    return LiveGrant(NEVER if expires_at is None else expires_at, priority, grant_id, remaining)


def _credited(reply: Reply) -> Credited:
    repeated, seq, before, after, at_ms = reply[1:6]
    return Credited(seq, before, after, at_ms, repeated == 1)
