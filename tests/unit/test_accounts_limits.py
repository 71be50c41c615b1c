"""Limits as they are written: checked once, stored as JSON, read as ceilings."""

from typing import Any

import pytest

from proxy.accounts.limits import dump_limits, load_limits, load_model_limits, load_parting
from proxy.core.errors import InvalidRequest
from proxy.core.limits import Limit


def test_limits_survive_their_storage() -> None:
    stored = dump_limits({"requests_per_minute": 60, "concurrent": 2, "budget_day": "12.5"}, for_account=False)
    assert set(load_limits(stored, "key:k")) == {
        Limit("key:k", "requests", 60),
        Limit("key:k", "concurrent", 2),
        Limit("key:k", "budget_day", 12_500_000),
    }


def test_defaults_fill_only_what_is_open() -> None:
    stored = dump_limits({"requests_per_minute": 60}, for_account=False)
    found = load_limits(stored, "key:k", {"requests": 5, "concurrent": 7})
    assert set(found) == {Limit("key:k", "requests", 60), Limit("key:k", "concurrent", 7)}


def test_an_account_may_limit_single_models() -> None:
    stored = dump_limits({"models": {"m": {"tokens_per_minute": 9}}}, for_account=True)
    assert load_limits(stored, "account") == ()
    assert load_model_limits(stored) == {"m": (Limit("model:m", "tokens", 9),)}
    with pytest.raises(InvalidRequest):
        dump_limits({"models": {"m": {"tokens_per_minute": 9}}}, for_account=False)


def test_an_account_may_say_what_becomes_of_answers_that_its_clients_leave() -> None:
    stored = dump_limits({"on_client_left": "drain", "concurrent": 2}, for_account=True)
    assert load_limits(stored, "account") == (Limit("account", "concurrent", 2),)
    assert load_parting(stored) == "drain"
    assert load_parting(dump_limits(None, for_account=True)) is None
    with pytest.raises(InvalidRequest):
        dump_limits({"on_client_left": "drain"}, for_account=False)


@pytest.mark.parametrize(
    "limits",
    [[], "x", {"speed": 1}, {"concurrent": 0}, {"concurrent": -1}, {"concurrent": True}, {"concurrent": 1.0},
     {"concurrent": 10**11}, {"budget_day": 1}, {"budget_day": "0"}, {"budget_day": "-1"}, {"budget_day": "0.0000001"},
     {"budget_day": "9007199255"}, {"budget_day": "1e3"}, {"models": []}, {"models": {"m": {"models": {}}}},
     {"on_client_left": "stay"}],
)  # fmt: skip
def test_bad_limits_are_refused_with_their_name(limits: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        dump_limits(limits, for_account=True)
    assert caught.value.param is not None
    assert caught.value.param.startswith("limits")
