"""The rules of the ledger, told by its model in plain cases; the scripts are compared with it elsewhere."""

from datetime import UTC, datetime

import pytest

from proxy.core.errors import Conflict, InvalidRequest
from proxy.core.holds import LedgerModel
from proxy.core.limit_uses import DAY_MS, period_of
from proxy.core.limits import BUDGET_DAY, BUDGET_MONTH, BUDGET_TOTAL, BUDGET_WEEK, CONCURRENT, REQUESTS, TOKENS, Limit
from proxy.core.money import MAX_AMOUNT
from proxy.core.outcomes import Ended, Extended, Held, HoldRequest, NotDue, Refused, Stale, UnknownAccount


@pytest.fixture
def model() -> LedgerModel:
    model = LedgerModel(now_ms=10 * DAY_MS)
    model.open_account("a", 1)
    model.credit("a", "op", "topup", 1_000, "d")
    return model


def request(amount: int = 600, call_id: str = "c", *limits: Limit, tokens: int = 50, version: int = 1) -> HoldRequest:
    return HoldRequest("a", call_id, amount, tokens, 60_000, limits, version, b"draft")


def at(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, 12, tzinfo=UTC).timestamp()) * 1000


def test_credit_for_one_call_admits_one(model: LedgerModel) -> None:
    assert model.hold(request()) == Held(1_000, 600, ())
    assert model.hold(request(call_id="d")) == Refused("in_flight", None, 600, 400, None, ())
    assert model.hold(request(1_001, "d")) == Refused("balance", None, 1_001, 400, None, ())


def test_a_repeat_takes_nothing_and_another_content_is_a_conflict(model: LedgerModel) -> None:
    first = model.hold(request())
    assert model.hold(request()) == first
    with pytest.raises(Conflict):
        model.hold(request(601))


def test_a_call_that_cost_more_than_its_hold_is_charged_in_full(model: LedgerModel) -> None:
    model.hold(request())
    assert model.settle("a", "c", 1_500, 10, b"r") == Ended("settled", False, 1_500, -500, 0)
    assert model.settle("a", "c", 1, 10, b"r") == Ended("settled", True, 1_500, -500, 0)
    assert isinstance(model.hold(request(0, "d")), Refused)


def test_a_late_result_is_corrected_once(model: LedgerModel) -> None:
    model.hold(request())
    assert model.extend("c", 1, 700, 250, 1_000, b"d2") == Extended(True, 700)
    assert model.expire("a", "c", "checkpoint") == NotDue(1_000)
    model.now_ms += 1_000
    assert model.expire("a", "c", "checkpoint") == Ended("expired", False, 250, 750, 0)
    assert model.settle("a", "c", 300, 10, b"r") == Ended("corrected", False, 300, 700, 0)
    assert model.settle("a", "c", 900, 10, b"r") == Ended("corrected", True, 300, 700, 0)
    assert [event.get("amount") for event in model.events] == [1_000, -250, -50]
    assert [event.get("entry") for event in model.events] == ["topup", "charge", "correction"]


def test_a_call_that_costs_nothing_has_an_event_and_no_entry(model: LedgerModel) -> None:
    model.hold(request())
    assert model.release("a", "c", b"r") == Ended("released", False, 0, 1_000, 0)
    assert "seq" not in model.events[-1]


def test_tokens_are_given_back_and_requests_are_not(model: LedgerModel) -> None:
    limits = (Limit("account", REQUESTS, 2), Limit("account", TOKENS, 60), Limit("account", CONCURRENT, 1))
    held = model.hold(request(1, "c", *limits))
    assert isinstance(held, Held)
    assert [standing.remaining for standing in held.standings] == [1, 10, 0]
    refused = model.hold(request(1, "d", *limits))
    assert isinstance(refused, Refused)
    assert (refused.source, refused.required, refused.available, refused.retry_after_ms) == ("tokens", 50, 10, 40_000)
    model.settle("a", "c", 1, 20, b"r")
    held = model.hold(request(1, "d", *limits, tokens=40))
    assert isinstance(held, Held)
    assert [standing.remaining for standing in held.standings] == [0, 0, 0]


def test_what_can_never_pass_is_not_told_to_wait(model: LedgerModel) -> None:
    refused = model.hold(request(1, "c", Limit("account", TOKENS, 49)))
    assert isinstance(refused, Refused)
    assert refused.retry_after_ms is None


def test_a_budget_begins_anew_and_old_calls_do_not_count_in_it(model: LedgerModel) -> None:
    budget = Limit("key:k", BUDGET_DAY, 700)
    model.hold(request(600, "c", budget))
    refused = model.hold(request(200, "d", budget))
    assert isinstance(refused, Refused)
    assert (refused.source, refused.retry_after_ms) == ("budget", DAY_MS)
    model.now_ms += DAY_MS
    assert isinstance(model.hold(request(200, "d", budget)), Held)
    model.settle("a", "c", 650, 1, b"r")
    held = model.hold(request(0, "e", budget))
    assert isinstance(held, Held)
    assert held.standings[0].remaining == 500


def test_versions_and_unknown_accounts(model: LedgerModel) -> None:
    assert model.set_version("a", 3) == 3
    assert model.set_version("a", 2) == 3
    assert model.hold(request()) == Stale()
    assert model.set_version("b", 1) is None
    assert model.balance("b") is None
    assert LedgerModel().hold(request()) == UnknownAccount()


def test_credits_end_at_the_largest_exact_integer(model: LedgerModel) -> None:
    model.credit("a", "op2", "topup", MAX_AMOUNT - 1_000, "d")
    with pytest.raises(InvalidRequest):
        model.credit("a", "op3", "topup", 1, "d")
    with pytest.raises(Conflict):
        model.credit("a", "op2", "topup", 1, "another")


@pytest.mark.parametrize(
    ("kind", "now", "first", "next_first"),
    [
        (BUDGET_DAY, at(2026, 11, 22), at(2026, 11, 22), at(2026, 11, 23)),
        (BUDGET_WEEK, at(2026, 11, 22), at(2026, 11, 16), at(2026, 11, 23)),
        (BUDGET_WEEK, at(2026, 11, 23), at(2026, 11, 23), at(2026, 11, 30)),
        (BUDGET_MONTH, at(2028, 2, 29), at(2028, 2, 1), at(2028, 3, 1)),
        (BUDGET_MONTH, at(2026, 12, 31), at(2026, 12, 1), at(2027, 1, 1)),
        (BUDGET_TOTAL, at(2026, 12, 31), at(1970, 1, 1), None),
    ],
)
def test_periods(kind: str, now: int, first: int, next_first: int | None) -> None:
    assert period_of(kind, now) == (first // DAY_MS, None if next_first is None else next_first // DAY_MS)
