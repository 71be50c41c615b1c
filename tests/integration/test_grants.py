"""Grants over real stores: soonest expiry burns first, what is left leaves with one entry, and nothing is lost on the way."""

import asyncio
import time

import pytest

from proxy.accounts.grants import Grant, GrantOrder
from proxy.accounts.refunds import Refund
from proxy.accounts.topups import Credit
from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.core.grants import MAX_LIVE
from proxy.core.money import MAX_AMOUNT
from proxy.ledger.credit_scripts import grants_key
from proxy.records.rebuild import Rebuild
from tests.support.stores import Build, House, build, house

__all__ = ["build", "house"]

HOUR_MS = 3_600_000
BEGINNING_MS = time.time_ns() // 1_000_000


async def posted(house: House, account_id: str) -> int:
    balance = await house.ledger.balance(account_id)
    assert balance is not None
    return balance.posted_microcredits


async def give(
    house: House, account_id: str, amount: int, key: str, hours: int | None = 1, *, priority: int = 100
) -> Grant:
    expires_at = None if hours is None else BEGINNING_MS + hours * HOUR_MS
    entry, grant = await house.grants.give(account_id, GrantOrder(amount, key, expires_at, priority, "op", "welcome"))
    assert (entry.kind, entry.amount_microcredits, entry.reason) == ("grant", amount, "welcome")
    return grant


async def spend(house: House, account_id: str, charge: int) -> None:
    call_id = await house.hold(account_id, charge)
    await house.settle(account_id, call_id, charge)


async def left(house: House, account_id: str) -> dict[str, tuple[int, str]]:
    """What remains of each grant, and what became of it, by the key that it was given with."""
    grants = await house.grants.list(account_id)
    return {grant.idempotency_key: (grant.remaining_microcredits, grant.status) for grant in grants}


async def let_end(house: House, *grants: Grant) -> None:
    """As if they had been revoked long ago, and nobody had done anything about it."""
    for grant in grants:
        await house.sql("UPDATE grants SET ends_at = 1 WHERE id = ?", grant.id)


async def kinds(house: House, account_id: str) -> list[tuple[str, int]]:
    await house.record_all()
    return [(str(entry["kind"]), int(str(entry["amount_microcredits"]))) for entry in await house.entries(account_id)]


async def check_audit(house: House) -> None:
    report = await house.audit()
    assert report.holds, report.differences


async def test_soonest_expiry_burns_first_then_priority_then_bought_credits(house: House) -> None:
    account_id = await house.account(0)
    await house.top_up(account_id, 1000)
    for key, hours, priority in (("late", 9, 0), ("never", None, 0), ("second", 1, 7), ("first", 1, 6)):
        await give(house, account_id, 100, key, hours, priority=priority)
    expected = [("first", 100), ("second", 100), ("late", 100), ("never", 100)]
    for spent in (30, 90, 100, 120, 200):
        await spend(house, account_id, spent)
        taken = spent
        for number, (key, remaining) in enumerate(expected):
            part = min(taken, remaining)
            taken -= part
            expected[number] = (key, remaining - part)
        assert await left(house, account_id) == {key: (rest, "live" if rest else "used") for key, rest in expected}
    assert await house.grants.remaining(account_id) == 0
    assert await posted(house, account_id) == 1400 - 540
    await check_audit(house)
    await house.record_all()
    await check_audit(house)


async def test_what_is_left_at_the_end_leaves_by_one_entry(house: House) -> None:
    account_id = await house.account(0)
    await house.top_up(account_id, 1000)
    grant = await give(house, account_id, 100, "g")
    other = await give(house, account_id, 50, "other", 2)
    await spend(house, account_id, 30)
    assert await house.grants.sweep() == 0
    await let_end(house, grant)
    assert await house.grants.sweep() == 1
    assert await house.grants.sweep() == 0
    assert await posted(house, account_id) == 1000 + 50
    assert await left(house, account_id) == {"g": (0, "revoked"), "other": (50, "live")}
    assert (await house.grants.grant(grant.id)).expired_microcredits == 70
    assert await kinds(house, account_id) == [
        ("topup", 1000), ("grant", 100), ("grant", 50), ("charge", -30), ("expiry", -70),
    ]  # fmt: skip
    await check_audit(house)
    assert other.remaining_microcredits == 50


