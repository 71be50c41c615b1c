"""What an Anthropic request says about its cost beside its tokens, and what counting tokens is."""

import json
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.providers.anthropic_messages import OPERATIONS, CountTokens, Messages
from proxy.providers.anthropic_request import MAX_SEARCHES, UNBOUND_SEARCHES
from proxy.providers.dialect import FREE, JSON, Ask

BASE = {"model": "claude", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def read(**members: Any) -> Ask:
    return Messages().read(json.dumps({**BASE, **members}).encode())


@pytest.mark.parametrize(
    ("members", "tier"),
    [
        ({}, None),
        ({"speed": "standard"}, None),
        ({"speed": None, "inference_geo": "global"}, None),
        ({"speed": "fast"}, "fast"),
        ({"inference_geo": "us"}, "us"),
        ({"speed": "fast", "inference_geo": "us"}, "fast-us"),
        ({"service_tier": "auto"}, None),
    ],
)
def test_modes_that_raise_the_rates_are_the_tier_that_is_asked_for(members: dict[str, Any], tier: str | None) -> None:
    assert read(**members).service_tier == tier


@pytest.mark.parametrize("name", ["speed", "inference_geo"])
def test_modes_are_said_once_and_plainly(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**{name: 5})
    assert caught.value.param == name
    with pytest.raises(InvalidRequest):
        read(**{name.title(): "fast"})
    twice = json.dumps(BASE).replace('"model"', f'"{name}": "standard", "{name}": "fast", "model"')
    with pytest.raises(InvalidRequest):
        Messages().read(twice.encode())


@pytest.mark.parametrize(
    ("tools", "searches"),
    [
        ([{"type": "web_search_20250305", "name": "web_search"}], UNBOUND_SEARCHES),
        ([{"type": "web_search_20260209", "max_uses": 3}, {"type": "web_search_20250305", "max_uses": 2}], 5),
        ([{"type": "web_search_20250305", "max_uses": 10**6}], MAX_SEARCHES),
        ([{"type": "web_search_20250305", "max_uses": -3}], 0),
    ],
)
def test_searches_are_bounded_by_what_the_tools_allow(tools: list[dict[str, Any]], searches: int) -> None:
    assert read(tools=tools).units == {"web_searches": searches}


@pytest.mark.parametrize(
    "tools",
    [None, [], [{"name": "web_search_", "input_schema": {}}], [{"type": "custom", "description": '"web_search_'}]],
)
def test_other_tools_search_nothing(tools: Any) -> None:
    assert read(tools=tools).units == {}


def test_a_container_is_a_resource() -> None:
    assert read(container="container_1").resources == ("container_1",)
    assert read(container={"id": "container_2", "skills": []}).resources == ("container_2",)
    assert read(container={"skills": []}).resources == read(container=None).resources == read().resources == ()
    with pytest.raises(InvalidRequest):
        read(container=5)


def test_counting_is_free_and_its_answer_uses_nothing() -> None:
    count = CountTokens()
    assert count.billing == FREE
    body = json.dumps({"model": "claude", "messages": []}).encode()
    ask = count.read(body)
    assert (ask.model, ask.output_limit) == ("claude", 0)
    assert count.outgoing(body, ask) is body
    for document in (b'{"input_tokens":7,"usage":{"input_tokens":5,"output_tokens":5}}', b"odd"):
        meter = count.meter(ask, JSON)
        assert meter.feed(document) is document
        meter.finish()
        assert meter.usage is not None
        assert not meter.usage.counters
        assert meter.complete


def test_batches_and_the_old_completions_are_not_open() -> None:
    suffixes = {path.suffix for operation in OPERATIONS for path in operation.paths}
    assert suffixes == {"/v1/messages", "/v1/messages/count_tokens"}


def test_other_models_that_may_answer_are_told_once_each() -> None:
    assert read(fallbacks=[{"model": "b", "max_tokens": 3}, {"model": "claude"}, {"model": "b"}]).others == ("b",)
    assert read(fallbacks="default").others == read(fallbacks=None).others == read().others == ()
    odd: list[Any] = [5, [{}], [{"model": 5}], [{"model": ""}], [{"model": f"m{number}"} for number in range(17)]]
    for fallbacks in odd:
        with pytest.raises(InvalidRequest) as caught:
            read(fallbacks=fallbacks)
        assert caught.value.param == "fallbacks"
