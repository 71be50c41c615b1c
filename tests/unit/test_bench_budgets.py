"""Budgets of the bench: judged as they are, missed where they are missed, silent where nothing was measured."""

from bench.budgets import BUDGETS, Verdict, judge
from bench.figures import Round


def verdict(one: Round, title: str) -> Verdict:
    return next(verdict for verdict in judge([one]) if verdict.budget.title == title)


def test_a_cost_is_judged_as_a_ratio_beside_nginx() -> None:
    one = Round({("farebox", "small"): {"cpu_us_a_call": 80.0}, ("nginx", "small"): {"cpu_us_a_call": 20.0}})
    found = verdict(one, "CPU a small call, 64 clients")
    assert found.value == 4.0
    assert found.met == (True, True, False)


def test_a_rate_must_be_reached() -> None:
    one = Round({("farebox", "small"): {"calls_a_second": 9_999.0}})
    assert verdict(one, "calls a second on one core").met == (True, False, False)


def test_latency_is_what_the_proxy_adds() -> None:
    one = Round({("farebox", "one"): {"first_byte_p50_ms": 1.75}, ("direct", "one"): {"first_byte_p50_ms": 0.0}})
    found = verdict(one, "added to first byte, one client, p50")
    assert found.value == 1.75
    assert found.met == (False, False, False)


def test_nothing_measured_is_neither_met_nor_missed() -> None:
    for found in judge([Round()]):
        assert found.value is None
        assert found.met is None


def test_two_workers_are_compared_with_one() -> None:
    one = Round(
        {("farebox", "small"): {"calls_a_second": 3.0}, ("farebox, 2 workers", "small"): {"calls_a_second": 6.0}}
    )
    title = "two workers on two cores (or two thirds of one) / one on one (a third)"
    assert verdict(one, title).met == (True, True, True)
    one.figures["farebox, 1 worker on a third of a core", "small"] = {"calls_a_second": 3.5}
    assert verdict(one, title).met == (True, False, False), "a third is compared with a third"


def test_each_level_is_harder_than_the_one_before() -> None:
    for budget in BUDGETS:
        assert list(budget.bounds) == sorted(budget.bounds, reverse=not budget.at_least), budget.title