async def test_an_expiry_comes_when_it_is_said_to(house: House) -> None:
    account_id = await house.account(0)
    order = GrantOrder(100, "g", house.clock.now_ms() + 150)
    await house.grants.give(account_id, order)
    assert await house.grants.sweep() == 0
    await asyncio.sleep(0.16)
    assert await house.grants.sweep() == 1
    assert await left(house, account_id) == {"g": (0, "expired")}
    assert (await house.grants.give(account_id, order))[1].status == "expired"  # a repeat, after its time


async def test_a_grant_that_was_used_up_ends_without_an_entry(house: House) -> None:
    account_id = await house.account(0)
    grant = await give(house, account_id, 100, "g")
    await spend(house, account_id, 100)
    await let_end(house, grant)
    assert await house.grants.sweep() == 0
    assert await left(house, account_id) == {"g": (0, "used")}
    assert await house.database.fetch("due_grants", now_ms=2**60, after_ends_at=0, after_id="", row_limit=9) == []
    assert [kind for kind, _ in await kinds(house, account_id)] == ["grant", "charge"]


async def test_what_open_holds_need_stays_until_they_end(house: House) -> None:
    account_id = await house.account(0)
    grant = await give(house, account_id, 100, "g")
    call_id = await house.hold(account_id, 40)
    await let_end(house, grant)
    assert [await house.grants.sweep() for _ in range(3)] == [1, 0, 0]
    assert await posted(house, account_id) == 40
    assert await left(house, account_id) == {"g": (40, "live")}
    begun = await house.database.fetch_one("expiries_of_grant", grant_id=grant.id)
    assert begun == {"begun": 2, "pending": 1}  # the second one waits
    await house.settle(account_id, call_id, 25)
    assert [await house.grants.sweep() for _ in range(2)] == [1, 0]
    assert await posted(house, account_id) == 0
    assert await left(house, account_id) == {"g": (0, "revoked")}
    assert await kinds(house, account_id) == [("grant", 100), ("expiry", -60), ("charge", -25), ("expiry", -15)]
    await check_audit(house)


async def test_a_debt_burns_a_new_grant_at_once(house: House) -> None:
    account_id = await house.account(0)
    await house.top_up(account_id, 10)
    call_id = await house.hold(account_id, 10)
    await house.settle(account_id, call_id, 30)
    grant = await give(house, account_id, 100, "g")
    assert (await posted(house, account_id), grant.remaining_microcredits) == (80, 80)
    await let_end(house, grant)
    await house.grants.sweep()
    assert await posted(house, account_id) == 0
    await check_audit(house)


async def test_what_an_operator_takes_back_takes_bought_credits_first(house: House) -> None:
    account_id = await house.account(0)
    await house.top_up(account_id, 50)
    await give(house, account_id, 100, "g")
    for amount, expected in ((-50, 100), (-30, 70), (-70, 0)):
        await house.topups.top_up(account_id, Credit(amount, f"k{amount}", "adjustment"))
        assert (await left(house, account_id))["g"][0] == expected
    await house.top_up(account_id, 500)
    assert await posted(house, account_id) == 500
    assert (await left(house, account_id))["g"] == (0, "used")
    await check_audit(house)


async def test_a_corrected_charge_gives_bought_credits_back(house: House) -> None:
    account_id = await house.account(0)
    await house.top_up(account_id, 100)
    call_id = await house.hold(account_id, 60, lease_ms=1)
    await give(house, account_id, 100, "g")
    await house.ledger.extend(account_id, call_id, 1, 60, 60, 1, b"{}")
    await asyncio.sleep(0.005)
    await house.ledger.expire(account_id, call_id)
    await give(house, account_id, 5, "h", 2)  # burning is attributed here
    await house.settle(account_id, call_id, 20)
    assert await left(house, account_id) == {"g": (40, "live"), "h": (5, "live")}
    await spend(house, account_id, 50)
    assert await left(house, account_id) == {"g": (30, "live"), "h": (5, "live")}
    await check_audit(house)


