"""The credit ledger: one method a script, typed both ways. Amounts are microcredits, durations milliseconds.

Every change is atomic in Redis, carries an operation id (the call's or the credit operation's), and answers a repeat with
the first result: after RedisAmbiguous any method may be called again with the same arguments. What a method raises besides:
RedisUnavailable (not sent), EpochMismatch, ScriptRefused (Redis refused: out of memory, read-only, ...), all of them 503;
ValueError for arguments that only a defect can produce.
"""

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, cast

from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.core.money import MAX_AMOUNT
from proxy.core.outcomes import (
    MAX_LEASE_MS,
    POLICIES,
    Balance,
    Credited,
    Ended,
    Extended,
    Gone,
    Held,
    HoldRequest,
    NotDue,
    Refused,
    Stale,
    UnknownAccount,
)
from proxy.ledger.connection import Argument
from proxy.ledger.encoding import (
    EXTEND_NUMBERS,
    HOLD_NUMBERS,
    MAX_RECORD_BYTES,
    SETTLE_NUMBERS,
    Reply,
    check_amount,
    check_text,
    read_ended,
    read_hold,
)
from proxy.ledger.errors import RedisAmbiguous, ScriptMissing
from proxy.ledger.keys import Partition, check_id, encoded_call_id, partition_number
from proxy.ledger.places import Place
from proxy.ledger.scripts import ScriptRunner, load

REPEAT_WITHIN_S = 0.95  # an admission is answered within a second, its one repeat included
PAGE = 500  # accounts in one snapshot script
_MAX_PLACES = 50_000  # accounts whose keys are remembered

Args = Sequence[Argument]


@dataclass(frozen=True, slots=True)
class DueHolds:
    """What the reaper finds in a partition; `calls` are (call id, account id), the account empty for a stray deadline."""

    now_ms: int
    open_holds: int
    oldest_call_id: str | None
    calls: tuple[tuple[str, str], ...]


