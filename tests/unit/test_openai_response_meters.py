import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers.dialect import SSE, Ask, Meter
from proxy.providers.meters import MAX_PLAIN_BYTES
from proxy.providers.openai_response_objects import CANCELLED, OTHER_MODEL, UNTOLD_TOOL
from proxy.providers.openai_responses import Responses
from proxy.providers.openai_usage import OTHER_COST
from tests.support.answers import HOSTILE, event, plain, play, state, streamed

RESPONSES = Responses()
USED = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 5},
    "output_tokens": 8,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 28,
}
COUNTERS = {"input": 15, "cache_read": 5, "output": 5, "reasoning": 3}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}
MESSAGE = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "hello", "annotations": []}],
}


def response(status: str = "completed", **members: Any) -> dict[str, Any]:
    usage = USED if status in {"completed", "incomplete"} else None
    output = [MESSAGE] if usage else []
    return {
        "id": "resp_1",
        "object": "response",
        "status": status,
        "error": None,
        "output": output,
        "usage": usage,
    } | members


def used(meter: Meter) -> dict[str, int]:
    assert meter.usage is not None
    return dict(meter.usage.counters)


def both(answer: dict[str, Any]) -> list[Meter]:
    """The same finished response as a document and at the end of a stream."""
    return [plain(RESPONSES, answer), streamed(RESPONSES, event("response.completed", response=answer))]


CREATED = event("response.created", response=response("in_progress", background=False))
DELTA = event(
    "response.output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta="hé", obfuscation="zzz"
)
COMPLETED = event("response.completed", response=response(service_tier="default"))


def test_a_finished_response_tells_its_usage() -> None:
    for meter in both(response(service_tier="priority")):
        assert used(meter) == COUNTERS
        assert (meter.flag, meter.error, meter.complete, meter.pending) == (None, False, True, False)
        assert (meter.resource, meter.service_tier) == ("resp_1", "priority")
    assert plain(RESPONSES, response()).output_text == "hello"


def test_an_incomplete_response_is_charged_for_what_it_used() -> None:
    for kind in ("response.incomplete", "response.completed"):
        meter = streamed(RESPONSES, CREATED, DELTA, event(kind, response=response("incomplete")))
        assert used(meter) == COUNTERS
        assert meter.complete


def test_a_failed_response_is_an_error_with_or_without_usage() -> None:
    failure = {"code": "server_error", "message": "sorry"}
    for meter in both(response("failed", error=failure)):
        assert (meter.error, meter.usage, meter.flag, meter.pending) == (True, None, None, False)
    for meter in both(response("failed", error=failure, usage=USED)):
        assert meter.error
        assert used(meter) == COUNTERS
    assert streamed(RESPONSES, CREATED, event("error", code="x", message="y")).error
    assert plain(RESPONSES, {"error": failure}).error


def test_a_background_response_is_pending_until_it_is_finished() -> None:
    for status in ("queued", "in_progress"):
        meter = plain(RESPONSES, response(status, background=True))
        assert (meter.pending, meter.resource, meter.usage, meter.flag, meter.complete) == (
            True,
            "resp_1",
            None,
            None,
            True,
        )
        begun = event("response.created", response=response(status, background=True))
        assert streamed(RESPONSES, begun, DELTA).pending
        assert not streamed(RESPONSES, begun, DELTA, COMPLETED).pending
        assert not streamed(RESPONSES, begun, event("error", message="x")).pending
    # A stream that is not in the background ends with its connection.
    assert not streamed(RESPONSES, CREATED, DELTA).pending
    assert streamed(RESPONSES, CREATED, DELTA).usage is None


def test_a_cancelled_response_without_usage_is_charged_at_its_hold() -> None:
    for meter in both(response("cancelled", background=True)):
        assert (meter.flag, meter.usage, meter.pending) == (CANCELLED, None, False)
    for meter in both(response("cancelled", usage=USED)):
        assert (meter.flag, used(meter)) == (None, COUNTERS)


@pytest.mark.parametrize(
    ("members", "resource"),
    [
        ({}, "resp_1"),
        ({"store": True}, "resp_1"),
        ({"store": False}, None),
        ({"store": False, "background": True}, "resp_1"),
        ({"object": "response.compaction"}, None),
    ],
)
def test_a_response_that_is_kept_is_a_resource(members: dict[str, Any], resource: str | None) -> None:
    for meter in both(response(**members)):
        assert meter.resource == resource


