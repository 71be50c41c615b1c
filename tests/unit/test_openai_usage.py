"""What other providers put into OpenAI's usage object, beside what tests/unit/test_openai_chat.py has."""

import json
from typing import Any

import msgspec
import pytest

from proxy.providers.openai_chat import ChatCompletions
from proxy.providers.openai_usage import OTHER_TOOLS, add_input, add_output, read_raw_usage
from proxy.providers.usage_reading import Unbelievable
from tests.support.answers import HOSTILE, event, plain, streamed

CHAT = ChatCompletions()
USED: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": 10}


def counters(**usage: Any) -> dict[str, int]:
    meter = plain(CHAT, {"choices": [], "usage": {**USED, **usage}})
    assert meter.flag is None
    assert meter.usage is not None
    return dict(meter.usage.counters)


def test_video_is_apart_from_the_input() -> None:
    assert counters(prompt_tokens_details={"video_tokens": 30}) == {"input": 70, "input_video": 30, "output": 10}
    assert "input_video" not in counters(prompt_tokens_details={"video_tokens": 0})


def test_perplexity_bills_citations_as_input_and_reasoning_beside_the_output() -> None:
    found = counters(citation_tokens=7, reasoning_tokens=40, num_search_queries=3, total_tokens=110)
    assert found == {"input": 107, "output": 10, "reasoning": 40, "web_searches": 3}
    # Elsewhere a figure of that name at the top is a part of the output, told again.
    assert counters(reasoning_tokens=4) == {"input": 100, "output": 6, "reasoning": 4}


def test_searches_of_the_provider_are_counted() -> None:
    assert counters(num_search_queries=2)["web_searches"] == 2
    assert counters(num_sources_used=5)["web_searches"] == 5
    assert counters(server_tool_use_details={"web_search_requests": 4, "tool_calls_executed": 4})["web_searches"] == 4
    assert "web_searches" not in counters(num_search_queries=0)


def test_tools_whose_price_is_not_told_are_flagged_and_the_tokens_stay() -> None:
    details = {"web_search_requests": 1, "tool_calls_executed": 2}
    for meter in (
        plain(CHAT, {"choices": [], "usage": {**USED, "server_tool_use_details": details}}),
        streamed(CHAT, event(choices=[], usage={**USED, "server_tool_use_details": details})),
    ):
        assert meter.flag is not None
        assert meter.usage is not None
        assert meter.usage.counters == {"input": 100, "output": 10, "web_searches": 1}


def test_tools_that_groq_ran_are_flagged_wherever_they_are_told() -> None:
    ran = [{"type": "search", "arguments": "{}"}]
    for tools, flag in ((ran, OTHER_TOOLS), ([], None), (None, None)):
        message = {"content": "x", "executed_tools": tools}
        told = event(choices=[{"delta": message}])
        usage = event(choices=[], usage=USED)
        for meter in (
            plain(CHAT, {"choices": [{"message": message}], "usage": USED}),
            streamed(CHAT, told, usage),
            streamed(CHAT, usage, told),
        ):
            assert meter.flag == flag
            assert meter.usage is not None
        assert streamed(CHAT, told).flag == flag


