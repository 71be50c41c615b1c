import json
import random
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.providers.cohere_chat import Chat
from proxy.providers.dialect import JSON, SSE, Ask, Meter
from proxy.providers.errors import stream_error

CHAT = Chat()
ASK = Ask(model="command-r7b-12-2024")
BILLED = {"billed_units": {"input_tokens": 5, "output_tokens": 3}, "tokens": {"input_tokens": 70, "output_tokens": 9}}


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def text(words: str, name: str = "text") -> bytes:
    return event("content-delta", index=0, delta={"message": {"content": {name: words}}})


def end(usage: Any = None, **delta: Any) -> bytes:
    members = {"finish_reason": "COMPLETE", "usage": BILLED if usage is None else usage}
    return event("message-end", delta=members | delta)


START = event("message-start", id="x", delta={"message": {"role": "assistant", "content": [], "tool_plan": ""}})


def stream(*pieces: bytes) -> Meter:
    """Whole, then in pieces of any size: the same figures."""
    body = b"".join(pieces)
    dice = random.Random(len(body))
    meters = []
    for largest in (len(body), 1, 40):
        meter = CHAT.meter(ASK, SSE)
        rest, out = body, []
        while rest:
            size = dice.randint(1, largest) if largest < len(body) else len(body)
            out.append(meter.feed(rest[:size]))
            rest = rest[size:]
        assert b"".join([*out, meter.finish()]) == body
        meters.append(meter)
    seen = [(m.usage, m.partial, m.flag, m.error, m.complete, m.output_text, m.unread_events) for m in meters]
    assert seen[0] == seen[1] == seen[2]
    return meters[0]


def plain(usage: Any, **members: Any) -> Meter:
    meter = CHAT.meter(ASK, JSON)
    document = json.dumps({"id": "x", "finish_reason": "COMPLETE", "usage": usage, **members}).encode()
    assert meter.feed(document) is document
    meter.finish()
    return meter


def counters(meter: Meter) -> dict[str, int]:
    assert meter.flag is None
    assert meter.usage is not None
    return dict(meter.usage.counters)


def test_what_is_billed_is_charged_and_not_what_was_processed() -> None:
    for meter in (plain(BILLED), stream(START, text("hi"), end())):
        assert counters(meter) == {"input": 5, "output": 3}
        assert meter.complete
    assert counters(plain(BILLED | {"cached_tokens": 60})) == {"input": 5, "output": 3}


def test_where_nothing_billed_is_told_the_tokens_are_taken() -> None:
    for missing in ({}, {"billed_units": None}, {"billed_units": {}}):
        assert counters(plain({"tokens": {"input_tokens": 70, "output_tokens": 9}, **missing})) == {
            "input": 70,
            "output": 9,
        }


def test_zero_is_zero_and_missing_is_unknown() -> None:
    assert counters(plain({"billed_units": {"input_tokens": 0, "output_tokens": 0}})) == {"input": 0, "output": 0}
    meter = plain({"billed_units": {"output_tokens": 3}})
    assert meter.usage is None
    assert meter.partial is not None
    assert meter.partial.counters == {"output": 3}
    for nothing in ({}, None):
        meter = plain(nothing)
        assert (meter.usage, meter.partial, meter.flag) == (None, None, None)


def test_whole_numbers_may_have_a_decimal_point_and_searches_are_units() -> None:
    billed = {"billed_units": {"input_tokens": 5.0, "output_tokens": 3.0, "search_units": 1.0, "classifications": 0}}
    assert counters(plain(billed)) == {"input": 5, "output": 3, "search_units": 1}


HOSTILE = ["-1", "1.5", "1000000001", "1e300", '"5"', "true", "[5]", "{}", "NaN", "1" + "0" * 5000]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "search_units", "classifications", "images"])
def test_figures_that_cannot_be_are_not_believed(name: str, value: str) -> None:
    usage = json.dumps({"billed_units": {"input_tokens": 5, "output_tokens": 3} | {name: 0}})
    usage = usage.replace(f'"{name}": 0', f'"{name}": {value}')
    meter = CHAT.meter(ASK, JSON)
    meter.feed(b'{"usage": %b}' % usage.encode())
    meter.finish()
    assert meter.usage is None
    assert meter.flag is not None
    last = b'data: {"type": "message-end", "delta": {"usage": %b}}\n\n' % usage.encode()
    meter = stream(START, last)
    assert meter.usage is None
    assert meter.flag is not None


