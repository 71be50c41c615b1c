"""The real scripts of grants, refunds and takings beside the pure model of burning, driven by seeds among calls and their ends.

`CreditModel` adds to the model of the ledger what grants and refunds are; what burns is `proxy.core.grants.Burning`, fed with
the model's entries alone, as the audit and the rebuild do. After every step answers, events, balances and what remains of each
grant must be equal, and grants must never be more than the balance.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import Any

from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.core.grants import Burning, LiveGrant
from proxy.core.holds import LedgerModel
from proxy.core.money import MAX_AMOUNT
from proxy.core.outcomes import EXPIRED, Credited, HoldRequest
from proxy.ledger.credit_scripts import CreditScripts, NotCovered, NotExpired, NotRefunded, Operation, TooManyGrants
from proxy.ledger.errors import RedisAmbiguous
from proxy.ledger.ledger import Ledger
from tests.support.ledger_runner import CLOCK_KEY, BlockingRunner, Mutation, as_bytes, finish, named_event, outcome
from tests.support.redis_server import RedisServer

ACCOUNTS = ("acct_a", "acct_b")
NOBODY = "acct_c"
MOST = 3  # live grants; the tests set the scripts' bound to it
BEGINNING_MS = 1_795_312_800_000
STEPS = 40


class CreditModel(LedgerModel):
    """The ledger with grants and refunds."""

    def __init__(self) -> None:
        super().__init__()
        self.burning = {account_id: Burning() for account_id in ACCOUNTS}
        self.refunded: dict[str, int] = {}
        self._about: tuple[LiveGrant | None, str | None] = (None, None)

    def _entry(self, account: Any, kind: str, amount: int) -> Any:
        account_id = next(name for name, known in self.accounts.items() if known is account)
        self.burning[account_id].follow(kind, amount, self._about[0])
        return super()._entry(account, kind, amount)

    def grant(self, operation: Operation, grant: LiveGrant) -> Any:
        def check(account: Any) -> Any:
            if grant.remaining > MAX_AMOUNT - account.credited:
                raise InvalidRequest
            live = len(self.burning[operation.account_id].remaining())
            return TooManyGrants(live) if live >= MOST else grant.remaining

        return self._once(operation, "grant", check, grant)

    def take(self, operation: Operation, amount: int, *, covered: bool) -> Any:
        def check(account: Any) -> Any:
            available = account.posted - account.held
            if covered and amount > available:
                return NotCovered(available)
            if amount > account.credited:
                raise InvalidRequest
            return -amount

        return self._once(operation, "adjustment", check)

    def expire_grant(self, operation: Operation, grant_id: str, ends_at: int) -> Any:
        def check(account: Any) -> Any:
            if self.now_ms < ends_at:
                return NotExpired(0, due_in_ms=ends_at - self.now_ms)
            left = self.burning[operation.account_id].remaining().get(grant_id, 0)
            amount = min(left, account.posted - account.held)
            return -amount if amount > 0 else NotExpired(left)

        return self._once(operation, "expiry", check, LiveGrant(0, 0, grant_id, 0))

    def refund(self, operation: Operation, call_id: str, amount: int) -> Any:
        def check(account: Any) -> Any:
            end = self.ends.get(call_id)
            hold = self.holds.get(call_id)
            if hold is not None and hold.account_id == operation.account_id:
                return NotRefunded("open")
            if end is None or end.account_id != operation.account_id:
                return NotRefunded("unknown_call")
            before = self.refunded.get(call_id, 0)
            wanted = amount or end.charge - before
            if not 0 < wanted <= end.charge - before:
                return NotRefunded("exceeds", end.charge, before)
            if wanted > MAX_AMOUNT - account.credited:
                raise InvalidRequest
            self.refunded[call_id] = before + wanted
            if end.state == EXPIRED:  # final from here on
                self.ends[call_id] = replace(end, state="corrected", taken=())
            return wanted

        return self._once(operation, "refund", check, call_id=call_id)

    def _once(
        self,
        operation: Operation,
        kind: str,
        check: Callable[[Any], Any],
        grant: LiveGrant | None = None,
        call_id: str | None = None,
    ) -> Any:
        """A change by `check(account)` microcredits, or what it says instead; the same answer at every repeat."""
        known = self.operations.get(operation.operation_id)
        if known is not None:
            if known[:2] != (operation.digest, operation.account_id):
                raise Conflict
            return replace(known[2], repeated=True)
        account = self.accounts.get(operation.account_id)
        if account is None:
            raise NotFound
        amount = check(account)
        if type(amount) is not int:
            return amount
        self._about = (grant, call_id)
        entry = self._entry(account, kind, amount)
        self._about = (None, None)
        event = {"kind": "credit", "account": operation.account_id, "operation": operation.operation_id, **entry}
        self.events.append(event if call_id is None else {**event, "call": call_id})
        answer = Credited(account.seq, account.posted, account.posted + amount, self.now_ms, repeated=False)
        account.credited += amount
        self.operations[operation.operation_id] = (operation.digest, operation.account_id, answer)
        return answer


class GrantMachine:
    """One history on an emptied server: `begin`, then `do` and `check` in turn. `note` is told of each step."""

    def __init__(self, server: RedisServer, mutation: Mutation | None, note: Callable[[str], object]) -> None:
        self.note = note
        self.runner = BlockingRunner(str(server.socket_path), mutation)
        self.runner.command("FLUSHALL")
        self.ledger = Ledger(self.runner, 1, "e1")
        self.scripts = CreditScripts(self.ledger, self.runner)
        self.partition = self.ledger.partitions[0]
        self.runner.command("SET", self.partition.epoch, "e1")
        self.model = CreditModel()
        self.last_event = "0-0"
        self.grants = self.calls = self.operations = 0
        self.at(BEGINNING_MS)

    def close(self) -> None:
        self.runner.close()

    def at(self, now_ms: int) -> None:
        self.model.now_ms = now_ms
        self.runner.command("SET", CLOCK_KEY, now_ms)

    def both(self, what: str, real: Callable[[], Awaitable[Any]], model: Callable[[], Any], random: Random) -> None:
        """Does it on both sides; now and then the reply is lost and it is done again."""
        self.note(what)
        if random.random() < 0.2:
            self.runner.lose_next = True
            try:
                first = outcome(lambda: finish(real()))
            except RedisAmbiguous:
                outcome(model)
            else:
                self.runner.lose_next = False
                assert first == outcome(model), what
                return
        assert outcome(lambda: finish(real())) == outcome(model), what

    def begin(self, first: int) -> None:
        for account_id in ACCOUNTS:
            finish(self.ledger.open_account(account_id, 1))
            self.model.open_account(account_id, 1)
        if first:
            self.both("first", *self.credit(ACCOUNTS[0], "op-first", first, "d0"), Random(1))

    def credit(self, account_id: str, operation_id: str, amount: int, digest: str) -> tuple[Any, Any]:
        what = (account_id, operation_id, "topup", amount, digest)
        return lambda: self.ledger.credit(*what, "", "", None), lambda: self.model.credit(*what)

    def do(self, seed: int) -> None:
        random = Random(seed)
        kinds = (
            (self.grant, 5), (self.expire_grant, 5), (self.hold, 6), (self.end, 6), (self.refund, 4), (self.take, 2),
            (self.top_up, 2), (self.wait, 2),
        )  # fmt: skip
        random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0](random)

    def operation(self, random: Random) -> Operation:
        """A new operation, or one that was there before, perhaps with another content."""
        account_id = random.choices((*ACCOUNTS, NOBODY), (20, 5, 1))[0]
        again = random.random() < 0.15 and self.operations > 0
        self.operations += not again
        number = random.randint(max(1, self.operations - 4), self.operations) if again else self.operations
        return Operation(account_id, f"op-{number}", random.choice(("d0", "d0", "d0", "d1")) if again else "d0")

    def grant(self, random: Random) -> None:
        operation = self.operation(random)
        self.grants += 1
        number = self.grants if random.random() < 0.9 else 900 - self.grants  # ids in another order than time
        amount = random.choice((random.randint(1, 300), random.randint(1, 300), MAX_AMOUNT, 2**52 + 1))
        expires_at = random.choice((1_000, 1_000, 2_000, MAX_AMOUNT))
        grant = LiveGrant(expires_at, random.choice((100, 100, 0)), f"grant_{number:03}", amount)
        self.both(
            f"{operation} gives {grant}",
            lambda: self.scripts.grant(operation, grant),
            lambda: self.model.grant(operation, grant),
            random,
        )

    def expire_grant(self, random: Random) -> None:
        operation = self.operation(random)
        burning = self.model.burning.get(operation.account_id)
        live = [one.id for one in burning.live] if burning else []
        grant_id = random.choice(live) if live and random.random() < 0.9 else "grant_none"
        ends_at = self.model.now_ms + random.choice((0, 0, 0, -5, 1))
        self.both(
            f"{operation} ends {grant_id} at {ends_at}",
            lambda: self.scripts.expire_grant(operation, grant_id, ends_at),
            lambda: self.model.expire_grant(operation, grant_id, ends_at),
            random,
        )

    def take(self, random: Random) -> None:
        operation = self.operation(random)
        account = self.model.accounts.get(operation.account_id)
        posted = account.posted if account else 0
        amount = min(MAX_AMOUNT, max(1, random.choice((random.randint(1, 200), posted, posted + 1, posted - 1))))
        covered = random.random() < 0.4
        if covered and account and random.random() < 0.5:
            amount = min(MAX_AMOUNT, max(1, account.posted - account.held + random.choice((0, 1))))
        self.both(
            f"{operation} takes {amount}{', covered' if covered else ''}",
            lambda: self.scripts.take(operation, amount, covered=covered),
            lambda: self.model.take(operation, amount, covered=covered),
            random,
        )

    def refund(self, random: Random) -> None:
        operation = self.operation(random)
        calls = [*self.model.holds, *self.model.ends][-6:]
        call_id = random.choice(calls) if calls and random.random() < 0.95 else "call-none"
        end = self.model.ends.get(call_id)
        left = end.charge - self.model.refunded.get(call_id, 0) if end else 1
        amount = min(MAX_AMOUNT, max(0, random.choice((0, left, left + 1, random.randint(1, 50)))))
        self.both(
            f"{operation} refunds {amount} of {call_id}",
            lambda: self.scripts.refund(operation, call_id, amount, recorded_charge=None, recorded_refunds=0),
            lambda: self.model.refund(operation, call_id, amount),
            random,
        )

    def top_up(self, random: Random) -> None:
        operation = self.operation(random)
        amount = random.choice((random.randint(1, 300), random.randint(1, 300), MAX_AMOUNT))
        what = (operation.account_id, operation.operation_id, amount, operation.digest)
        self.both(f"{operation} adds {amount}", *self.credit(*what), random)

    def hold(self, random: Random) -> None:
        self.calls += 1
        account_id = random.choices(ACCOUNTS, (4, 1))[0]
        account = self.model.accounts[account_id]
        free = account.posted - account.held
        amount = max(0, min(MAX_AMOUNT, random.choice((random.randint(0, 150), free, free + 1, free // 2))))
        request = HoldRequest(account_id, f"call-{self.calls}", amount, 0, random.choice((1, 60_000)), (), 1, b"{}")
        self.both(f"{request}", lambda: self.ledger.hold(request), lambda: self.model.hold(request), random)

    def end(self, random: Random) -> None:
        """Settles, above its hold too, releases or expires a call; or brings a late result of one that expired."""
        ends = self.model.ends
        late = [call_id for call_id, end in ends.items() if end.state == EXPIRED or call_id in self.model.refunded]
        calls = late if late and random.random() < 0.4 else [*self.model.holds]
        if not calls:
            return
        call_id = random.choice(calls)
        known = self.model.holds.get(call_id) or self.model.ends[call_id]
        amount = known.amount if call_id in self.model.holds else known.charge
        if call_id in self.model.holds and random.random() < 0.5:
            self.at(max(self.model.now_ms, known.deadline_ms))
            what = (known.account_id, call_id, random.choice(("hold", "hold", "free")))
            self.both(f"expire {what}", lambda: self.ledger.expire(*what), lambda: self.model.expire(*what), random)
            return
        charge = max(0, min(MAX_AMOUNT, random.choice((amount, amount // 2, amount + random.randint(0, 80), 0))))
        paid = (known.account_id, call_id, charge, 0, b"{}")
        self.both(f"settle {paid}", lambda: self.ledger.settle(*paid), lambda: self.model.settle(*paid), random)

    def wait(self, random: Random) -> None:
        self.at(self.model.now_ms + random.choice((1, 1_000, 60_000)))

    def check(self) -> None:
        for account_id in ACCOUNTS:
            account, burning = self.model.accounts[account_id], self.model.burning[account_id]
            now = finish(self.scripts.grants(account_id))
            assert finish(self.ledger.balance(account_id)) == self.model.balance(account_id)
            assert (now.seq, now.posted_microcredits, now.held_microcredits) == (
                account.seq,
                account.posted,
                account.held,
            )
            assert {name: left for name, left in now.remaining.items() if left} == burning.remaining()
            assert (now.mark, list(now.stored)) == (burning.mark, burning.live)
            assert [one.remaining for one in now.stored] == [one.remaining for one in burning.live]
            assert sum(burning.remaining().values()) <= max(account.posted, 0)
        self.check_events()

    def check_events(self) -> None:
        stream = self.runner.command("XRANGE", self.partition.stream, f"({self.last_event}", "+")
        for (entry_id, pairs), event in zip(stream, self.model.events, strict=True):
            self.last_event = entry_id.decode()
            real = named_event(pairs)
            if event["kind"] == "credit":
                for word in (b"actor", b"reason", b"idempotency_key"):
                    assert real.pop(word) == b""
            assert real == {name.encode(): as_bytes(value) for name, value in event.items()}
        self.model.events.clear()