class Ledger:
    """The ledger of one Redis. `partitions` is fixed for its life; `epoch` must be the one that Redis holds: see `adopt`."""

    def __init__(self, runner: ScriptRunner, partitions: int, epoch: str) -> None:
        self._runner = runner
        self._post = runner.post
        self.ambiguous_holds = 0  # admissions whose reply was lost, for metrics
        self._epoch = check_id(epoch, "epoch").encode()
        self._partitions = tuple(Partition.at(number) for number in range(partitions))
        self._places: dict[str, Place] = {}

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """All partitions, by number."""
        return self._partitions

    @property
    def epoch(self) -> str:
        """The epoch that every script compares with the one in Redis."""
        return self._epoch.decode()

    def adopt(self, epoch: str) -> None:
        """Works under another epoch from now on: the one that SQL and Redis have agreed on after a rebuild."""
        self._epoch = check_id(epoch, "epoch").encode()
        self._places.clear()

    def partition_of(self, account_id: str) -> Partition:
        """The partition that an account lives in."""
        return self._partitions[partition_number(account_id, len(self._partitions))]

    async def hold(self, request: HoldRequest) -> Held | Refused | Stale | UnknownAccount:
        """Admits a call: limits, budgets and balance decided together, all or nothing.

        A lost reply is repeated once, since the call id makes that safe. Raises Conflict where the call id was used before
        for something else, or its hold has ended.
        """
        command = self._encode_hold(request)
        give_up_at = monotonic() + REPEAT_WITHIN_S
        try:
            reply = await self._post(command)
        except (ScriptMissing, RedisAmbiguous) as error:
            reply = await self._hold_again(command, error, give_up_at)
        outcome = read_hold(request.limits, reply)
        if outcome is None:
            raise Conflict("A call with this id has already ended.")
        return outcome

    async def extend(  # noqa: PLR0917 - the contract of the request path
        self,
        account_id: str,
        call_id: str,
        step: int,
        amount_microcredits: int,
        checkpoint_microcredits: int,
        lease_ms: int,
        draft: bytes,
    ) -> Extended | Gone:
        """Renews a hold's lease, notes its checkpoint and grows it to `amount_microcredits` in all where it can.

        An older or repeated step (they count from 1) changes nothing. A hold that cannot grow keeps its amount.
        """
        args = (
            self._epoch,
            call_id,
            account_id,
            EXTEND_NUMBERS.pack(
                check_amount(step, "step", lowest=1),
                check_amount(amount_microcredits, "amount"),
                check_amount(checkpoint_microcredits, "checkpoint"),
                check_amount(lease_ms, "lease", lowest=1, highest=MAX_LEASE_MS),
            ),
            check_text(draft, "draft", MAX_RECORD_BYTES),
        )
        reply = await self._run("extend", self._hold_keys(account_id, call_id), args)
        return Gone() if reply[0] == b"gone" else Extended(reply[1] == 1, reply[2])

    async def settle(
        self, account_id: str, call_id: str, charge_microcredits: int, tokens: int, record: bytes
    ) -> Ended:
        """Charges a call in full and ends its hold; after an expiry, corrects the charge once.

        Raises InvalidRequest where the account's spending would pass 2^53-1: the hold is then left to the reaper.
        """
        # MAX_AMOUNT is ones only: numbers that are joined bit by bit are within it when each of them is.
        if not 0 <= charge_microcredits | tokens <= MAX_AMOUNT or len(record) > MAX_RECORD_BYTES:
            raise ValueError(f"charge and tokens are from 0 to 2^53-1, a record is at most {MAX_RECORD_BYTES} bytes")
        call = encoded_call_id(call_id)
        place = self._places.get(account_id)
        if place is None or place.id_length != len(call):
            place = self._place(account_id, len(call))
        numbers = SETTLE_NUMBERS.pack(charge_microcredits, tokens)
        command = place.settle % (call, call, numbers, len(record), record)
        try:
            reply = await self._post(command)
        except ScriptMissing:
            reply = await self._runner.send(load("settle"), command)
        return read_ended(reply)

    async def release(self, account_id: str, call_id: str, record: bytes) -> Ended:
        """Ends the hold of a call that costs nothing; after an expiry, corrects its charge to zero once."""
        args = (self._epoch, call_id, account_id, check_text(record, "record", MAX_RECORD_BYTES))
        return read_ended(await self._run("release", self._end_keys(account_id, call_id), args))

    async def expire(self, account_id: str, call_id: str, policy: str = "checkpoint") -> Ended | NotDue:
        """Ends a hold whose deadline has passed and charges it by policy: its checkpoint, the whole hold, or free."""
        if policy not in POLICIES:
            raise ValueError(f"the policy must be one of {', '.join(POLICIES)}")
        args = (self._epoch, call_id, account_id, policy)
        reply = await self._run("expire", self._end_keys(account_id, call_id), args)
        return NotDue(reply[1]) if reply[0] == b"not_due" else read_ended(reply)

    async def credit(  # noqa: PLR0917 - see extend
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
        """Adds credits (or takes them back, where negative) as one ledger entry of `kind`, once for an operation id.

        Raises Conflict (the operation was asked for with another digest), InvalidRequest (zero, or outside of 0 to 2^53-1
        credited in all) and NotFound (no such account).
        """
        if type(amount_microcredits) is not int or not 0 < abs(amount_microcredits) <= MAX_AMOUNT:
            raise InvalidRequest("The amount must not be zero nor above 2^53-1 microcredits.", param="amount")
        partition = self.partition_of(account_id)
        operation = partition.operation(check_id(operation_id, "operation_id"))
        keys = (partition.epoch, partition.account(check_id(account_id, "account_id")), operation, partition.stream)
        args = (
            self._epoch,
            account_id,
            operation_id,
            check_id(kind, "kind"),
            "+" if amount_microcredits > 0 else "-",
            abs(amount_microcredits),
            check_id(digest, "digest"),
            check_text(actor, "actor"),
            check_text(reason, "reason"),
            check_text(idempotency_key or "", "idempotency_key"),
        )
        reply = await self._run("credit", keys, args)
        if reply[0] == b"unknown_account":
            raise NotFound("There is no such account in the ledger.")
        seq, before, after, at_ms = reply[2:6]
        return Credited(seq, before, after, at_ms, reply[1] == 1)

    async def open_account(self, account_id: str, version: int) -> bool:
        """Makes the account at zero where it is unknown; True when it did. A known one gets the version if that is higher."""
        partition = self.partition_of(account_id)
        keys = (partition.epoch, partition.account(check_id(account_id, "account_id")), partition.accounts)
        args = (self._epoch, account_id, check_amount(version, "version"))
        return bool((await self._run("open_account", keys, args))[0] == b"opened")

    async def set_version(self, account_id: str, version: int) -> int | None:
        """Raises the account's version, so that holds with an older one are stale; the version now, None if unknown."""
        partition = self.partition_of(account_id)
        keys = (partition.epoch, partition.account(check_id(account_id, "account_id")))
        reply = await self._run("set_version", keys, (self._epoch, check_amount(version, "version")))
        return reply[1] if reply[0] == b"known" else None

    async def balance(self, account_id: str) -> Balance | None:
        """The account and the sum of its open holds at one instant; None where it is unknown."""
        partition = self.partition_of(check_id(account_id, "account_id"))
        found = _read_balances(await self._snapshot(partition, "0", account_id))
        return found[0] if found else None

    async def balances(self, partition: Partition) -> AsyncIterator[Balance]:
        """Every account of a partition; each with its open holds at one instant, different accounts at different ones."""
        cursor, seen = "0", set[str]()
        while True:
            reply = await self._snapshot(partition, cursor)
            for balance in _read_balances(reply):
                if balance.account_id not in seen:
                    seen.add(balance.account_id)
                    yield balance
            cursor = reply[0].decode()
            if cursor == "0":
                return

    async def due_holds(self, partition: Partition, most: int) -> DueHolds:
        """At most `most` holds of a partition whose deadline has passed, and how many are open."""
        args = (self._epoch, partition.prefix, check_amount(most, "most"))
        reply = await self._run("due", (partition.epoch, partition.deadlines), args)
        texts = [item.decode() for item in reply[2:]]
        return DueHolds(reply[0], reply[1], texts[0] or None, tuple(zip(texts[1::2], texts[2::2], strict=True)))

    async def drop_stray(self, partition: Partition, call_id: str) -> None:
        """Removes a deadline whose hold is missing (an account empty in `due_holds`); a hold that is there stays."""
        hold = partition.hold(check_id(call_id, "call_id"))
        keys = (partition.epoch, partition.account(""), hold, partition.deadlines, partition.stream)
        await self._run("expire", keys, (self._epoch, call_id, "", POLICIES[0]))

    async def trim(self, partition: Partition) -> tuple[int, int]:
        """Drops stream entries that every group has acknowledged; how many were dropped, how many are left."""
        dropped, left = await self._run("trim", (partition.stream,), ())
        return dropped, left

    async def _snapshot(self, partition: Partition, cursor: str, *account_ids: str) -> Reply:
        keys = (partition.epoch, partition.accounts, partition.deadlines)
        args: Args = (self._epoch, partition.prefix, cursor, PAGE, *account_ids)
        return cast("Reply", await self._run("snapshot", keys, args))

    def _run(self, name: str, keys: Sequence[bytes], args: Args) -> Awaitable[Any]:
        return self._runner.run(load(name), keys, args)

    async def _hold_again(self, command: bytes, error: ScriptMissing | RedisAmbiguous, give_up_at: float) -> Reply:
        """After a script that Redis has forgotten, or a lost reply: of these only one."""
        script, reply = load("hold"), None
        if isinstance(error, ScriptMissing):
            with suppress(RedisAmbiguous):
                reply = await self._runner.send(script, command)
        if reply is None:
            self.ambiguous_holds += 1
            await self._runner.ready(give_up_at - monotonic())
            reply = await self._runner.send(script, command)
        return cast("Reply", reply)

    def _encode_hold(self, request: HoldRequest) -> bytes:
        version, amount, tokens = request.version, request.amount_microcredits, request.tokens
        lease_ms, draft = request.lease_ms, request.draft
        if not 0 <= version | amount | tokens <= MAX_AMOUNT:  # as in `settle`
            raise ValueError("version, amount and tokens are whole numbers from 0 to 2^53-1")
        if not 0 < lease_ms <= MAX_LEASE_MS or len(draft) > MAX_RECORD_BYTES:
            raise ValueError(f"a lease is from 1 to {MAX_LEASE_MS} ms, a draft at most {MAX_RECORD_BYTES} bytes")
        call = encoded_call_id(request.call_id)
        place = self._places.get(request.account_id)
        if place is None or place.id_length != len(call):
            place = self._place(request.account_id, len(call))
        numbers = HOLD_NUMBERS.pack(version, amount, tokens, lease_ms)
        return place.hold(request.limits) % (call, call, numbers, len(draft), draft)

    def _place(self, account_id: str, id_length: int) -> Place:
        """For call ids of this length: nearly all are UUIDs, and another length puts its place where theirs was."""
        if len(self._places) >= _MAX_PLACES:
            self._places.clear()
        place = self._places[account_id] = Place(self.partition_of(account_id), account_id, self._epoch, id_length)
        return place

    def _hold_keys(self, account_id: str, call_id: str) -> tuple[bytes, ...]:
        return self._end_keys(account_id, call_id)[:-1]

    def _end_keys(self, account_id: str, call_id: str) -> tuple[bytes, ...]:
        partition = self.partition_of(check_id(account_id, "account_id"))
        hold = partition.hold(check_id(call_id, "call_id"))
        return partition.epoch, partition.account(account_id), hold, partition.deadlines, partition.stream


def _read_balances(reply: Reply) -> list[Balance]:
    rows = (reply[place : place + 8] for place in range(1, len(reply), 8))
    return [Balance(row[0].decode(), *row[1:]) for row in rows]
