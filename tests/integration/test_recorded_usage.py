"""Usage that applications report: priced from the book, charged like a call, once for a transaction, and never lost."""

import asyncio
from dataclasses import replace

import pytest

from proxy.accounts.journal import SYSTEM_ACCOUNT
from proxy.accounts.model_prices import ModelPrices
from proxy.accounts.recorded_usage import RecordedUsage, UsageReport, call_id_of, usage_id
from proxy.accounts.topups import Credit
from proxy.core.errors import (
    Conflict,
    Forbidden,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    RateLimited,
    Unavailable,
)
from proxy.core.ids import new_call_id
from proxy.core.limits import REQUESTS, Limit
from proxy.prices.book import PriceBook, Rules
from proxy.records.rebuild import Rebuild
from proxy.sql.database import Row
from tests.support.stores import Build, House, build, house, prices

__all__ = ["build", "house"]

# 1 USD per million tokens of input, 0.50 cached, 2 of output; 1000 credits a USD: a token of input costs 1000 microcredits.
REPORT = UsageReport("test-model", "chat", 1000, 500, 400, "t1", key_id="key_1", tags={"team": "red"})
COST_NANO_USD = 600 * 1000 + 400 * 500 + 500 * 2000
CHARGE = COST_NANO_USD


@pytest.fixture
async def account_id(house: House) -> str:
    account_id = await house.account(0)
    await house.top_up(account_id, 10 * CHARGE)
    return account_id


def recorded_of(house: House) -> RecordedUsage:
    return RecordedUsage(house.database, house.ledger, house.credit_scripts, house.clock, prices())


@pytest.fixture
def recorded(house: House) -> RecordedUsage:
    return recorded_of(house)


async def spent(house: House, account_id: str) -> tuple[int, int]:
    """Spent and held."""
    balance = await house.ledger.balance(account_id)
    assert balance is not None
    return balance.spent_microcredits, balance.held_microcredits


