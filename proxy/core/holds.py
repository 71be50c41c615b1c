"""The credit ledger as a model: what the scripts in proxy/ledger/lua do, in plain Python on dictionaries.

It is the readable statement of the rules and the other half of the model-based tests, which drive the real scripts and
this side by side and compare every answer, event and balance. Amounts are microcredits, time is set from outside (`now_ms`).
What it leaves out: that ends are forgotten after a while (10 minutes; 24 hours after an expiry), epochs, and lost replies.
"""

from dataclasses import dataclass, field, replace

from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.core.limit_uses import LimitUses, Taken
from proxy.core.limits import BUDGET_KINDS, REQUESTS
from proxy.core.money import MAX_AMOUNT
from proxy.core.outcomes import (
    BALANCE,
    BUDGET,
    CORRECTED,
    EXPIRED,
    IN_FLIGHT,
    RELEASED,
    SETTLED,
    UNKNOWN,
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
    Standing,
    UnknownAccount,
)

Event = dict[str, str | int | bytes]


@dataclass(slots=True)
class Account:
    """Cumulative figures; what is posted and available follows from them."""

    version: int
    credited: int = 0
    spent: int = 0
    held: int = 0
    seq: int = 0

    @property
    def posted(self) -> int:
        """May be below zero: calls are charged in full."""
        return self.credited - self.spent


@dataclass(frozen=True, slots=True)
class OpenHold:
    """Credits set aside for one call."""

    account_id: str
    amount: int
    tokens: int
    deadline_ms: int
    taken: tuple[Taken, ...]
    draft: bytes
    step: int = 0
    checkpoint: int = 0


@dataclass(frozen=True, slots=True)
class End:
    """How a hold ended. `taken` is kept after an expiry, for the correction that may follow."""

    account_id: str
    state: str
    charge: int
    tokens: int
    taken: tuple[Taken, ...] = ()