def test_output_is_tallied_from_every_kind_of_delta() -> None:
    meter = streamed(
        RESPONSES,
        CREATED,
        DELTA,
        event("response.reasoning_summary_text.delta", delta="think"),
        event("response.function_call_arguments.delta", delta="{}"),
        event("response.audio.delta", delta="QUJD"),
        event("response.audio.transcript.delta", delta="said"),
        event("response.odd.delta", delta={"x": 1}),
        COMPLETED,
    )
    assert meter.output_text == "héthink{}said"
    assert meter.output_events == 4
    assert meter.unread_events == 0
    written = [
        MESSAGE,
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}], "content": None},
        {"type": "code_interpreter_call", "code": "1+1", "container_id": "c", "outputs": None},
        {"type": "custom_tool_call", "name": "g", "input": "in"},
        {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
    ]
    assert plain(RESPONSES, response(output=written)).output_text == "hellof{}so1+1ginno"


# Tools that the provider runs


def tools(*items: dict[str, Any], **members: Any) -> dict[str, int]:
    found = [used(meter) for meter in both(response(output=[*items, MESSAGE], **members))]
    assert found[0] == found[1]
    return {name: count for name, count in found[0].items() if name not in COUNTERS}


def test_searches_are_counted_and_opened_pages_are_not() -> None:
    opened = {"type": "web_search_call", "action": {"type": "open_page", "url": "x"}}
    found = {"type": "web_search_call", "action": {"type": "find_in_page"}}
    untold = {"type": "web_search_call", "action": None}
    assert tools(SEARCH, SEARCH, opened, found) == {"web_searches": 2}
    assert tools(untold) == {"web_searches": 1}
    assert tools({"type": "web_search_call"}) == {"web_searches": 1}
    assert tools({"type": "web_search_call", "action": {"type": {"type": "search"}}}) == {}
    assert tools({"type": "x_search_call", "status": "completed"}) == {"web_searches": 1}
    assert tools({"type": "function_call", "name": "web_search_call", "arguments": "{}"}) == {}


def test_what_the_provider_says_of_its_searches_counts() -> None:
    assert tools(SEARCH, SEARCH, tool_usage={"web_search": {"num_requests": 1}}) == {"web_searches": 1}
    assert tools(SEARCH, tool_usage={"web_search": {"num_requests": 0}}) == {}
    assert tools(SEARCH, tool_usage={"image_gen": {"total_tokens": 0}}) == {"web_searches": 1}
    assert tools(SEARCH, tool_usage=None) == {"web_searches": 1}


def test_file_searches_and_containers_are_counted() -> None:
    run = [{"type": "code_interpreter_call", "container_id": name, "code": "1"} for name in ("c1", "c1", "c2")]
    assert tools({"type": "file_search_call", "queries": ["x"]}) == {"file_searches": 1}
    assert tools(*run) == {"code_sessions": 2}
    small = {"type": "code_interpreter", "container": {"type": "auto"}}
    large = {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}}
    unknown = {"type": "code_interpreter", "container": {"memory_limit": "5t"}}
    odd = {"type": "code_interpreter", "container": {"memory_limit": [[]]}}
    assert tools(*run, tools=[small]) == {"code_sessions": 2}
    assert tools(*run, tools=[{"type": "function", "name": "f"}, large]) == {"code_sessions": 8}
    assert tools(*run, tools=[unknown]) == tools(*run, tools=[odd]) == {"code_sessions": 128}
    assert tools(*run, tools=[{"type": "code_interpreter", "container": "cntr_1"}]) == {"code_sessions": 2}
    shell = {"type": "shell_call", "environment": {"type": "container_reference", "container_id": "c9"}}
    assert tools(shell) == {"code_sessions": 1}
    assert tools({"type": "shell_call", "environment": {"type": "local"}}) == {}


def test_images_of_a_tool_are_charged_at_the_hold_and_the_tokens_are_told() -> None:
    drawn = {"type": "image_generation_call", "result": "AAAA"}
    for answer in (response(output=[drawn]), response(tool_usage={"image_gen": {"total_tokens": 5}})):
        for meter in both(answer):
            assert (meter.flag, used(meter)) == (OTHER_MODEL, COUNTERS)


def test_a_cost_above_that_of_the_tokens_is_flagged_unless_a_search_explains_it() -> None:
    details = {"upstream_inference_input_cost": 0.001, "upstream_inference_output_cost": 0.001}
    for cost, items, flag in ((0.002, [], None), (0.02, [], OTHER_COST), (0.02, [SEARCH], None)):
        for meter in both(response(usage={**USED, "cost": cost, "cost_details": details}, output=items)):
            assert meter.flag == flag
            assert meter.usage is not None


def test_a_tool_that_ran_is_not_forgotten_where_the_usage_does_not_come() -> None:
    ran = event("response.output_item.done", output_index=0, item=SEARCH)
    written = event("response.output_item.done", output_index=1, item=MESSAGE)
    assert streamed(RESPONSES, CREATED, ran, DELTA).flag == UNTOLD_TOOL
    assert streamed(RESPONSES, CREATED, written, DELTA).flag is None
    assert streamed(RESPONSES, CREATED, ran, DELTA, COMPLETED).flag is None
    assert plain(RESPONSES, response(output=[SEARCH], usage=None)).flag == UNTOLD_TOOL
    queued = event("response.queued", response=response("queued", background=True))
    assert streamed(RESPONSES, queued, ran, DELTA).flag is None