async def test_it_is_charged_and_recorded_like_a_call(house: House, recorded: RecordedUsage, account_id: str) -> None:
    made = await recorded.record(account_id, REPORT)
    assert (made.cost_nano_usd, made.charge_microcredits, made.repeated) == (COST_NANO_USD, CHARGE, False)
    assert (made.context, made.account_id, made.provider, made.cached_tokens) == ("customer", account_id, "local", 400)
    assert await spent(house, account_id) == (CHARGE, 0)
    await house.record_all()
    row = await house.usage(made.call_id)
    assert row is not None
    expected = {
        "dialect": "recorded", "provider": "local", "model": "test-model", "input_tokens": 1000, "output_tokens": 500,
        "charge_microcredits": CHARGE, "cost_nano_usd": COST_NANO_USD, "outcome": "completed", "key_id": "key_1",
        "settlement_basis": "reported", "usage": '{"input":600,"output":500,"cache_read":400}',
        "tags": '{"usage_type":"chat","team":"red"}',
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert (await house.audit()).holds


async def test_a_transaction_is_charged_once_whatever_is_reported_again(build: Build, account_id: str) -> None:
    houses = [await build(), await build()]
    desks = [recorded_of(one) for one in houses]
    answers = await asyncio.gather(*(desks[number % 2].record(account_id, REPORT) for number in range(10)))
    assert len({replace(answer, repeated=True) for answer in answers}) == 1
    other = await desks[0].record(account_id, replace(REPORT, input_tokens=5000, model="never heard of"))
    assert other == replace(answers[0], repeated=True)
    await houses[0].record_all()
    assert (await desks[1].record(account_id, REPORT)).repeated
    assert await spent(houses[0], account_id) == (CHARGE, 0)
    elsewhere = await houses[0].account(10)
    assert (await desks[0].record(elsewhere, REPORT)).id != answers[0].id


async def test_an_idempotency_key_with_another_body_is_a_conflict(recorded: RecordedUsage, account_id: str) -> None:
    keyed = replace(REPORT, transaction_id=None, idempotency_key="k")
    first = await recorded.record(account_id, keyed)
    assert await recorded.record(account_id, keyed) == replace(first, repeated=True)
    with pytest.raises(Conflict) as caught:
        await recorded.record(account_id, replace(keyed, output_tokens=501))
    assert caught.value.code == "idempotency_conflict"


async def test_without_either_every_report_is_another_call(
    house: House, recorded: RecordedUsage, account_id: str
) -> None:
    plain = replace(REPORT, transaction_id=None)
    assert (await recorded.record(account_id, plain)).id != (await recorded.record(account_id, plain)).id
    assert await spent(house, account_id) == (2 * CHARGE, 0)


async def test_what_is_not_covered_is_refused_and_may_be_reported_again(house: House, recorded: RecordedUsage) -> None:
    account_id = await house.account(0)
    await house.top_up(account_id, CHARGE - 1)
    with pytest.raises(InsufficientCredits) as caught:
        await recorded.record(account_id, REPORT)
    assert caught.value.metadata["available"] == CHARGE - 1
    await house.top_up(account_id, 1)
    assert not (await recorded.record(account_id, REPORT)).repeated
    assert await spent(house, account_id) == (CHARGE, 0)
    limited = replace(REPORT, transaction_id="t2", limits=(Limit("key:k", REQUESTS, 0),))
    await house.top_up(account_id, CHARGE)
    with pytest.raises(RateLimited):
        await recorded.record(account_id, limited)


async def test_the_accounts_own_markup_counts(house: House, recorded: RecordedUsage, account_id: str) -> None:
    await house.directory.set_markup(account_id, 2_000_000)
    made = await recorded.record(account_id, REPORT)
    assert (made.cost_nano_usd, made.charge_microcredits) == (COST_NANO_USD, 2 * CHARGE)


async def test_usage_without_an_account_is_recorded_and_charges_nobody(
    house: House, recorded: RecordedUsage, build: Build
) -> None:
    made = await recorded.record(None, REPORT)
    assert (made.context, made.account_id, made.charge_microcredits, made.cost_nano_usd) == (
        "system",
        None,
        0,
        COST_NANO_USD,
    )
    assert (await recorded.record(None, REPORT)).repeated
    await house.record_all()
    row = await house.usage(made.call_id)
    assert row is not None
    assert (row["account_id"], row["charge_microcredits"], row["cost_nano_usd"]) == (SYSTEM_ACCOUNT, 0, COST_NANO_USD)
    with pytest.raises(Forbidden):
        await house.topups.top_up(SYSTEM_ACCOUNT, Credit(1, "k"))
    await house.redis.execute("FLUSHALL")
    await Rebuild(house.redis, house.scripts, house.database, house.partitions).run()
    again = await build()
    assert not (await recorded_of(again).record(None, replace(REPORT, transaction_id="t2"))).repeated
    assert (await again.audit()).holds


@pytest.mark.parametrize(
    ("changes", "param"),
    [({"input_tokens": -1}, "inputTokens"), ({"input_tokens": 399}, "cachedTokens"), ({"output_tokens": 1.5}, "outputTokens"),
     ({"output_tokens": True}, "outputTokens"), ({"cached_tokens": 10**9 + 1}, "cachedTokens"), ({"model": ""}, "modelId"),
     ({"usage_type": "a\nb"}, "usageType"), ({"transaction_id": ""}, "transactionId")],
)  # fmt: skip
async def test_bad_reports_name_the_member(
    house: House, recorded: RecordedUsage, account_id: str, changes: dict[str, object], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await recorded.record(account_id, replace(REPORT, **changes))
    assert caught.value.param == param
    assert await spent(house, account_id) == (0, 0)


async def test_unknown_models_and_accounts(recorded: RecordedUsage, account_id: str) -> None:
    with pytest.raises(InsufficientCredits) as caught:
        await recorded.record(account_id, replace(REPORT, model="never-heard-of"))
    assert caught.value.code == "model_not_priced"
    with pytest.raises(NotFound):
        await recorded.record("acct_none", REPORT)


async def killed(house: House, account_id: str, *, held: bool, settled: bool) -> None:
    """A report whose process died after its row, its hold, or its settlement."""
    recorded = recorded_of(house)
    await recorded.record(account_id, REPORT)
    row = await house.database.fetch_one("recorded_usage", account_id=account_id, reference="transaction:t1")
    assert row is not None
    if settled:
        await house.sql("UPDATE recorded_usage SET status = 'pending'")
        return
    await house.sql("DELETE FROM recorded_usage")
    report = replace(REPORT, transaction_id="t2")
    wanted = recorded._wanted(account_id, report, None)
    await house.database.execute("insert_recorded_usage", **wanted)
    if held:
        await house.hold(account_id, CHARGE, lease_ms=1, call_id=str(wanted["call_id"]))


@pytest.mark.parametrize(
    ("held", "settled", "expired"),
    [(False, False, False), (True, False, False), (True, False, True), (True, True, False)],
)
async def test_killed_between_any_two_steps_it_is_finished_once(
    house: House, account_id: str, *, held: bool, settled: bool, expired: bool
) -> None:
    await killed(house, account_id, held=held, settled=settled)
    if held and not settled:
        # The hold's tokens differ from the report's: only its end is looked at here.
        await asyncio.sleep(0.005)
        row = (await pending(house))[0]
        await house.ledger.expire(account_id, str(row["call_id"]))
        if expired:
            await house.record_all()
    recorded = recorded_of(house)
    assert await recorded.sweep(2**60) == (1, 0)
    assert await recorded.sweep(2**60) == (0, 0)
    await house.record_all()
    total = CHARGE if settled else 2 * CHARGE
    assert await spent(house, account_id) == (total, 0)
    report = await house.audit()
    assert report.holds, report.differences


async def test_an_old_report_is_not_charged_again_while_the_recorder_is_behind(
    house: House, recorded: RecordedUsage, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.accounts.holding._LOOKS", 1)
    made = await recorded.record(account_id, REPORT)
    await house.sql("UPDATE recorded_usage SET status = 'pending', created_at = 1")
    prefix = house.ledger.partition_of(account_id).prefix
    await house.redis.execute("DEL", prefix + b"hold:" + made.call_id.encode())
    assert await recorded.sweep(2**60) == (0, 0)
    with pytest.raises(Unavailable):
        await recorded.record(account_id, REPORT)
    await house.record_all()
    assert await recorded.sweep(2**60) == (1, 0)
    assert await spent(house, account_id) == (CHARGE, 0)


async def test_what_redis_lost_of_it_is_charged_again_after_a_rebuild(
    house: House, recorded: RecordedUsage, account_id: str, build: Build
) -> None:
    kept = await recorded.record(account_id, REPORT)
    await house.record_all()
    lost = await recorded.record(account_id, replace(REPORT, transaction_id="t2"))
    await house.redis.execute("FLUSHALL")
    result = await Rebuild(house.redis, house.scripts, house.database, house.partitions).run()
    assert result.reports_reopened == 1
    again = await build()
    assert await spent(again, account_id) == (CHARGE, 0)
    assert await recorded_of(again).sweep(2**60) == (1, 0)
    assert await spent(again, account_id) == (2 * CHARGE, 0)
    await again.record_all()
    assert {(await again.usage(made.call_id) or {})["charge_microcredits"] for made in (kept, lost)} == {CHARGE}
    assert (await again.audit()).holds


async def test_an_abandoned_report_that_redis_forgot_is_not_charged_a_second_time(
    house: House, recorded: RecordedUsage, account_id: str
) -> None:
    await killed(house, account_id, held=True, settled=False)
    await asyncio.sleep(0.005)
    row = (await pending(house))[0]
    await house.ledger.expire(account_id, str(row["call_id"]), "hold")
    await house.record_all()
    prefix = house.ledger.partition_of(account_id).prefix
    await house.redis.execute("DEL", prefix + b"hold:" + str(row["call_id"]).encode())
    assert await recorded.sweep(2**60) == (1, 0)
    await house.record_all()
    assert await spent(house, account_id) == (2 * CHARGE, 0)
    assert (await house.audit()).holds


async def pending(house: House) -> list[Row]:
    return await house.database.fetch(
        "pending_recorded_usage", created_by=2**60, after_created_at=-1, after_call_id="", row_limit=9
    )


def test_ids_lead_back_to_their_calls() -> None:
    call_id = new_call_id()
    assert call_id_of(usage_id(call_id)) == call_id
    assert call_id_of(usage_id(call_id + ":res")) == call_id + ":res"
    assert call_id_of("usage_1") != call_id


def test_a_model_is_priced_by_its_best_fitting_provider() -> None:
    book = PriceBook(
        Rules(
            prices={
                "near/m*": {"input": "3", "output": "3"},
                "far/m*": {"input": "5", "output": "5"},
                "*": {"input": "9", "output": "9"},
            }
        )
    )
    found = ModelPrices(book, {"far": ("m*",), "near": ("m-1",)}, {"big": ("far/m-9", "near/m-1")}, 1000)

    def rate(model: str) -> tuple[str, int]:
        price = found.find(model, 1_790_000_000_000)
        assert price is not None
        return price.provider, price.price.rates["input"] // 10**9

    assert rate("m-1") == ("near", 3)
    assert rate("m-2") == ("far", 5)
    assert rate("near/m-2") == ("near", 3)
    assert rate("big") == ("far", 5)
    assert rate("gpt-4o-mini")[0] == "openai"
    assert rate("never-heard-of")[1] == 9
