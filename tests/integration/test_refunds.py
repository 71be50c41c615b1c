"""Refunds over real stores: never more of a call than it was charged, whoever asks at once, and once for a key."""

import asyncio

import pytest

from proxy.accounts.audit_log import LogFilter, read_log
from proxy.accounts.refunds import Refund
from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.core.ids import new_call_id
from tests.support.stores import CREDIT, Build, House, build, house

__all__ = ["build", "house"]


async def posted(house: House, account_id: str) -> int:
    balance = await house.ledger.balance(account_id)
    assert balance is not None
    return balance.posted_microcredits


async def refund(house: House, account_id: str, call_id: str, key: str, amount: int | None = None) -> int:
    """The amount of the entry that a refund made."""
    entry = await house.refunds.refund(account_id, Refund(call_id, key, amount, "op", "sorry"))
    assert (entry.kind, entry.call_id, entry.actor, entry.reason) == ("refund", call_id, "op", "sorry")
    return entry.amount_microcredits


@pytest.mark.parametrize("recorded", [True, False])
async def test_in_parts_up_to_the_charge_and_no_further(house: House, *, recorded: bool) -> None:
    account_id = await house.account()
    call_id = await house.call(account_id, 60)
    if recorded:
        await house.record_all()
    assert await refund(house, account_id, call_id, "a", 20) == 20
    with pytest.raises(Conflict) as caught:
        await refund(house, account_id, call_id, "b", 41)
    assert (caught.value.code, caught.value.metadata) == ("refund_exceeds_charge", {"charge": 60, "refunded": 20})
    assert await refund(house, account_id, call_id, "c") == 40
    with pytest.raises(Conflict):
        await refund(house, account_id, call_id, "d")
    assert await posted(house, account_id) == 100 * CREDIT
    await house.record_all()
    assert await house.refunds.refunded(call_id) == 60
    entries = await house.entries(account_id)
    assert [(entry["kind"], entry["amount_microcredits"]) for entry in entries[1:]] == [
        ("charge", -60), ("refund", 20), ("refund", 40),
    ]  # fmt: skip
    report = await house.audit()
    assert report.holds, report.differences


async def test_a_repeat_gets_the_same_answer_and_another_body_is_a_conflict(house: House) -> None:
    account_id = await house.account()
    call_id, other = await house.call(account_id, 60), await house.call(account_id, 60)
    asked = Refund(call_id, "k", 20)
    first = await house.refunds.refund(account_id, asked)
    await house.record_all()
    assert await house.refunds.refund(account_id, asked) == first
    for body in (Refund(call_id, "k", 21), Refund(other, "k", 20), Refund(call_id, "k")):
        with pytest.raises(Conflict) as caught:
            await house.refunds.refund(account_id, body)
        assert caught.value.code == "idempotency_conflict"
    with pytest.raises(Conflict):
        await house.top_up(account_id, 20, "k")
    assert await posted(house, account_id) == 100 * CREDIT - 100


async def test_a_refused_refund_is_answered_the_same_for_ever(house: House) -> None:
    account_id = await house.account()
    call_id = await house.hold(account_id)
    for _ in range(2):
        with pytest.raises(Conflict) as caught:
            await refund(house, account_id, call_id, "k", 5)
        assert caught.value.code == "call_open"
        await house.settle(account_id, call_id, 60)  # the second time under another key would do
    assert await refund(house, account_id, call_id, "another", 5) == 5


async def test_at_once_under_different_keys_they_do_not_pass_the_charge(build: Build) -> None:
    houses = [await build(), await build()]
    account_id = await houses[0].account()
    call_id = await houses[0].call(account_id, 60)
    await houses[0].record_all()
    answers = await asyncio.gather(
        *(refund(houses[number % 2], account_id, call_id, f"k{number}", 25) for number in range(12)),
        return_exceptions=True,
    )
    assert (
        sorted(str(getattr(answer, "code", answer)) for answer in answers)
        == ["25"] * 2 + ["refund_exceeds_charge"] * 10
    )
    assert await posted(houses[0], account_id) == 100 * CREDIT - 60 + 50