@dataclass(slots=True)
class LedgerModel:
    """The whole ledger. Methods are those of proxy.ledger.ledger.Ledger."""

    accounts: dict[str, Account] = field(default_factory=dict)
    holds: dict[str, OpenHold] = field(default_factory=dict)
    ends: dict[str, End] = field(default_factory=dict)
    operations: dict[str, tuple[str, str, Credited]] = field(default_factory=dict)
    uses: LimitUses = field(default_factory=LimitUses)
    events: list[Event] = field(default_factory=list)
    now_ms: int = 0

    def open_account(self, account_id: str, version: int) -> bool:
        """A new account at zero; a known one keeps the higher version."""
        if account_id in self.accounts:
            self.set_version(account_id, version)
            return False
        self.accounts[account_id] = Account(version)
        return True

    def set_version(self, account_id: str, version: int) -> int | None:
        """The version now; it never falls."""
        account = self.accounts.get(account_id)
        if account is None:
            return None
        account.version = max(account.version, version)
        return account.version

    def balance(self, account_id: str) -> Balance | None:
        """The account, and its open holds counted one by one."""
        account = self.accounts.get(account_id)
        if account is None:
            return None
        amounts = [hold.amount for hold in self.holds.values() if hold.account_id == account_id]
        figures = (account.credited, account.spent, account.held, account.seq, account.version)
        return Balance(account_id, *figures, len(amounts), sum(amounts))

    def credit(
        self,
        account_id: str,
        operation_id: str,
        kind: str,
        amount: int,
        digest: str,
    ) -> Credited:
        """One entry for an operation id, whatever is repeated."""
        known = self.operations.get(operation_id)
        if known is not None:
            if known[:2] != (digest, account_id):
                raise Conflict
            return replace(known[2], repeated=True)
        account = self.accounts.get(account_id)
        if account is None:
            raise NotFound
        if amount == 0 or not 0 <= account.credited + amount <= MAX_AMOUNT:
            raise InvalidRequest
        entry = self._entry(account, kind, amount)
        self.events.append({"kind": "credit", "account": account_id, "operation": operation_id, **entry})
        result = Credited(account.seq, account.posted, account.posted + amount, self.now_ms, repeated=False)
        account.credited += amount
        self.operations[operation_id] = (digest, account_id, result)
        return result

    def hold(self, request: HoldRequest) -> Held | Refused | Stale | UnknownAccount:
        """All limits, budgets and the balance allow it, or nothing is taken."""
        account = self.accounts.get(request.account_id)
        if account is None:
            return UnknownAccount()
        looks = [self.uses.look(request, limit, self.now_ms) for limit in request.limits]
        standings = tuple(Standing(look.limit, max(0, look.left), look.reset_ms) for look in looks)
        if request.call_id in self.ends:
            raise Conflict
        existing = self.holds.get(request.call_id)
        amount, available = request.amount_microcredits, account.posted - account.held
        if existing is not None:
            same = existing.account_id == request.account_id and existing.tokens == request.tokens
            if not same or (existing.step == 0 and existing.amount != amount):
                raise Conflict
            return Held(account.posted, account.held, standings)
        if account.version != request.version:
            return Stale()
        if amount > available:
            source = IN_FLIGHT if amount <= account.posted else BALANCE
            return Refused(source, None, amount, max(available, -MAX_AMOUNT), None, standings)
        for look in looks:
            if look.needed > look.left:
                source = BUDGET if look.limit.kind in BUDGET_KINDS else look.limit.kind
                return Refused(source, look.limit, look.needed, look.left, look.retry_after_ms, standings)
        account.held += amount
        taken = tuple(Taken(look.limit, look.at) for look in looks if look.limit.kind != REQUESTS)
        deadline_ms = self.now_ms + request.lease_ms
        self.holds[request.call_id] = OpenHold(
            request.account_id, amount, request.tokens, deadline_ms, taken, request.draft
        )
        return Held(account.posted, account.held, tuple(self.uses.take(request.account_id, look) for look in looks))

    def extend(  # noqa: PLR0917 - the ledger's own parameters
        self,
        call_id: str,
        step: int,
        wanted: int,
        checkpoint: int,
        lease_ms: int,
        draft: bytes,
    ) -> Extended | Gone:
        """Renews and notes always, grows where it can, never shrinks; an older or repeated step changes nothing."""
        hold = self.holds.get(call_id)
        if hold is None:
            return Gone()
        if step <= hold.step:
            return Extended(wanted <= hold.amount, hold.amount)
        account = self.accounts[hold.account_id]
        more = max(0, wanted - hold.amount)
        if (
            more
            and more <= account.posted - account.held
            and self.uses.budgets_allow(hold.account_id, hold.taken, more)
        ):
            self.uses.correct(hold.account_id, hold.taken, more, 0, ended=False)
            account.held += more
            hold = replace(hold, amount=wanted)
        self.holds[call_id] = replace(
            hold, step=step, checkpoint=checkpoint, deadline_ms=self.now_ms + lease_ms, draft=draft
        )
        return Extended(wanted <= hold.amount, hold.amount)

    def settle(self, account_id: str, call_id: str, charge: int, tokens: int, record: bytes) -> Ended:
        """Charges in full; corrects after an expiry."""
        return self._end(SETTLED, account_id, call_id, charge, tokens, record)

    def release(self, account_id: str, call_id: str, record: bytes) -> Ended:
        """Charges nothing; corrects to nothing after an expiry."""
        return self._end(RELEASED, account_id, call_id, 0, 0, record)

    def expire(self, account_id: str, call_id: str, policy: str) -> Ended | NotDue:
        """Charges by policy what can still be counted, once the deadline has passed."""
        hold = self.holds.get(call_id)
        if hold is None:
            return self._repeat(account_id, call_id)
        if self.now_ms < hold.deadline_ms:
            return NotDue(hold.deadline_ms - self.now_ms)
        charge = {"checkpoint": hold.checkpoint, "hold": hold.amount, "free": 0}[policy]
        charge = min(charge, MAX_AMOUNT - self.accounts[account_id].spent)
        return self._end(EXPIRED, account_id, call_id, charge, hold.tokens, hold.draft)

    def _end(  # noqa: PLR0917 - what its three callers know
        self,
        state: str,
        account_id: str,
        call_id: str,
        charge: int,
        tokens: int,
        record: bytes,
    ) -> Ended:
        account, hold, end = self.accounts.get(account_id), self.holds.get(call_id), self.ends.get(call_id)
        if hold is None and (end is None or end.state != EXPIRED):
            return self._repeat(account_id, call_id)
        before = hold or end
        assert before is not None
        assert account is not None
        freed = hold.amount if hold else 0
        more = charge - (end.charge if end else 0)
        if not 0 <= account.spent + more <= MAX_AMOUNT:
            raise InvalidRequest
        state = state if hold else CORRECTED
        self.uses.correct(account_id, before.taken, more - freed, before.tokens - tokens, ended=hold is not None)
        event: Event = {"kind": "call", "account": account_id, "call": call_id, "state": state, "charge": charge}
        if more:
            event |= self._entry(account, "charge" if hold else "correction", -more)
        self.events.append({**event, "at": self.now_ms, "record": record})
        account.spent += more
        account.held -= freed
        self.holds.pop(call_id, None)
        self.ends[call_id] = End(account_id, state, charge, tokens, before.taken if state == EXPIRED else ())
        return Ended(state, False, charge, account.posted, account.held)

    def _repeat(self, account_id: str, call_id: str) -> Ended:
        account, end = self.accounts.get(account_id, Account(0)), self.ends.get(call_id)
        if end is None:
            return Ended(UNKNOWN, False, 0, account.posted, account.held)
        return Ended(end.state, True, end.charge, account.posted, account.held)

    def _entry(self, account: Account, kind: str, amount: int) -> Event:
        account.seq += 1
        before = account.posted
        entry: Event = {"seq": account.seq, "entry": kind, "amount": amount, "before": before}
        return {**entry, "after": before + amount, "at": self.now_ms}
