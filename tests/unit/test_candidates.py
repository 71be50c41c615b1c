"""Whose turn it is, and who is left alone."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pricing import Price
from proxy.pipeline.candidates import Candidates, Route
from proxy.pipeline.condition import Condition, RestRules

RULES = RestRules(after_failures=3, first_s=4.0, longest_s=20.0)
PRICE = Price("m", {"input": 1, "output": 1}, "v")


def route(weight: int) -> Route:
    endpoint: Any = SimpleNamespace(condition=Condition(RULES), provider="p", models=("m",), token_limits=None)
    return Route(endpoint, "m", None, PRICE, weight)


def condition_of(one: Route) -> Condition:
    return one.endpoint.condition


def rest(one: Route, now: float) -> None:
    for _ in range(RULES.after_failures):
        condition_of(one).failed(now)


@given(st.lists(st.integers(0, 7), min_size=2, max_size=5).filter(any))
def test_calls_are_shared_exactly_by_weight(weights: list[int]) -> None:
    candidates = Candidates([route(weight) for weight in weights])
    firsts = Counter(candidates.routes.index(candidates.order(0.0)[0]) for _ in range(sum(weights) * 3))
    assert [firsts[index] for index in range(len(weights))] == [3 * weight for weight in weights]


def test_turns_are_spread_and_go_on_from_what_was() -> None:
    heavy, light = route(2), route(1)
    candidates = Candidates([heavy, light])
    names = {id(heavy): "a", id(light): "b"}
    turns = "".join(names[id(candidates.order(0.0)[0])] for _ in range(3))
    assert turns == "aba"
    started = Candidates([heavy, light])
    started.order(0.0)
    after = Candidates([heavy, light], started)
    assert after.order(0.0)[0] is light
    assert Candidates([light, heavy], started).order(0.0)[0] is heavy, "other routes begin anew"


def test_every_candidate_is_in_the_order_once() -> None:
    candidates = Candidates([route(1), route(5), route(0)])
    for _ in range(20):
        assert sorted(map(id, candidates.order(0.0))) == sorted(map(id, candidates.routes))


def test_one_that_rests_comes_last_and_of_all_resting_the_least_bad_first() -> None:
    one, two, three = route(1), route(1), route(1)
    candidates = Candidates([one, two, three])
    rest(one, 10.0)
    assert {id(candidates.order(11.0)[0]) for _ in range(6)} == {id(two), id(three)}
    assert candidates.order(11.0)[-1] is one
    rest(two, 11.0)
    rest(three, 12.0)
    assert candidates.order(13.0) == (one, two, three)


def test_a_single_route_needs_no_order() -> None:
    one = route(0)
    rest(one, 0.0)
    assert Candidates([one]).order(1.0) == (one,)


def test_a_rest_comes_after_failures_in_a_row_only() -> None:
    condition = Condition(RULES)
    condition.failed(0.0)
    condition.failed(0.0)
    condition.succeeded()
    condition.failed(0.0)
    condition.failed(0.0)
    assert condition.ready(0.0)
    condition.failed(0.0)
    assert not condition.ready(3.9)


def test_one_call_tries_and_rests_grow_to_a_bound() -> None:
    condition = Condition(RULES)
    for _ in range(3):
        condition.failed(0.0)
    now, rests = 0.0, []
    for _ in range(5):
        rests.append(condition.until - now)
        now = condition.until
        assert condition.ready(now)
        condition.begin(now)
        assert not condition.ready(now), "one call tries, the others wait for what it learns"
        condition.failed(now)
    assert rests == [4.0, 8.0, 16.0, 20.0, 20.0]
    condition.begin(condition.until)
    condition.answered()
    assert condition.ready(now), "an answer ends the rest"
    condition.failed(now)
    assert not condition.ready(now + 19.0), "but only a whole answer makes the failures forgotten"


def test_a_try_that_tells_nothing_leaves_the_next_call_to_try() -> None:
    condition = Condition(RULES)
    rest_until = 4.0
    for _ in range(3):
        condition.failed(0.0)
    condition.begin(rest_until)
    condition.abandoned()
    assert condition.ready(rest_until)


def test_calls_that_began_before_the_rest_do_not_lengthen_it() -> None:
    condition = Condition(RULES)
    for _ in range(10):
        condition.failed(1.0)
    assert condition.until == 5.0


@pytest.mark.parametrize(("asked", "until"), [(0.0, 4.0), (2.0, 4.0), (9.0, 9.0), (1e6, 20.0)])
def test_what_a_provider_asks_for_is_kept_within_the_bound(asked: float, until: float) -> None:
    condition = Condition(RULES)
    for _ in range(3):
        condition.failed(0.0, asked)
    assert condition.until == until
