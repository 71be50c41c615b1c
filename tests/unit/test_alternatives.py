"""A call that lets several models answer is held at the dearest of them and charged at the one that answered."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from proxy.core.pricing import Price, Tariff
from proxy.pipeline.alternatives import at_dearest, settled_tariff
from proxy.pipeline.candidates import Candidates, Endpoint, Route
from proxy.providers.anthropic_messages import Messages
from proxy.providers.dialect import JSON, SSE, Ask, Meter
from proxy.providers.openai_chat import ChatCompletions

if TYPE_CHECKING:
    from proxy.pipeline.call import Call

FREE = Price("free", {"input": 0, "output": 0}, "v")
CHEAP = Price("cheap", {"input": 10, "output": 20}, "v")
DEAR = Price("dear", {"input": 50, "output": 90}, "v")
# The same money in other units: 0.05 of an input token's rate of CHEAP.
SCALED = Price("scaled", {"input": 50, "output": 90}, "v", scale=100)
STEEP = Price(
    "steep", {"input": 1, "output": 2}, "v", tiers=((100, replace(DEAR, rates={"input": 500, "output": 900})),)
)


def candidates(*prices: Price) -> Candidates:
    endpoint = cast("Endpoint", SimpleNamespace(models=(), token_limits=None))
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
def test_the_call_is_held_at_the_dearest(own: Price, others: list[Price], dearest: Price) -> None:
    widened = at_dearest(candidates(own), {other.model: candidates(other) for other in others})
    assert [route.price for route in widened.routes] == [dearest]
    assert widened.routes[0].model == own.model
    assert widened.routes[0].tariff(1000, 1_000_000).price is dearest


def test_every_route_keeps_its_place_and_none_becomes_cheaper() -> None:
    widened = at_dearest(candidates(FREE, DEAR), {"cheap": candidates(CHEAP)})
    assert [route.price for route in widened.routes] == [CHEAP, DEAR]
    assert [route.weight for route in widened.routes] == [1, 2]


@pytest.mark.parametrize(
    ("answered", "price"),
    [
        ("cheap", CHEAP),
        ("dear", DEAR),
        ("dear-2026-01-01", DEAR),
        ("free", CHEAP),  # an answer makes nothing cheaper than what was asked for
        ("steep", STEEP),
        ("something else", STEEP),
        ("", STEEP),
        (None, STEEP),
    ],
)
def test_the_call_is_charged_at_the_model_that_answered(answered: str | None, price: Price) -> None:
    others = {other.model: candidates(other) for other in (FREE, DEAR, STEEP)}
    route = at_dearest(candidates(CHEAP), others).routes[0]
    meter = SimpleNamespace(answered_by=answered)
    call = cast("Call", SimpleNamespace(meter=meter, route=route, tariff=Tariff(route.price, 7, 1_200_000)))
    assert settled_tariff(call) == Tariff(price, 7, 1_200_000)


def test_a_call_without_an_answer_keeps_the_dearest() -> None:
    route = at_dearest(candidates(CHEAP), {"dear": candidates(DEAR)}).routes[0]
    call = cast("Call", SimpleNamespace(meter=None, route=route, tariff=Tariff(route.price, 7)))
    assert settled_tariff(call).price is DEAR


def test_the_longest_name_that_fits_is_the_one_that_answered() -> None:
    longer = replace(DEAR, model="cheap-heavy")
    route = at_dearest(candidates(CHEAP), {"cheap-heavy": candidates(longer)}).routes[0]
    meter = SimpleNamespace(answered_by="cheap-heavy-0709")
    call = cast("Call", SimpleNamespace(meter=meter, route=route, tariff=Tariff(route.price, 7)))
    assert settled_tariff(call).price is longer


def test_meters_tell_who_answered_where_several_may() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    several = Ask(model="m", others=("x",), stream=True, usage_asked=True)
    chat = json.dumps({"model": "x", "choices": [], "usage": usage}).encode()
    for content_type, body in ((JSON, chat), (SSE, b"data: %b\n\n" % chat)):
        assert answered(ChatCompletions().meter(several, content_type), body) == "x"
        assert answered(ChatCompletions().meter(several, content_type), body.replace(b'"x"', b"5")) is None
    message = json.dumps({"type": "message", "model": "x", "usage": {"input_tokens": 1, "output_tokens": 1}}).encode()
    assert answered(Messages().meter(several, JSON), message) == "x"
    begun = b'data: {"type":"message_start","message":{"model":"x","usage":{"input_tokens":1}}}\n\n'
    assert answered(Messages().meter(several, SSE), begun) == "x"


def answered(meter: Meter, body: bytes) -> str | None:
    meter.feed(body)
    meter.finish()
    return meter.answered_by
