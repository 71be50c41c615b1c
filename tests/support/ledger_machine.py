"""The real scripts and the model of proxy/core/holds.py, driven side by side.

After every step the answers, the events, the balances and the sums must be equal. `Mutation` swaps a piece of a script's text,
to see whether the machine would notice.
"""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from proxy.core.holds import LedgerModel
from proxy.core.limit_uses import DAY_MS
from proxy.core.money import MAX_AMOUNT
from proxy.core.outcomes import EXPIRED, HoldRequest
from proxy.ledger.errors import RedisAmbiguous
from proxy.ledger.ledger import Ledger
from tests.support.ledger_runner import CLOCK_KEY, BlockingRunner, Mutation, as_bytes, finish, named_event, outcome
from tests.support.ledger_steps import (
    ACCOUNTS,
    Credit,
    Expire,
    Extend,
    Hold,
    Open,
    Release,
    Settle,
    Version,
    Wait,
    a_step,
    hold,
    limit_set,
)
from tests.support.redis_server import RedisServer

NO_CALL = "call-none"
FIRST_CREDITS = (5_000, 10**9, MAX_AMOUNT)
BEGINNING_MS = 1_795_312_800_000  # a Sunday in November 2026


class LedgerMachine:
    """One history on an emptied server: `begin`, then `do` and `check` in turn. `note` is told of each step."""

    def __init__(self, server: RedisServer, mutation: Mutation | None, note: Callable[[str], object]) -> None:
        self.note = note
        self.runner = BlockingRunner(str(server.socket_path), mutation)
        self.runner.command("FLUSHALL")
        self.ledger = Ledger(self.runner, 1, "e1")
        self.partition = self.ledger.partitions[0]
        self.runner.command("SET", self.partition.epoch, "e1")
        self.model = LedgerModel()
        self.last_event = "0-0"
        self.entries: dict[bytes, tuple[int, int]] = {}  # number of entries and their sum, by account
        self.record_number = 0
        self.calls = 0
        self.at(BEGINNING_MS)

    def close(self) -> None:
        self.runner.close()

    def at(self, now_ms: int) -> None:
        self.model.now_ms = now_ms
        self.runner.command("SET", CLOCK_KEY, now_ms)

    def both(self, real: Callable[[], Awaitable[Any]], model: Callable[[], Any], *, lose: bool) -> None:
        """Does it on both sides; with `lose`, the first reply is lost and it is done again."""
        if lose:
            self.runner.lose_next = True
            try:
                # Ledger.hold repeats by itself; what an error reply was lost of is not lost at all.
                first = outcome(lambda: finish(real()))
            except RedisAmbiguous:
                outcome(model)
            else:
                if self.runner.lose_next:
                    self.runner.lose_next = False
                else:
                    outcome(model)
                assert first == outcome(model)
                return
        assert outcome(lambda: finish(real())) == outcome(model)

    def record(self) -> bytes:
        self.record_number += 1
        return b'{"n":%d}' % self.record_number

    def call(self, which: tuple[str, int]) -> tuple[str, str]:
        """The id of a call of the wanted sort and its account; where there is none of that sort, of any."""
        sort, number = which
        ends = self.model.ends
        sorts = {
            "open": [*self.model.holds],
            "expired": [call_id for call_id, end in ends.items() if end.state == EXPIRED],
            "any": [*self.model.holds, *ends],
            "none": [],
        }
        found = sorts[sort] or ([*self.model.holds, *ends] if sort != "none" else [])
        if not found:
            return NO_CALL, ACCOUNTS[0]
        call_id = found[number % len(found)]
        known = self.model.holds.get(call_id) or ends[call_id]
        return call_id, known.account_id

    def begin(self, first: int, seed: int) -> None:
        random = Random(seed)
        self.limits = limit_set(random)
        self.at(BEGINNING_MS + random.randrange(2 * 365) * DAY_MS)
        self.note(f"limits: {self.limits}, at {self.model.now_ms}")
        for account_id in ACCOUNTS:
            self.open(Open(account_id, 1), lose=False)
        self.credit(Credit(ACCOUNTS[0], "op-0", first, "d0"), lose=False)
        self.credit(Credit(ACCOUNTS[1], "op-1", 5_000, "d0"), lose=False)

    def do(self, seed: int) -> None:
        step = a_step(seed)
        if not (self.model.holds or self.model.ends) and hasattr(step, "which"):
            step = hold(Random(seed))  # there is no call yet to do it to
        self.note(f"{step}")
        getattr(self, type(step).__name__.lower())(step, lose=seed % 4 == 0)

    def open(self, step: Open, *, lose: bool) -> None:
        self.both(
            lambda: self.ledger.open_account(step.account_id, step.version),
            lambda: self.model.open_account(step.account_id, step.version),
            lose=lose,
        )

    def version(self, step: Version, *, lose: bool) -> None:
        self.both(
            lambda: self.ledger.set_version(step.account_id, step.version),
            lambda: self.model.set_version(step.account_id, step.version),
            lose=lose,
        )

    def credit(self, step: Credit, *, lose: bool) -> None:
        what = (step.account_id, step.operation, "topup", step.amount, step.digest)
        self.both(lambda: self.ledger.credit(*what, "", "", None), lambda: self.model.credit(*what), lose=lose)

    def hold(self, step: Hold, *, lose: bool) -> None:
        self.calls += step.again is None
        call_id = f"call-{self.calls if step.again is None else max(0, self.calls - step.again)}"
        account = self.model.accounts.get(step.account_id)
        version = account.version + step.version_off if account else 1
        amount = step.amount
        if account and step.beside is not None:
            amount = max(0, account.posted - account.held + step.beside)
        limits = self.limits[: step.most_limits]
        request = HoldRequest(
            step.account_id,
            call_id,
            min(amount, MAX_AMOUNT),
            step.tokens,
            step.lease_ms,
            limits,
            version,
            self.record(),
        )
        self.both(lambda: self.ledger.hold(request), lambda: self.model.hold(request), lose=lose)

    def extend(self, step: Extend, *, lose: bool) -> None:
        call_id, account_id = self.call(step.which)
        known = self.model.holds.get(call_id)
        number = max(1, (known.step if known else 0) + step.newer)
        more, account = step.more, self.model.accounts[account_id]
        if step.beside is not None:
            more = account.posted - account.held + step.beside
        amount = min(MAX_AMOUNT, max(0, (known.amount if known else 0) + more))
        what = (call_id, number, amount, step.checkpoint, step.lease_ms, self.record())
        self.both(lambda: self.ledger.extend(account_id, *what), lambda: self.model.extend(*what), lose=lose)

    def settle(self, step: Settle, *, lose: bool) -> None:
        call_id, account_id = self.call(step.which)
        known, charge = self.model.holds.get(call_id), step.charge
        if known is not None and step.beside is not None:
            charge = min(MAX_AMOUNT, max(0, known.amount + step.beside))
        what = (account_id, call_id, charge, step.tokens, self.record())
        self.both(lambda: self.ledger.settle(*what), lambda: self.model.settle(*what), lose=lose)

    def release(self, step: Release, *, lose: bool) -> None:
        call_id, account_id = self.call(step.which)
        what = (account_id, call_id, self.record())
        self.both(lambda: self.ledger.release(*what), lambda: self.model.release(*what), lose=lose)

    def expire(self, step: Expire, *, lose: bool) -> None:
        call_id, account_id = self.call(step.which)
        hold = self.model.holds.get(call_id)
        if hold is not None and step.after_ms is not None:
            self.at(max(self.model.now_ms, hold.deadline_ms + step.after_ms))
        what = (account_id, call_id, step.policy)
        self.both(lambda: self.ledger.expire(*what), lambda: self.model.expire(*what), lose=lose)

    def wait(self, step: Wait, *, lose: bool) -> None:
        self.at(self.model.now_ms + step.by_ms)

    def check(self) -> None:
        """Balances, events and deadlines are the same on both sides."""
        self.the_balances_are_equal()
        self.the_events_are_equal_and_add_up()
        self.the_deadlines_are_those_of_open_holds()

    def the_balances_are_equal(self) -> None:
        for account_id in self.model.accounts:
            real = finish(self.ledger.balance(account_id))
            assert real == self.model.balance(account_id)
            assert real.held_microcredits == real.open_holds_microcredits

    def the_events_are_equal_and_add_up(self) -> None:
        stream = self.runner.command("XRANGE", self.partition.stream, f"({self.last_event}", "+")
        for (entry_id, pairs), event in zip(stream, self.model.events, strict=True):
            self.last_event = entry_id.decode()
            real = named_event(pairs)
            expected = {name.encode(): as_bytes(value) for name, value in event.items()}
            if event["kind"] == "credit":
                expected |= {b"actor": b"", b"reason": b"", b"idempotency_key": b""}
            assert real == expected
            if b"seq" in real:
                count, total = self.entries.get(real[b"account"], (0, 0))
                assert int(real[b"seq"]) == count + 1
                self.entries[real[b"account"]] = (count + 1, total + int(real[b"amount"]))
        self.model.events.clear()
        for account_id, account in self.model.accounts.items():
            assert self.entries.get(account_id.encode(), (0, 0)) == (account.seq, account.posted)

    def the_deadlines_are_those_of_open_holds(self) -> None:
        members = self.runner.command("ZRANGE", self.partition.deadlines, 0, -1, "WITHSCORES")
        real = {call.decode(): int(score) for call, score in zip(members[::2], members[1::2], strict=True)}
        assert real == {call_id: hold.deadline_ms for call_id, hold in self.model.holds.items()}
