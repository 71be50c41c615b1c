import json
from typing import Any

import pytest

from proxy.providers.anthropic_messages import Messages
from proxy.providers.dialect import JSON, SSE, Ask, Meter

MESSAGES = Messages()
ASK = Ask(model="m", stream=True, output_limit=5)
STARTED = {"input_tokens": 10, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 6, "output_tokens": 1}
LIVES = {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 2}


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def start(**usage: Any) -> bytes:
    return event("message_start", message={"role": "assistant", "content": [], "usage": usage})


def delta(**usage: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)


def text(words: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": words})


STOP = event("message_stop")


def stream(*pieces: bytes) -> Meter:
    meter = MESSAGES.meter(ASK, SSE)
    for piece in pieces:
        assert meter.feed(piece) is piece
    assert meter.finish() == b""
    return meter


def plain(**members: Any) -> Meter:
    meter = MESSAGES.meter(ASK, JSON)
    meter.feed(json.dumps({"type": "message", **members}).encode())
    meter.finish()
    return meter


def counters(meter: Meter) -> dict[str, int]:
    assert meter.flag is None
    assert meter.usage is not None
    return dict(meter.usage.counters)


def test_the_last_cumulative_report_holds() -> None:
    meter = stream(
        start(**STARTED, cache_creation=LIVES), text("hi"), delta(output_tokens=5), delta(output_tokens=9), STOP
    )
    assert counters(meter) == {"input": 10, "cache_read": 3, "cache_write_5m": 4, "cache_write_1h": 2, "output": 9}
    assert meter.complete


def test_a_report_replaces_the_figures_that_it_names() -> None:
    meter = stream(start(**STARTED), delta(input_tokens=20, cache_read_input_tokens=0, output_tokens=9))
    assert counters(meter) == {"input": 20, "cache_read": 0, "cache_write_5m": 6, "cache_write_1h": 0, "output": 9}
    meter = stream(start(**STARTED, cache_creation=LIVES), delta(cache_creation_input_tokens=9, output_tokens=9))
    assert counters(meter)["cache_write_5m"] == 7
    assert counters(meter)["cache_write_1h"] == 2


def test_before_the_first_delta_only_the_input_is_known() -> None:
    meter = stream(start(**STARTED), text("hi"))
    assert meter.usage is None
    assert meter.partial is not None
    assert meter.partial.counters == {"input": 10, "cache_read": 3, "cache_write_5m": 6, "cache_write_1h": 0}
    assert not meter.complete


def test_thinking_is_reasoning_and_part_of_the_output() -> None:
    assert counters(
        stream(start(input_tokens=1), delta(output_tokens=9, output_tokens_details={"thinking_tokens": 4}))
    ) == {
        "input": 1,
        "output": 5,
        "reasoning": 4,
    }
    assert counters(
        plain(usage={"input_tokens": 1, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 10}})
    ) == {
        "input": 1,
        "output": 0,
        "reasoning": 9,
    }


def test_zero_is_zero_and_missing_is_unknown() -> None:
    assert counters(plain(usage={"input_tokens": 0, "output_tokens": 0})) == {"input": 0, "output": 0}
    meter = plain(usage={"output_tokens": 3})
    assert meter.usage is None
    assert meter.partial is not None
    assert meter.partial.counters == {"output": 3}
    nothings: list[dict[str, Any]] = [{}, {"usage": None}, {"usage": {}}]
    for nothing in nothings:
        meter = plain(**nothing)
        assert (meter.usage, meter.partial, meter.flag) == (None, None, None)


def test_an_error_event_keeps_what_was_reported() -> None:
    failed = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    meter = stream(start(**STARTED), text("hi"), failed)
    assert (meter.error, meter.complete, meter.usage, meter.flag) == (True, False, None, None)
    assert meter.partial is not None
    assert stream(start(**STARTED), delta(output_tokens=2), failed).usage is not None
    assert plain(type="error").error


def test_output_of_every_kind_is_tallied() -> None:
    deltas = [
        {"type": "text_delta", "text": "é"},
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "input_json_delta", "partial_json": '{"a":'},
        {"type": "signature_delta", "signature": "sig"},
        {"type": "citations_delta", "citation": {"cited_text": "x"}},
    ]
    meter = stream(*[event("content_block_delta", index=0, delta=change) for change in deltas], event("ping"))
    assert meter.output_text == 'éhm{"a":'
    assert (meter.output_events, meter.output_bytes) == (3, 9)
    blocks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "hi"},
        {"type": "tool_use", "input": {"a": 1}},
    ]
    assert plain(content=blocks).output_text.startswith("hmhi{")