@pytest.mark.parametrize(
    ("cost", "details", "flagged"),
    [
        (0.002, {"upstream_inference_prompt_cost": 0.001, "upstream_inference_completions_cost": 0.001}, False),
        (0.00200001, {"upstream_inference_prompt_cost": 0.001, "upstream_inference_completions_cost": 0.001}, False),
        (0.004, {"upstream_inference_prompt_cost": 0.001, "upstream_inference_completions_cost": 0.001}, True),
        (0.004, {"upstream_inference_prompt_cost": 0, "upstream_inference_completions_cost": 0}, True),
        (0, {"upstream_inference_prompt_cost": 0.001, "upstream_inference_completions_cost": 0.001}, False),
        (0.004, {"upstream_inference_prompt_cost": None, "upstream_inference_completions_cost": 0.001}, False),
        ({"total_cost": 0.004}, {"upstream_inference_prompt_cost": 0, "upstream_inference_completions_cost": 0}, False),
        (0.004, None, False),
        (0.004, [1], False),
    ],
)
def test_a_cost_above_that_of_the_tokens_is_flagged_and_the_tokens_stay(cost: Any, details: Any, flagged: bool) -> None:
    meter = plain(CHAT, {"choices": [], "usage": {**USED, "cost": cost, "cost_details": details}})
    assert (meter.flag is not None) is flagged
    assert meter.usage is not None
    assert meter.usage.counters == {"input": 100, "output": 10}
    searched = {**USED, "cost": cost, "cost_details": details, "server_tool_use_details": {"web_search_requests": 1}}
    assert plain(CHAT, {"choices": [], "usage": searched}).flag is None


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "path",
    [
        "citation_tokens",
        "num_search_queries",
        "server_tool_use_details.web_search_requests",
        "prompt_tokens_details.video_tokens",
    ],
)
def test_hostile_figures_of_others_are_not_believed(path: str, value: str) -> None:
    outer, _, inner = path.partition(".")
    figure = f'{{"{inner}":{value}}}' if inner else value
    body = f'{{"choices":[],"usage":{{"prompt_tokens":1,"completion_tokens":1,"{outer}":{figure}}}}}'
    meter = plain(CHAT, body.encode())
    assert (meter.usage, meter.partial) == (None, None)
    assert meter.flag is not None
    assert len(meter.flag) < 200


def test_splitting_never_makes_tokens() -> None:
    found: dict[str, int] = {}
    add_input(found, 100, cached=50, written=10, written_long=5, audio=20, other=("input_image", 5))
    assert found == {
        "input": 10,
        "cache_read": 50,
        "cache_write_5m": 10,
        "cache_write_1h": 5,
        "input_audio": 20,
        "input_image": 5,
    }
    found = {}
    add_output(found, 50, reasoning=60, audio=10, image=5)
    assert found == {"output": 0, "reasoning": 35, "output_audio": 10, "output_image": 5}
    for parts in ({"cached": 101}, {"written": 60, "cached": 41}, {"audio": 50, "written_long": 51}):
        with pytest.raises(Unbelievable):
            add_input({}, 100, **parts)
    with pytest.raises(Unbelievable):
        add_output({}, 10, audio=6, image=5)


def test_what_is_no_object_is_not_believed() -> None:
    for text in (b"5", b"[]", b'"x"', b"{", b"\xff"):
        usage, partial, flag = read_raw_usage(msgspec.Raw(text))
        assert (usage, partial) == (None, None)
        assert flag is not None


def test_a_call_with_web_search_options_is_one_search() -> None:
    request = {"model": "gpt-4o-search-preview", "messages": [], "web_search_options": {}}
    ask = CHAT.read(json.dumps(request).encode())
    assert ask.units == {"web_searches": 1}
    meter = plain(CHAT, {"choices": [], "usage": USED}, ask)
    assert meter.usage is not None
    assert meter.usage.counters == {"web_searches": 1, "input": 100, "output": 10}
    stream = streamed(
        CHAT,
        event(choices=[], usage=USED),
        ask=CHAT.read(json.dumps({**request, "stream": True, "stream_options": {"include_usage": True}}).encode()),
    )
    assert stream.usage == meter.usage
    assert CHAT.read(json.dumps({**request, "web_search_options": None}).encode()).units == {}


def test_the_service_tier_is_what_the_answer_says() -> None:
    assert plain(CHAT, {"choices": [], "usage": USED, "service_tier": "priority"}).service_tier == "priority"
    assert plain(CHAT, {"choices": [], "service_tier": None}).service_tier is None
    assert plain(CHAT, {"choices": [], "service_tier": 5}).service_tier is None
    chunk = {"choices": [{"delta": {"content": "x"}}], "service_tier": "flex"}
    assert streamed(CHAT, event(**chunk), event(**chunk)).service_tier == "flex"
    asked = {"model": "m", "messages": [], "service_tier": "priority"}
    assert CHAT.read(json.dumps(asked).encode()).service_tier == "priority"
