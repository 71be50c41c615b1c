"""What Anthropic reports beside the tokens of one model: rounds, searches, and modes that raise the rates."""

import json
from typing import Any

import msgspec
import pytest

from proxy.providers.anthropic_usage import Report, tier_of

FIGURES = {"input_tokens": 10, "output_tokens": 4, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 0}
COUNTERS = {"input": 10, "output": 4, "cache_read": 2, "cache_write_5m": 0, "cache_write_1h": 0}


def report(*usages: dict[str, Any]) -> Report:
    made = Report()
    for usage in usages:
        made.add(msgspec.Raw(json.dumps(usage).encode()))
    return made


def round_of(kind: str, **figures: Any) -> dict[str, Any]:
    return {"type": kind, **FIGURES, **figures}


def test_a_compaction_is_billed_beside_the_totals_and_a_message_is_in_them() -> None:
    rounds = [round_of("compaction", input_tokens=1000, output_tokens=30), round_of("message")]
    usage, partial, flag = report({**FIGURES, "iterations": rounds}).read(final=True)
    assert (partial, flag) == (None, None)
    assert usage is not None
    assert usage.counters == COUNTERS | {"input": 1010, "output": 34, "cache_read": 4}


def test_the_last_list_of_rounds_holds() -> None:
    first, second = [round_of("compaction")], [round_of("compaction"), round_of("compaction")]
    usage, _, _ = report({**FIGURES, "iterations": first}, {**FIGURES, "iterations": second}).read(final=True)
    assert usage is not None
    assert (usage.counters["input"], usage.counters["output"]) == (30, 12)


@pytest.mark.parametrize("kind", ["advisor_message", "fallback_message", "something_new"])
def test_another_models_rounds_are_told_beside_the_figures(kind: str) -> None:
    rounds = [round_of("message"), round_of(kind, model="claude-opus-9")]
    usage, partial, flag = report({**FIGURES, "iterations": rounds}).read(final=True)
    assert usage is not None
    assert usage.counters == COUNTERS
    assert partial is None
    assert flag is not None
    assert kind in flag


def test_a_model_that_the_request_named_is_in_the_figures() -> None:
    made = Report(others=True)
    rounds = [round_of("message"), round_of("fallback_message", model="claude-opus-9")]
    made.add(msgspec.Raw(json.dumps({**FIGURES, "iterations": rounds}).encode()))
    usage, _, flag = made.read(final=True)
    assert flag is None
    assert usage is not None
    assert usage.counters == COUNTERS


@pytest.mark.parametrize(
    "rounds", [[round_of("compaction", input_tokens=-1)], [round_of("compaction", output_tokens="5")], 5, [5]]
)
def test_rounds_that_cannot_be_are_not_believed(rounds: Any) -> None:
    usage, partial, flag = report({**FIGURES, "iterations": rounds}).read(final=True)
    assert (usage, partial) == (None, None)
    assert flag is not None


def test_searches_are_counted_and_no_searches_are_not() -> None:
    for count, expected in ((2, {"web_searches": 2}), (0, {}), (None, {})):
        tools = {"web_search_requests": count, "web_fetch_requests": 7}
        usage, _, flag = report({**FIGURES, "server_tool_use": tools}).read(final=True)
        assert flag is None
        assert usage is not None
        assert usage.counters == COUNTERS | expected
    usage, _, flag = report({**FIGURES, "server_tool_use": {"web_search_requests": 1.5}}).read(final=True)
    assert usage is None
    assert flag is not None


def test_a_later_zero_does_not_take_the_input_back() -> None:
    usage, _, _ = report(FIGURES, {"input_tokens": 0, "output_tokens": 9}).read(final=True)
    assert usage is not None
    assert (usage.counters["input"], usage.counters["output"]) == (10, 9)


@pytest.mark.parametrize(
    ("modes", "tier"),
    [
        ({"service_tier": "standard"}, None),
        ({"service_tier": "standard", "speed": "standard"}, "standard"),
        ({"service_tier": "batch"}, "batch"),
        ({"service_tier": "priority", "speed": "standard", "inference_geo": "global"}, "priority"),
        ({"service_tier": "standard", "inference_geo": "not_available"}, None),
        ({"service_tier": "standard", "speed": "fast"}, "fast"),
        ({"service_tier": "standard", "inference_geo": "us"}, "us"),
        ({"speed": "fast", "inference_geo": "us"}, "fast-us"),
        ({"service_tier": 5, "speed": ["fast"], "inference_geo": None}, None),
        ({}, None),
    ],
)
def test_the_tier_is_what_raises_the_rates(modes: dict[str, Any], tier: str | None) -> None:
    assert report({**FIGURES, **modes}).service_tier == tier
    assert report({**FIGURES, **modes}).read(final=True)[0] is not None


def test_a_tier_told_at_the_beginning_stands() -> None:
    assert report({**FIGURES, "speed": "fast"}, {"output_tokens": 5}).service_tier == "fast"


def test_modes_without_a_price_are_no_tier() -> None:
    assert tier_of(None, None) is None
    assert tier_of("standard", "global") is None
    assert tier_of("fast", "eu") == "fast"