async def test_revoking_takes_what_is_left_now_and_once(house: House) -> None:
    account_id = await house.account(0)
    first, second = await give(house, account_id, 100, "a", None), await give(house, account_id, 100, "b", 5)
    await spend(house, account_id, 30)
    for _ in range(2):
        gone = await house.grants.revoke(second.id)
        assert (gone.status, gone.remaining_microcredits, gone.expired_microcredits) == ("revoked", 0, 70)
    assert await left(house, account_id) == {"a": (100, "live"), "b": (0, "revoked")}
    assert (await house.grants.revoke(first.id)).status == "revoked"
    assert await kinds(house, account_id) == [
        ("grant", 100), ("grant", 100), ("charge", -30), ("expiry", -70), ("expiry", -100),
    ]  # fmt: skip
    with pytest.raises(NotFound):
        await house.grants.revoke("grant_none")
    await check_audit(house)


async def test_a_key_stands_for_one_grant(build: Build) -> None:
    houses = [await build(), await build()]
    account_id = await houses[0].account(0)
    expires_at = houses[0].clock.now_ms() + HOUR_MS
    order = GrantOrder(100, "k", expires_at)
    answers = await asyncio.gather(*(houses[number % 2].grants.give(account_id, order) for number in range(10)))
    assert len({(entry, grant) for entry, grant in answers}) == 1
    for body in (GrantOrder(101, "k", expires_at), GrantOrder(100, "k"), GrantOrder(100, "k", expires_at, 7)):
        with pytest.raises(Conflict) as caught:
            await houses[0].grants.give(account_id, body)
        assert caught.value.code == "idempotency_conflict"
    assert len(await houses[0].grants.list(account_id)) == 1
    assert len(await houses[0].database.fetch("grants_of_account", account_id=account_id)) == 1
    assert await posted(houses[0], account_id) == 100


@pytest.mark.parametrize(
    "order",
    [GrantOrder(0, "k"), GrantOrder(1, ""), GrantOrder(1, "k", 1), GrantOrder(1, "k", priority=-1), GrantOrder(1, "k", priority=1001),
     GrantOrder(MAX_AMOUNT + 1, "k"), GrantOrder(1, "farebox:k"), GrantOrder(1, "k", expires_at=True)],
)  # fmt: skip
async def test_bad_orders_are_refused(house: House, order: GrantOrder) -> None:
    account_id = await house.account(0)
    with pytest.raises(InvalidRequest):
        await house.grants.give(account_id, order)
    assert await house.grants.list(account_id) == []


async def test_live_grants_are_bounded(house: House) -> None:
    account_id = await house.account(0)
    for number in range(MAX_LIVE):
        await give(house, account_id, 1, f"k{number}")
    for _ in range(2):
        with pytest.raises(Conflict) as caught:
            await give(house, account_id, 1, "one more")
        assert caught.value.code == "too_many_grants"
    assert (await left(house, account_id))["one more"] == (0, "refused")
    await spend(house, account_id, 1)
    await give(house, account_id, 1, "another")


async def test_pages_are_newest_first(house: House) -> None:
    account_id = await house.account(0)
    grants = [await give(house, account_id, 1, f"k{number}") for number in range(5)]
    page = await house.grants.list(account_id, limit=2)
    rest = await house.grants.list(account_id, limit=9, before=page[-1])
    assert {grant.id for grant in grants} == {grant.id for grant in page + rest}
    ages = [(grant.created_at, grant.id) for grant in page + rest]
    assert ages == sorted(ages, reverse=True)