def test_a_failed_generation_is_an_error_with_what_it_cost() -> None:
    for failed in (end(finish_reason="ERROR"), end(error="out of order"), end(finish_reason="TIMEOUT")):
        meter = stream(START, text("hi"), failed)
        assert (meter.error, meter.complete) == (True, False)
        assert counters(meter) == {"input": 5, "output": 3}
    cut = stream(START, stream_error("cohere", "insufficient_credits", "No credits.", "c1"))
    assert (cut.error, cut.usage, cut.flag) == (True, None, None)
    assert plain(BILLED, finish_reason="ERROR_TOXIC").error
    assert not plain(BILLED, finish_reason=["ERROR"]).error
    assert stream(START, end(finish_reason={"a": 1})).complete


def test_output_of_every_kind_is_tallied() -> None:
    meter = stream(
        START,
        event("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}}),
        text("é"),
        text("hm", "thinking"),
        event("tool-plan-delta", delta={"message": {"tool_plan": "plan"}}),
        event(
            "tool-call-start", index=0, delta={"message": {"tool_calls": {"function": {"name": "f", "arguments": ""}}}}
        ),
        event("tool-call-delta", index=0, delta={"message": {"tool_calls": {"function": {"arguments": "{}"}}}}),
        event("citation-start", index=0, delta={"message": {"citations": {"text": "x"}}}),
        event("content-end", index=0),
        b"data: [DONE]\n\n",
    )
    assert meter.output_text == "éhmplanf{}"
    assert (meter.output_events, meter.output_bytes, meter.unread_events, meter.output_calls) == (5, 11, 0, 1)
    said = plain(None, message={"role": "assistant", "content": [{"type": "text", "text": "hi"}], "tool_plan": "plan"})
    assert "hi" in said.output_text
    assert "plan" in said.output_text


def test_events_of_another_shape_do_not_hide_the_usage() -> None:
    assert counters(stream(START, end(message={"content": 5}))) == {"input": 5, "output": 3}
    for bad in (b"data: {broken\n\n", b'data: {"type": 5}\n\n', text("hi").replace(b'"hi"', b"5") * 0 + b"data: 7\n\n"):
        meter = stream(START, bad)
        assert meter.unread_events == 1
        assert meter.flag is not None
        assert counters(stream(START, bad, end())) == {"input": 5, "output": 3}


def test_a_plain_answer_of_another_kind_is_told() -> None:
    for document in (b"<html>", b"[]", START):
        meter = CHAT.meter(ASK, JSON)
        meter.feed(document)
        meter.finish()
        assert meter.flag is not None


def test_what_a_request_asks_for() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:x"}}]
    body = {
        "model": "command-a-03-2025",
        "messages": [{"role": "user", "content": parts}],
        "stream": True,
        "max_tokens": 9,
    }
    body["documents"] = [{"data": {"text": "a fact"}}]
    encoded = json.dumps(body).encode()
    ask = CHAT.read(encoded)
    assert (ask.model, ask.stream, ask.output_limit, ask.media_parts) == ("command-a-03-2025", True, 9, 1)
    assert CHAT.outgoing(encoded, ask) is encoded
    assert json.loads(CHAT.outgoing(encoded, ask, "other")) == body | {"model": "other"}
    prompt = CHAT.prompt_text(encoded)
    assert "look" in prompt
    assert "a fact" in prompt


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m"}',
        b'{"model": "m", "messages": {}}',
        b'{"messages": []}',
        b'{"model": "m", "messages": [], "max_tokens": -1}',
        b'{"model": "m", "messages": [], "max_tokens": 1, "max_tokens": 9}',
        b'{"model": "m", "messages": [], "stream": "yes"}',
    ],
)
def test_requests_that_cannot_be_metered_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        CHAT.read(body)


def test_a_limit_is_lowered_or_set() -> None:
    assert json.loads(CHAT.clamp(b'{"messages": []}', 50, None)) == {"messages": [], "max_tokens": 50}
    assert json.loads(CHAT.clamp(b'{"max_tokens": 7}', 50, None)) == {"max_tokens": 7}
    assert json.loads(CHAT.clamp(b'{"max_tokens": 700}', 50, None)) == {"max_tokens": 50}
