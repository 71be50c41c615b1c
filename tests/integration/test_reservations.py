"""Reservations over real stores: holds that applications ask for, confirm or cancel, and that end free."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from proxy.accounts import reservations as module
from proxy.accounts.reservations import Reservation, ReservationOrder, Reservations
from proxy.core.errors import Conflict, Forbidden, InsufficientCredits, InvalidRequest, NotFound, RateLimited
from proxy.core.limits import CONCURRENT, Limit
from proxy.ledger.reaper import Reaper
from tests.support.stores import Build, House, build, house

__all__ = ["build", "house"]


@pytest.fixture
async def account_id(house: House) -> str:
    account_id = await house.account(0)
    await house.top_up(account_id, 1000)
    return account_id


@pytest.fixture
def reservations(house: House) -> Reservations:
    return Reservations(house.database, house.ledger, house.credit_scripts, house.clock)


async def figures(house: House, account_id: str) -> tuple[int, int]:
    """Posted and held."""
    balance = await house.ledger.balance(account_id)
    assert balance is not None
    assert balance.held_microcredits == balance.open_holds_microcredits
    return balance.posted_microcredits, balance.held_microcredits


async def overdue(
    house: House, monkeypatch: pytest.MonkeyPatch, reservations: Reservations, account_id: str
) -> Reservation:
    """A reservation of 300 whose five minutes are over, and which the reaper has ended."""
    monkeypatch.setattr(module, "LEASE_MS", 1)
    made = await reservations.create(account_id, ReservationOrder(300))
    monkeypatch.setattr(module, "LEASE_MS", 300_000)
    await asyncio.sleep(0.005)
    assert (await Reaper(house.ledger, policy="hold").sweep()).expired == 1
    return made


async def test_confirming_charges_what_the_work_cost(house: House, reservations: Reservations, account_id: str) -> None:
    order = ReservationOrder(300, "render", "model-x", '{"job": 7}', key_id="key_1")
    made = await reservations.create(account_id, order)
    assert (made.id[:4], len(made.id), made.status, made.expires_at - made.created_at) == (
        "res_",
        36,
        "pending",
        pytest.approx(300_000, abs=2000),
    )
    assert await figures(house, account_id) == (1000, 300)
    assert await reservations.list(account_id, active_only=True) == [made]
    done = await reservations.confirm(made.id, 120, account_id=account_id)
    assert (done.status, done.actual_microcredits, done.metadata) == ("confirmed", 120, '{"job": 7}')
    assert await figures(house, account_id) == (880, 0)
    assert await reservations.confirm(made.id, 120) == done
    for again in (121, 0):
        with pytest.raises(Conflict) as caught:
            await reservations.confirm(made.id, again)
        assert caught.value.code == "reservation_confirmed"
    with pytest.raises(Conflict):
        await reservations.cancel(made.id)
    assert await figures(house, account_id) == (880, 0)
    await house.record_all()
    record = await house.usage(made.call_id)
    assert record is not None
    assert {name: record[name] for name in ("dialect", "model", "provider", "key_id", "outcome", "charge_microcredits", "hold_microcredits", "tags")} == {
        "dialect": "reservation", "model": "model-x", "provider": "application", "key_id": "key_1", "outcome": "completed",
        "charge_microcredits": 120, "hold_microcredits": 300, "tags": '{"operation":"render"}',
    }  # fmt: skip
    assert await reservations.list(account_id, active_only=True) == []
    assert await reservations.list(account_id) == [done]
    assert (await house.audit()).holds


async def test_cancelling_gives_the_credits_back(house: House, reservations: Reservations, account_id: str) -> None:
    made = await reservations.create(account_id, ReservationOrder(300))
    for _ in range(2):
        assert (await reservations.cancel(made.id)).status == "cancelled"
    assert await figures(house, account_id) == (1000, 0)
    with pytest.raises(Conflict) as caught:
        await reservations.confirm(made.id, 1)
    assert caught.value.code == "reservation_cancelled"
    await house.record_all()
    assert (await house.usage(made.call_id) or {})["outcome"] == "client_left"


async def test_it_ends_free_whatever_the_policy_for_calls_and_cannot_be_confirmed_after(
    house: House, reservations: Reservations, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await overdue(house, monkeypatch, reservations, account_id)
    assert await figures(house, account_id) == (1000, 0)
    with pytest.raises(Conflict) as caught:
        await reservations.confirm(made.id, 10)
    assert caught.value.code == "reservation_expired"
    assert (await reservations.cancel(made.id)).status == "expired"
    assert await figures(house, account_id) == (1000, 0)
    assert [found.status for found in await reservations.list(account_id)] == ["expired"]
    await house.record_all()
    assert (await house.usage(made.call_id) or {})["outcome"] == "abandoned"


async def test_more_than_was_reserved_is_charged_only_where_the_balance_covers_it(
    house: House, reservations: Reservations, account_id: str
) -> None:
    made = await reservations.create(account_id, ReservationOrder(300))
    call_id = await house.hold(account_id, 500)
    with pytest.raises(InsufficientCredits) as caught:
        await reservations.confirm(made.id, 501)
    assert caught.value.metadata == {
        "limit_source": "balance", "required": 501, "available": 500, "unit": "microcredits",
    }  # fmt: skip
    assert (await reservations.get(made.id)).status == "pending"
    deadlines = house.ledger.partition_of(account_id).deadlines
    until = int(await house.redis.execute("ZSCORE", deadlines, made.call_id))
    assert until == pytest.approx(made.expires_at, abs=2000)
    assert await figures(house, account_id) == (1000, 800)
    await house.ledger.release(account_id, call_id, b"{}")
    assert (await reservations.confirm(made.id, 501)).actual_microcredits == 501
    assert await figures(house, account_id) == (499, 0)


async def test_what_the_balance_or_a_limit_does_not_allow_leaves_nothing(
    house: House, reservations: Reservations, account_id: str
) -> None:
    order = ReservationOrder(1001, idempotency_key="k")
    with pytest.raises(InsufficientCredits):
        await reservations.create(account_id, order)
    assert await reservations.list(account_id) == []
    await reservations.cancel((await reservations.create(account_id, replace(order, amount_microcredits=9))).id)
    order = replace(order, idempotency_key="k2")
    with pytest.raises(InsufficientCredits):
        await reservations.create(account_id, order)
    await house.top_up(account_id, 1)
    first = await reservations.create(account_id, order)
    await reservations.cancel(first.id)
    limited = ReservationOrder(1, limits=(Limit("account", CONCURRENT, 1),))
    await reservations.create(account_id, limited)
    with pytest.raises(RateLimited):
        await reservations.create(account_id, limited)


async def test_a_key_stands_for_one_reservation(build: Build, account_id: str) -> None:
    houses = [await build(), await build()]
    desks = [Reservations(one.database, one.ledger, one.credit_scripts, one.clock) for one in houses]
    order = ReservationOrder(300, idempotency_key="k")
    answers = await asyncio.gather(*(desks[number % 2].create(account_id, order) for number in range(10)))
    assert len({made.id for made in answers}) == 1
    assert await figures(houses[0], account_id) == (1000, 300)
    with pytest.raises(Conflict) as caught:
        await desks[0].create(account_id, ReservationOrder(301, idempotency_key="k"))
    assert caught.value.code == "idempotency_conflict"
    done = await desks[0].confirm(answers[0].id, 5)
    assert await desks[1].create(account_id, order) == done
    made = await asyncio.gather(*(desks[0].create(account_id, ReservationOrder(1)) for _ in range(3)))
    assert len({one.id for one in made}) == 3


async def test_another_accounts_reservation_is_not_there(
    house: House, reservations: Reservations, account_id: str
) -> None:
    made, other = await reservations.create(account_id, ReservationOrder(300)), await house.account(0)
    for work in (
        reservations.get(made.id, account_id=other),
        reservations.confirm(made.id, 1, account_id=other),
        reservations.cancel(made.id, account_id=other),
        reservations.get("res_none"),
    ):
        with pytest.raises(NotFound) as caught:
            await work
        assert caught.value.code == "reservation_not_found"
    assert await reservations.list(other) == []
    assert await figures(house, account_id) == (1000, 300)


@pytest.mark.parametrize(
    "order",
    [ReservationOrder(0), ReservationOrder(-1), ReservationOrder(1, metadata="[]"), ReservationOrder(1, metadata="{"),
     ReservationOrder(1, operation="x" * 201), ReservationOrder(1, idempotency_key="")],
)  # fmt: skip
async def test_bad_orders_are_refused(reservations: Reservations, account_id: str, order: ReservationOrder) -> None:
    with pytest.raises(InvalidRequest):
        await reservations.create(account_id, order)


async def test_nobody_reserves_for_the_account_without_an_owner(reservations: Reservations) -> None:
    with pytest.raises(Forbidden):
        await reservations.create("acct_system", ReservationOrder(1))


async def test_a_hold_that_ends_while_it_is_confirmed_is_not_charged(
    house: House, reservations: Reservations, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await reservations.create(account_id, ReservationOrder(300))
    extend = house.ledger.extend

    async def too_late(*args: Any) -> Any:
        await house.ledger.release(account_id, made.call_id, b"{}")
        return await extend(*args)

    monkeypatch.setattr(house.ledger, "extend", too_late)
    with pytest.raises(Conflict) as caught:
        await reservations.confirm(made.id, 10)
    assert caught.value.code == "reservation_cancelled"
    assert await figures(house, account_id) == (1000, 0)


@pytest.mark.parametrize("forgotten", [False, True])
async def test_a_crash_after_the_hold_ended_is_closed_by_the_sweep(
    house: House, reservations: Reservations, account_id: str, monkeypatch: pytest.MonkeyPatch, *, forgotten: bool
) -> None:
    confirmed = await reservations.create(account_id, ReservationOrder(300))
    cancelled = await reservations.create(account_id, ReservationOrder(300))
    still_open = await reservations.create(account_id, ReservationOrder(100))
    gone = await overdue(house, monkeypatch, reservations, account_id)
    await reservations.confirm(confirmed.id, 7)
    await reservations.cancel(cancelled.id)
    # As if the process had died before it noted how they ended.
    await house.sql("UPDATE reservations SET status = 'open', actual_microcredits = NULL, expires_at = 1")
    if forgotten:
        await house.record_all()
        prefix = house.ledger.partition_of(account_id).prefix
        for one in (confirmed, cancelled, gone):
            await house.redis.execute("DEL", prefix + b"hold:" + one.call_id.encode())
    assert await reservations.sweep() == 3
    assert await reservations.sweep() == 0
    rows = await house.database.fetch(
        "list_reservations", account_id=account_id, before_created_at=2**60, before_id="", row_limit=9
    )
    assert {row["id"]: (row["status"], row["actual_microcredits"]) for row in rows} == {
        confirmed.id: ("confirmed", 7),
        cancelled.id: ("cancelled", None),
        gone.id: ("expired", None),
        still_open.id: ("open", None),
    }


async def test_what_redis_forgot_and_the_recorder_has_not_written_is_not_judged_yet(
    house: House, reservations: Reservations, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.accounts.holding._LOOKS", 1)
    made = await reservations.create(account_id, ReservationOrder(300))
    await reservations.confirm(made.id, 7)
    await house.sql("UPDATE reservations SET status = 'open', actual_microcredits = NULL, expires_at = 1")
    await house.redis.execute("DEL", house.ledger.partition_of(account_id).prefix + b"hold:" + made.call_id.encode())
    assert await reservations.sweep() == 0
    await house.record_all()
    assert await reservations.sweep() == 1
    assert (await reservations.get(made.id)).actual_microcredits == 7