async def test_after_a_rebuild_the_grants_are_as_they_were(house: House, build: Build) -> None:
    account_id, other = await house.account(0), await house.account(5)
    await house.top_up(account_id, 1000)
    grants = [await give(house, account_id, 100, f"k{number}", number + 1) for number in range(4)]
    await spend(house, account_id, 130)
    await house.grants.revoke(grants[2].id)
    await spend(house, account_id, 20)
    await house.record_all()
    before = await left(house, account_id)
    assert await house.grants.remaining(account_id) == 150
    assert before == {"k0": (0, "used"), "k1": (50, "live"), "k2": (0, "revoked"), "k3": (100, "live")}
    await house.redis.execute("FLUSHALL")
    result = await Rebuild(house.redis, house.scripts, house.database, house.partitions).run()
    assert result.grants == 2
    again = await build()
    assert await left(again, account_id) == before
    assert await again.grants.list(other) == []
    await check_audit(again)
    await spend(again, account_id, 60)
    assert (await left(again, account_id))["k3"] == (90, "live")
    await let_end(again, grants[3])
    await again.grants.sweep()
    assert await posted(again, account_id) == 1000
    await again.record_all()
    await check_audit(again)


async def test_what_redis_lost_of_grants_and_expiries_is_as_if_it_had_not_happened_or_is_entered_again(
    house: House, build: Build
) -> None:
    account_id = await house.account(0)
    await house.top_up(account_id, 200)
    kept = await give(house, account_id, 100, "kept")
    call_id = await house.call(account_id, 60)
    await house.record_all()
    lost_call = await house.call(account_id, 10)
    await house.refunds.refund(account_id, Refund(call_id, "known"))
    await house.refunds.refund(account_id, Refund(lost_call, "lost"))
    await let_end(house, kept)
    await house.grants.sweep()
    answer = await give(house, account_id, 7, "given")
    await house.redis.execute("FLUSHALL")
    await Rebuild(house.redis, house.scripts, house.database, house.partitions).run()
    again = await build()
    # The call and its refund are both gone, the other refund and the new grant are there, the expiry is to come.
    assert await posted(again, account_id) == 200 + 100 - 60 + 60 + 7
    assert await left(again, account_id) == {"kept": (40, "live"), "given": (7, "live")}
    with pytest.raises(Conflict) as caught:
        await again.refunds.refund(account_id, Refund(lost_call, "lost"))
    assert caught.value.code == "undone"
    assert (await again.refunds.refund(account_id, Refund(call_id, "known"))).amount_microcredits == 60
    assert await again.grants.sweep() == 1
    assert await posted(again, account_id) == 200 + 60 + 7
    assert (await again.grants.grant(answer.id)).remaining_microcredits == 7
    await again.record_all()
    await check_audit(again)


async def test_a_wrong_remainder_in_redis_is_found(house: House) -> None:
    account_id = await house.account(0)
    await give(house, account_id, 100, "g")
    await house.record_all()
    key = grants_key(house.ledger.partition_of(account_id), account_id)
    value = bytearray(await house.redis.execute("GET", key))
    value[24] -= 1  # the low byte of what remains
    await house.redis.execute("SET", key, bytes(value))
    assert [difference.kind for difference in (await house.audit()).differences] == ["grant"]
    await house.redis.execute("DEL", key)
    assert [difference.microcredits for difference in (await house.audit()).differences] == [-100]


async def test_a_missing_entry_is_a_gap_and_no_word_about_grants(house: House) -> None:
    account_id = await house.account(0)
    await give(house, account_id, 100, "g")
    await spend(house, account_id, 10)
    await spend(house, account_id, 10)
    await house.record_all()
    await house.sql("DELETE FROM ledger_entries WHERE seq = 2")
    await house.redis.execute("XTRIM", house.ledger.partition_of(account_id).stream, "MAXLEN", 0)
    found = {difference.kind for difference in (await house.audit()).differences}
    assert "gap" in found
    assert "grant" not in found


async def test_the_audit_is_exact_while_grants_come_burn_and_go(house: House, build: Build) -> None:
    account_id = await house.account(0)
    await house.top_up(account_id, 100_000)

    async def traffic() -> None:
        for number in range(25):
            grant = await give(house, account_id, 100, f"k{number}", number % 3 + 1)
            await spend(house, account_id, 37)
            if number % 2:
                await house.grants.revoke(grant.id)
            await house.recorder().step()

    async def look() -> None:
        other = await build()
        for _ in range(12):
            await check_audit(other)

    await asyncio.gather(traffic(), look())
    await house.record_all()
    await check_audit(house)
