"""A call that lets several models answer costs what the dearest of them does."""

from dataclasses import replace
from typing import cast

import pytest

from proxy.core.pricing import Price
from proxy.pipeline.alternatives import at_dearest
from proxy.pipeline.candidates import Candidates, Endpoint, Route

FREE = Price("free", {"input": 0, "output": 0}, "v")
CHEAP = Price("cheap", {"input": 10, "output": 20}, "v")
DEAR = Price("dear", {"input": 50, "output": 90}, "v")
# The same money in other units: 0.05 of an input token's rate of CHEAP.
SCALED = Price("scaled", {"input": 50, "output": 90}, "v", scale=100)
STEEP = Price(
    "steep", {"input": 1, "output": 2}, "v", tiers=((100, replace(DEAR, rates={"input": 500, "output": 900})),)
)


def candidates(*prices: Price) -> Candidates:
    endpoint = cast("Endpoint", object())
    return Candidates(
        [Route(endpoint, price.model, None, price, weight=number) for number, price in enumerate(prices, 1)]
    )


@pytest.mark.parametrize(
    ("own", "others", "dearest"),
    [
        (FREE, [DEAR], DEAR),
        (DEAR, [FREE, CHEAP], DEAR),
        (CHEAP, [FREE, DEAR], DEAR),
        (CHEAP, [SCALED], CHEAP),
        (DEAR, [STEEP], STEEP),
        (CHEAP, [], CHEAP),
    ],
)
def test_the_dearest_price_counts(own: Price, others: list[Price], dearest: Price) -> None:
    widened = at_dearest(candidates(own), [candidates(other) for other in others])
    assert [route.price for route in widened.routes] == [dearest]
    assert widened.routes[0].model == own.model
    assert widened.routes[0].tariff(1000, 1_000_000).price is dearest


def test_every_route_keeps_its_place_and_none_becomes_cheaper() -> None:
    widened = at_dearest(candidates(FREE, DEAR), [candidates(CHEAP)])
    assert [route.price for route in widened.routes] == [CHEAP, DEAR]
    assert [route.weight for route in widened.routes] == [1, 2]
