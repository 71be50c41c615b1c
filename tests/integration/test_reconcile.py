"""Killed between any two steps of a credit operation: after a restart either nothing of it happened, or all of it, once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import pytest

from proxy.accounts.desk import Desk
from proxy.accounts.grants import GrantOrder
from proxy.accounts.keys import KeyHasher
from proxy.accounts.redemption import CodeOrder
from proxy.accounts.refunds import Refund
from proxy.accounts.topups import Credit
from proxy.core.errors import Conflict, FareboxError, InvalidRequest, NotFound
from proxy.core.money import MAX_AMOUNT
from proxy.ledger.ledger import Ledger
from proxy.ledger.scripts import Script
from tests.support.stores import Build, House, build, house, prices

__all__ = ["build", "house"]

HOUR_MS = 3_600_000


class Killed(BaseException):
    """The process is gone; nothing of it goes on."""


class Mortal:
    """A store of a process that is killed at its n-th write, before or after the store did it."""

    def __init__(self, store: Any, fate: "Fate") -> None:
        self._store, self._fate = store, fate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def transaction(self, *steps: Any) -> Any:
        return await self._fate.meet("sql", lambda: self._store.transaction(*steps))

    async def execute(self, query: str, /, **params: Any) -> Any:
        return await self._fate.meet("sql", lambda: self._store.execute(query, **params))

    async def run(self, script: Script, keys: Any, args: Any) -> Any:
        if script.name in {"grants", "standing", "snapshot"}:  # they only read
            return await self._store.run(script, keys, args)
        return await self._fate.meet(script.name, lambda: self._store.run(script, keys, args))

    async def send(self, script: Script, command: bytes) -> Any:
        return await self._fate.meet(script.name, lambda: self._store.send(script, command))


class Fate:
    """Lets `writes` writes happen and kills before the next one; without a number it only writes down what happened."""

    def __init__(self, writes: int | None = None) -> None:
        self.writes, self.happened = writes, list[str]()

    async def meet(self, what: str, work: Callable[[], Awaitable[Any]]) -> Any:
        if self.writes is not None and len(self.happened) >= self.writes:
            raise Killed
        self.happened.append(what)
        return await work()


def desk_of(house: House, fate: Fate | None = None) -> Desk:
    """The credit operations of a process, one that dies or one that lives."""
    hasher = KeyHasher("a pepper of some length")
    if fate is None:
        return Desk(house.database, house.ledger, house.scripts, house.clock, hasher=hasher, prices=prices())
    scripts = Mortal(house.scripts, fate)
    ledger = Ledger(scripts, len(house.partitions), house.ledger.epoch)
    return Desk(Mortal(house.database, fate), ledger, scripts, house.clock, hasher=hasher, prices=prices())


async def posted(house: House, account_id: str) -> int:
    balance = await house.ledger.balance(account_id)
    assert balance is not None
    return balance.posted_microcredits


class Story:
    """One operation: what is there before it, what is asked for, and what is there when all of it has happened."""

    after: int

    async def prepare(self, house: House) -> None:
        self.account_id = await house.account()
        self.before = await posted(house, self.account_id)

    async def ask(self, desk: Desk) -> Any:
        raise NotImplementedError


class TopUp(Story):
    async def ask(self, desk: Desk) -> Any:
        self.after = self.before + 7
        return await desk.topups.top_up(self.account_id, Credit(7, "k"))


class Adjustment(Story):
    async def ask(self, desk: Desk) -> Any:
        self.after = self.before - 7
        return await desk.topups.top_up(self.account_id, Credit(-7, "k", "adjustment"))


class Refunded(Story):
    async def prepare(self, house: House) -> None:
        await super().prepare(house)
        self.call_id = await house.call(self.account_id, 60)
        await house.record_all()
        self.before -= 60

    async def ask(self, desk: Desk) -> Any:
        self.after = self.before + 60
        return await desk.refunds.refund(self.account_id, Refund(self.call_id, "k"))


class Granted(Story):
    async def ask(self, desk: Desk) -> Any:
        self.after = self.before + 7
        return (await desk.grants.give(self.account_id, GrantOrder(7, "k", 2**50)))[0]


class Expired(Story):
    async def prepare(self, house: House) -> None:
        await super().prepare(house)
        _, grant = await house.grants.give(self.account_id, GrantOrder(9, "g", house.clock.now_ms() + HOUR_MS))
        await house.sql("UPDATE grants SET ends_at = 1 WHERE id = ?", grant.id)
        self.before += 9
        self.after = self.before - 9

    async def ask(self, desk: Desk) -> Any:
        await desk.grants.sweep()


class Redeemed(Story):
    async def prepare(self, house: House) -> None:
        await super().prepare(house)
        self.code = (await desk_of(house).codes.create(CodeOrder(1, 7, as_grant=True)))[0].code

    async def ask(self, desk: Desk) -> Any:
        self.after = self.before + 7
        return await desk.codes.redeem(self.account_id, self.code)


@pytest.mark.parametrize("story", [TopUp, Adjustment, Refunded, Granted, Expired, Redeemed])
async def test_killed_between_any_two_steps_it_happened_not_at_all_or_whole(story: type[Story], house: House) -> None:
    whole = story()
    await whole.prepare(house)
    alive = Fate()
    await whole.ask(desk_of(house, alive))
    assert len(alive.happened) >= 3
    assert await posted(house, whole.account_id) == whole.after
    for writes in range(len(alive.happened) + 1):
        for recorded in (False, True):
            told = story()
            await told.prepare(house)
            fate = Fate(writes)
            try:
                await told.ask(desk_of(house, fate))
            except Killed:
                assert writes < len(alive.happened)
            if recorded:
                await house.record_all()
            asked = any(what == "sql" for what in fate.happened)
            again = desk_of(house)
            await again.reconciler.sweep(older_than_ms=-1)
            if story is not Expired:
                assert await posted(house, told.account_id) == (told.after if asked else told.before), fate.happened
                first = await told.ask(again)
                await again.reconciler.sweep(older_than_ms=-1)
                assert await told.ask(again) == first
            await again.grants.sweep()
            assert await posted(house, told.account_id) == told.after
    await house.record_all()
    report = await house.audit()
    assert report.holds, report.differences
    assert [row async for row in house.journal.pending(2**60)] == []


async def test_fifty_identical_top_ups_at_once_are_one(build: Build) -> None:
    houses = [await build(), await build(), await build()]
    account_id = await houses[0].account(0)
    credit = Credit(7, "k", reason="invoice")
    asked = [houses[number % 3].topups.top_up(account_id, credit) for number in range(50)]
    answers = await asyncio.gather(*asked)
    assert len(set(answers)) == 1
    assert await posted(houses[0], account_id) == 7
    with pytest.raises(Conflict) as caught:
        await houses[1].topups.top_up(account_id, Credit(8, "k", reason="invoice"))
    assert caught.value.code == "idempotency_conflict"
    await houses[0].record_all()
    # A restart and a day later: Redis remembers neither the operation nor its answer.
    operations = await houses[0].redis.execute("KEYS", houses[0].ledger.partition_of(account_id).prefix + b"op:*")
    await houses[0].redis.execute("DEL", *operations)
    fresh = await build()
    again = await asyncio.gather(*(fresh.topups.top_up(account_id, credit) for _ in range(50)))
    assert set(again) == set(answers)
    assert [entry["amount_microcredits"] for entry in await fresh.entries(account_id)] == [7]


async def test_a_refused_operation_is_closed_and_answered_the_same_for_ever(house: House) -> None:
    account_id = await house.account(0)
    await house.top_up(account_id, MAX_AMOUNT, "all")
    for _ in range(2):
        with pytest.raises(InvalidRequest) as caught:
            await house.top_up(account_id, 1, "k")
        assert caught.value.param == "amount"
        await house.topups.top_up(account_id, Credit(-5, "make room", "adjustment"))
    assert (await desk_of(house).reconciler.sweep(older_than_ms=-1)).finished == 0
    assert await posted(house, account_id) == MAX_AMOUNT - 5


async def test_a_refusal_that_comes_behind_another_attempts_success_gives_way(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id, slow = await house.account(0), desk_of(house)

    async def refused_late(row: Any) -> Any:
        await house.journal.finish(row)
        raise InvalidRequest("too much by now")

    monkeypatch.setattr(slow.journal, "_run", refused_late)
    entry = await slow.topups.top_up(account_id, Credit(7, "k"))
    assert (entry.amount_microcredits, entry.seq) == (7, 1)
    assert await house.top_up(account_id, 7, "k") == entry


async def test_what_the_ledger_refuses_later_is_closed_by_the_sweep(house: House) -> None:
    account_id = await house.account(0)
    with pytest.raises(Killed):
        await desk_of(house, Fate(1)).topups.top_up(account_id, Credit(1, "k"))
    await house.top_up(account_id, MAX_AMOUNT, "all")
    desk = desk_of(house)
    assert (await desk.reconciler.sweep(older_than_ms=-1)).refused == 1
    assert (await desk.reconciler.sweep(older_than_ms=-1)).refused == 0
    with pytest.raises(InvalidRequest):
        await house.top_up(account_id, 1, "k")


async def test_young_rows_are_left_to_who_is_working_on_them(house: House) -> None:
    account_id = await house.account(0)
    with pytest.raises(Killed):
        await desk_of(house, Fate(1)).topups.top_up(account_id, Credit(1, "k"))
    desk = desk_of(house)
    assert (await desk.reconciler.sweep()).finished == 0
    assert (await desk.reconciler.sweep(older_than_ms=-1)).finished == 1
    assert await posted(house, account_id) == 1


async def test_an_account_that_redis_lost_does_not_stop_those_behind_it(house: House) -> None:
    lost, fine = await house.account(1), await house.account(0)
    await house.record_all()
    for account_id in (lost, fine):
        with pytest.raises(Killed):
            await desk_of(house, Fate(1)).topups.top_up(account_id, Credit(1, "k"))
    await house.redis.execute("DEL", house.ledger.partition_of(lost).account(lost))
    done = await desk_of(house).reconciler.sweep(older_than_ms=-1)
    assert (done.finished, done.waiting) == (1, 1)
    assert await posted(house, fine) == 1


async def test_codes_are_redeemed_once_whoever_is_first(build: Build) -> None:
    houses = [await build(), await build()]
    desks = [desk_of(house) for house in houses]
    accounts = [await houses[0].account(0), await houses[0].account(0)]
    codes = await desks[0].codes.create(CodeOrder(3, 7, reason="spring"))
    assert len({made.code for made in codes}) == 3
    code = codes[0].code
    answers = await asyncio.gather(
        *(desks[number % 2].codes.redeem(accounts[number % 2], code) for number in range(12)), return_exceptions=True
    )
    won = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(set(won)) == 1
    assert [answer.code for answer in answers if isinstance(answer, FareboxError)] == ["code_redeemed"] * (
        12 - len(won)
    )
    await desks[0].reconciler.sweep(older_than_ms=-1)
    assert sorted([await posted(houses[0], account_id) for account_id in accounts]) == [0, 7]
    found = {one.id: one for one in await desks[0].codes.list()}
    assert [found[made.redemption_code.id].status for made in codes] == ["redeemed", "active", "active"]
    assert found[codes[0].redemption_code.id].account_id == won[0].account_id
    assert won[0].reason == "spring"


async def test_a_code_is_kept_as_a_digest_only_and_read_as_people_type(house: House, tmp_path: Any) -> None:
    desk, account_id = desk_of(house), await house.account(0)
    made = (await desk.codes.create(CodeOrder(1, 7)))[0]
    bare = made.code.removeprefix("FB-").replace("-", "")
    assert len(bare) == 26
    rows = [asdict(code) for code in await desk.codes.list(limit=9)]
    rows += [dict(await house.database.fetch_one("code_by_id", id=rows[0]["id"]) or {})]
    assert bare not in str(rows).replace("-", "")
    assert rows[0]["prefix"] == made.code[:7]
    typed = f" fb {bare.lower()[:9]} {bare.lower()[9:].replace('1', 'l').replace('0', 'o')}\n"
    assert (await desk.codes.redeem(account_id, typed)).amount_microcredits == 7


async def test_codes_that_cannot_be_had(house: House) -> None:
    desk, account_id = desk_of(house), await house.account(0)
    codes = await desk.codes.create(CodeOrder(2, 7, expires_at=house.clock.now_ms() + HOUR_MS))
    await desk.codes.revoke(codes[0].redemption_code.id)
    await house.sql("UPDATE redemption_codes SET expires_at = 1 WHERE id = ?", codes[1].redemption_code.id)
    for code, problem in ((codes[0].code, "code_revoked"), (codes[1].code, "code_expired"), ("FB-1", "code_not_found")):
        with pytest.raises((Conflict, NotFound)) as caught:
            await desk.codes.redeem(account_id, code)
        assert caught.value.code == problem
    assert await posted(house, account_id) == 0
    for order in (CodeOrder(0, 7), CodeOrder(1001, 7), CodeOrder(1, 0), CodeOrder(1, 7, expires_at=1)):
        with pytest.raises(InvalidRequest):
            await desk.codes.create(order)


async def test_a_code_may_be_worth_a_grant_and_is_worth_nothing_after_its_end(house: House) -> None:
    desk, account_id = desk_of(house), await house.account(0)
    ends_at = house.clock.now_ms() + HOUR_MS
    made = (await desk.codes.create(CodeOrder(1, 7, grant_expires_at=ends_at, priority=3)))[0]
    assert made.redemption_code.expires_at == ends_at
    entry = await desk.codes.redeem(account_id, made.code)
    grant = (await desk.grants.list(account_id))[0]
    assert (entry.kind, grant.expires_at, grant.priority, grant.status) == ("grant", ends_at, 3, "live")
    assert await desk.codes.redeem(account_id, made.code) == entry