HOSTILE = [-1, 2**53, 2**64, 10**9 + 1, 1.5, 2.0, "5", True, [5], {}, 10**5000]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize(
    "name", ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]
)
def test_figures_that_cannot_be_are_not_believed(name: str, value: Any) -> None:
    figures = json.dumps({"input_tokens": 10, "output_tokens": 4} | {name: 0})
    figures = figures.replace(f'"{name}": 0', f'"{name}": {spelled(value)}')
    document = b'{"type":"message","usage":%b}' % figures.encode()
    meter = MESSAGES.meter(ASK, JSON)
    meter.feed(document)
    meter.finish()
    assert meter.usage is None
    assert meter.flag is not None
    first = b'data: {"type":"message_start","message":{"usage":%b}}\n\n' % figures.encode()
    last = b'data: {"type":"message_delta","usage":%b}\n\n' % figures.encode()
    for pieces in ([start(**STARTED), last], [first, delta(output_tokens=5)]):
        meter = stream(*pieces)
        assert meter.usage is None
        assert meter.flag is not None


def spelled(value: Any) -> str:
    return "1" + "0" * 5000 if value == 10**5000 else json.dumps(value)


@pytest.mark.parametrize(
    "usage",
    [
        {"cache_creation_input_tokens": 5, "cache_creation": LIVES},
        {"cache_creation_input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 2}},
        {"cache_creation": 5},
        {"output_tokens_details": {"thinking_tokens": -1}},
    ],
)
def test_figures_that_contradict_each_other_are_not_believed(usage: dict[str, Any]) -> None:
    meter = plain(usage={"input_tokens": 1, "output_tokens": 1, **usage})
    assert meter.usage is None
    assert meter.flag is not None


def test_a_split_of_writes_without_their_total_is_taken() -> None:
    meter = plain(usage={"input_tokens": 1, "output_tokens": 1, "cache_creation": LIVES})
    assert counters(meter) == {"input": 1, "cache_write_5m": 4, "cache_write_1h": 2, "output": 1}


def test_events_that_cannot_be_read_are_passed_on_and_told() -> None:
    for bad in (
        b"data: {broken\n\n",
        b"data: [DONE]\n\n",
        b'data: {"type":5}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
    ):
        meter = stream(start(**STARTED), bad)
        assert meter.unread_events == 1
        assert meter.flag is not None
        assert stream(start(**STARTED), bad, delta(output_tokens=2)).usage is not None


def test_events_of_another_shape_do_not_hide_the_usage() -> None:
    odd = b'data: {"type":"message_delta","delta":{"text":5},"usage":{"output_tokens":7}}\n\n'
    assert counters(stream(start(**STARTED), odd))["output"] == 7


def test_a_plain_answer_of_another_kind_is_told() -> None:
    for document in (b"<html>", b"[]", b'{"usage":{}}', text("hi") + STOP):
        meter = MESSAGES.meter(ASK, JSON)
        meter.feed(document)
        meter.finish()
        assert meter.usage is None
        assert meter.flag is not None
    odd = plain(content="odd", usage={"input_tokens": 1, "output_tokens": 2})
    assert odd.usage is not None


def test_the_container_of_an_answer_is_told() -> None:
    box = {"id": "container_1", "expires_at": "2026-01-01T00:00:00Z"}
    assert plain(container=box, usage={"input_tokens": 1, "output_tokens": 1}).resource == "container_1"
    for odd in (None, {}, {"id": 5}):
        assert plain(container=odd).resource is None
    told = event("message_delta", delta={"stop_reason": "end_turn", "container": box}, usage={"output_tokens": 2})
    assert stream(start(input_tokens=1), told, STOP).resource == "container_1"
    begun = event("message_start", message={"content": [], "container": box, "usage": {"input_tokens": 1}})
    assert stream(begun, text("hi"), delta(output_tokens=2), STOP).resource == "container_1"
    assert stream(start(input_tokens=1), text("hi"), delta(output_tokens=2)).resource is None


def test_a_tool_input_that_is_no_utf_8_is_counted_all_the_same() -> None:
    meter = MESSAGES.meter(ASK, JSON)
    meter.feed(b'{"type":"message","content":[{"type":"tool_use","name":"look","input":{"a":"\xff\xfe"}}]}')
    meter.finish()
    assert meter.complete
    assert meter.output_calls == 1
    assert meter.output_bytes >= len('look{"a":""}')


def test_a_tool_of_the_provider_is_not_free_for_who_leaves_before_its_usage_is_told() -> None:
    search = event("content_block_start", index=0, content_block={"type": "server_tool_use", "name": "web_search"})
    own = event("content_block_start", index=0, content_block={"type": "tool_use", "name": "web_search"})
    assert stream(start(input_tokens=9), own).flag is None
    left = stream(start(input_tokens=9), search)
    assert (left.usage, left.flag) == (None, "the provider ran a tool, and the usage was not told")
    told = stream(start(input_tokens=9), search, delta(output_tokens=5, server_tool_use={"web_search_requests": 2}))
    assert (told.flag, counters(told)) == (None, {"input": 9, "output": 5, "web_searches": 2})
    failed = stream(start(input_tokens=9), search, event("error", error={"type": "overloaded_error"}))
    assert (failed.flag, failed.error) == (None, True)