# What cannot be read


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "path",
    ["input_tokens", "output_tokens", "input_tokens_details.cached_tokens", "output_tokens_details.reasoning_tokens"],
)
def test_hostile_figures_are_not_believed(path: str, value: str) -> None:
    marked = {**USED}
    outer, _, inner = path.partition(".")
    marked[outer] = {inner: "@"} if inner else "@"
    document = json.dumps(response(usage=marked)).replace('"@"', value).encode()
    for meter in (
        plain(RESPONSES, document),
        streamed(
            RESPONSES, b'event: response.completed\ndata: {"type":"response.completed","response":%b}\n\n' % document
        ),
    ):
        assert (meter.usage, meter.partial) == (None, None)
        assert meter.flag is not None
        assert len(meter.flag) < 200


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_number_of_searches_is_not_believed(value: str) -> None:
    document = json.dumps(response(tool_usage={"web_search": {"num_requests": "@"}})).replace('"@"', value).encode()
    assert plain(RESPONSES, document).flag is not None
    assert streamed(RESPONSES, b'data: {"type":"response.completed","response":%b}\n\n' % document).flag is not None


@pytest.mark.parametrize(
    "odd", [{"output": 5}, {"output": [5]}, {"service_tier": 5}, {"tools": "x"}, {"id": 5}, {"background": 1}]
)
def test_an_odd_shape_does_not_hide_the_figures_and_is_flagged(odd: dict[str, Any]) -> None:
    for meter in both(response(**odd)):
        assert used(meter) == COUNTERS
        assert meter.flag is not None
        assert meter.complete


@pytest.mark.parametrize("document", [b"<html>", b"[]", b"5", b'{"usage":', b"\xff", b"[" * 100_000])
def test_an_answer_that_is_no_response_is_told(document: bytes) -> None:
    meter = plain(RESPONSES, document)
    assert (meter.usage, meter.complete) == (None, False)
    assert meter.flag is not None


def test_events_that_cannot_be_read_are_passed_on_and_told() -> None:
    for bad in (b"data: {broken\n\n", b"data: \xff\n\n", b"data: [1]\n\n", b'data: {"response":5}\n\n'):
        meter = streamed(RESPONSES, CREATED, bad, DELTA)
        assert meter.unread_events == 1
        assert meter.flag is not None
        assert streamed(RESPONSES, CREATED, bad, COMPLETED).flag is None
    for fine in (b"data: [DONE]\n\n", b": ping\n\n", b"data: {}\n\n", event("response.new_thing", item={"type": "x"})):
        meter = streamed(RESPONSES, CREATED, fine, COMPLETED)
        assert (meter.unread_events, meter.flag) == (0, None)


def test_the_last_event_is_read_however_long_its_output_is() -> None:
    image = {"type": "function_call", "name": "f", "arguments": "x" * 3_000_000}
    long = event("response.completed", response=response(output=[image]))
    assert used(streamed(RESPONSES, CREATED, long, by=65_536)) == COUNTERS


def test_a_line_above_the_bound_passes_and_is_not_kept() -> None:
    meter = RESPONSES.meter(Ask(model="m", stream=True), SSE)
    piece = b"x" * (1 << 20)
    assert meter.feed(b"data: ") == b"data: "
    for _ in range(MAX_PLAIN_BYTES // len(piece) + 2):
        assert meter.feed(piece) is piece
    assert meter.feed(b"\n\n" + COMPLETED) == b"\n\n" + COMPLETED
    assert meter.finish() == b""
    assert used(meter) == COUNTERS


PARTS = [
    *(CREATED, DELTA, COMPLETED, COMPLETED.replace(b"\n", b"\r\n"), event("error", message="x"), b": ping\n\n"),
    *(event("response.output_item.done", item=SEARCH), b"data: {\n\n", b"\r", b"\n", b"data: [DONE]", b"event: x\n"),
    event("response.queued", response=response("queued", background=True)),
]


@given(st.lists(st.sampled_from(PARTS), max_size=8), st.lists(st.integers(0, 4000), max_size=8))
def test_the_cuts_of_a_stream_change_nothing(parts: list[bytes], at: list[int]) -> None:
    whole = b"".join(parts)
    places = [0, *sorted({place for place in at if place < len(whole)}), len(whole)]
    once = streamed(RESPONSES, whole)
    cut = RESPONSES.meter(Ask(model="m", stream=True), SSE)
    assert play(cut, *[whole[start:end] for start, end in pairwise(places)]) == whole
    assert state(once) == state(cut)
