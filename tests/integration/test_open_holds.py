"""Open holds are listed page by page, each once, and ended by hand as if their lease were over."""

import json

import pytest

from proxy.core.errors import NotFound
from proxy.core.ids import new_call_id
from proxy.ledger.open_holds import BEGINNING, OpenHold, OpenHolds
from tests.support.stores import House, build, house

__all__ = ["build", "house"]


async def every_hold(holds: OpenHolds, house: House, account_id: str, limit: int, wanted: str = "") -> list[OpenHold]:
    found: list[OpenHold] = []
    place = BEGINNING
    while True:
        page = await holds.page(house.ledger.partition_of(account_id), limit=limit, place=place, account_id=wanted)
        assert len(page.holds) <= limit
        found += page.holds
        if page.next_place is None:
            return found
        place = page.next_place


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_each_hold_is_listed_once_whatever_the_page(house: House, limit: int) -> None:
    account = await house.account(100)
    other = next(
        name
        for name in (f"acct_{n}" for n in range(99))
        if house.ledger.partition_of(name) == house.ledger.partition_of(account)
    )
    await house.directory.create_account("in the same partition", new=other)
    await house.top_up(other, 1_000_000)
    calls = {await house.hold(account, 10 + number) for number in range(7)}
    others = {await house.hold(other) for _ in range(5)}
    holds = OpenHolds(house.scripts, house.ledger)
    everything = await every_hold(holds, house, account, limit)
    assert sorted(hold.call_id for hold in everything) == sorted(calls | others)
    own = await every_hold(holds, house, account, limit, account)
    assert {hold.call_id for hold in own} == calls
    assert len(own) == 7
    assert sorted(hold.amount_microcredits for hold in own) == list(range(10, 17))
    assert json.loads(own[0].draft)["account_id"] == account
    assert [hold.deadline for hold in everything] == sorted(hold.deadline for hold in everything)


@pytest.mark.parametrize(("policy", "charge"), [("free", 0), ("hold", 100), ("checkpoint", 0)])
async def test_a_hold_is_ended_by_hand_and_its_call_may_still_correct_the_charge(
    house: House, policy: str, charge: int
) -> None:
    account = await house.account(1)
    call_id = await house.hold(account, 100)
    holds = OpenHolds(house.scripts, house.ledger)
    ended = await holds.release(account, call_id, policy)
    assert (ended.state, ended.charge_microcredits, ended.held_microcredits) == ("expired", charge, 0)
    with pytest.raises(NotFound):
        await holds.release(account, call_id, policy)
    settled = await house.settle(account, call_id, 60)
    assert (settled.state, settled.charge_microcredits) == ("corrected", 60)
    balance = await house.ledger.balance(account)
    assert (balance.posted_microcredits, balance.held_microcredits) == (1_000_000 - 60, 0)


async def test_only_an_accounts_own_open_holds_are_ended(house: House) -> None:
    account, other = await house.account(1), await house.account(1)
    call_id, settled = await house.hold(account), await house.call(account)
    holds = OpenHolds(house.scripts, house.ledger)
    for owner, call in ((other, call_id), (account, settled), (account, new_call_id())):
        with pytest.raises(NotFound):
            await holds.check(owner, call)
        with pytest.raises(NotFound):
            await holds.release(owner, call, "free")
    with pytest.raises(NotFound):
        await holds.check(account, "no id at all\0")
    await holds.check(account, call_id)
    assert (await house.ledger.balance(account)).held_microcredits == 100