async def test_another_accounts_call_is_not_there(house: House) -> None:
    mine, theirs = await house.account(), await house.account()
    for recorded in (False, True):
        call_id = await house.call(theirs, 60)
        if recorded:
            await house.record_all()
        with pytest.raises(NotFound) as caught:
            await refund(house, mine, call_id, "k")
        assert caught.value.code == "call_not_found"
    for nobody in (new_call_id(), "", "a b", "x" * 300):
        with pytest.raises(NotFound):
            await refund(house, mine, nobody, "k")
    assert await house.database.fetch_one("operation_by_key", account_id=mine, idempotency_key="k") is None
    assert await posted(house, mine) == 100 * CREDIT


async def test_what_sql_says_of_the_charge_is_enough_when_redis_has_forgotten_the_call(house: House) -> None:
    account_id = await house.account()
    call_id = await house.call(account_id, 60)
    await refund(house, account_id, call_id, "a", 50)
    await house.record_all()
    prefix = house.ledger.partition_of(account_id).prefix
    await house.redis.execute("DEL", prefix + b"hold:" + call_id.encode(), prefix + b"refunded:" + call_id.encode())
    with pytest.raises(Conflict):
        await refund(house, account_id, call_id, "b", 11)
    assert await refund(house, account_id, call_id, "c") == 10


async def test_an_expired_call_that_was_refunded_is_corrected_no_more(house: House) -> None:
    account_id = await house.account()
    call_id = await house.hold(account_id, 100, lease_ms=1)
    await house.ledger.extend(account_id, call_id, 1, 100, 70, 1, b"{}")
    await asyncio.sleep(0.005)
    assert (await house.ledger.expire(account_id, call_id)).charge_microcredits == 70
    assert await refund(house, account_id, call_id, "k") == 70
    late = await house.settle(account_id, call_id, 30)
    assert (late.repeated, late.charge_microcredits) == (True, 70)
    assert await posted(house, account_id) == 100 * CREDIT


@pytest.mark.parametrize("amount", [0, -1, True, 1.5, 2**53])
async def test_bad_amounts_are_refused(house: House, amount: int) -> None:
    account_id = await house.account()
    call_id = await house.call(account_id, 60)
    with pytest.raises(InvalidRequest):
        await refund(house, account_id, call_id, "k", amount)


async def test_more_refunds_than_charge_show_in_the_audit(house: House) -> None:
    account_id = await house.account()
    call_id = await house.call(account_id, 60)
    await refund(house, account_id, call_id, "a", 50)
    await house.record_all()
    await house.sql("UPDATE ledger_entries SET call_id = ? WHERE kind = 'topup'", call_id)
    await house.sql("UPDATE ledger_entries SET kind = 'refund' WHERE kind = 'topup'")
    assert [difference.kind for difference in (await house.audit()).differences] == ["refund"]


async def test_the_log_of_changes_says_that_a_refund_was_refused(house: House) -> None:
    account_id = await house.account()
    call_id = await house.call(account_id, 60)
    asked = Refund(call_id, "too much", 61, "op")

    async def refused() -> None:
        with pytest.raises(Conflict):
            await house.refunds.refund(account_id, asked)

    await asyncio.gather(refused(), refused())
    await refused()
    assert await refund(house, account_id, call_id, "right", 60) == 60
    log = reversed(await read_log(house.database, LogFilter(subject=account_id)))
    said = [(row.action, row.actor, dict(row.after or {})) for row in log if row.actor == "op"]
    assert [(action, after["idempotency_key"]) for action, _, after in said] == [
        ("credit.refund", "too much"),
        ("credit.refused", "too much"),
        ("credit.refund", "right"),
    ]
    assert said[1][2]["operation_id"] == said[0][2]["operation_id"]
    assert (said[1][2]["kind"], said[1][2]["code"]) == ("refund", "refund_exceeds_charge")
