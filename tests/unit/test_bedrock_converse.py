import json
from typing import Any

import pytest
from botocore.eventstream import EventStream
from botocore.exceptions import EventStreamError
from botocore.model import StructureShape
from botocore.parsers import EventStreamJSONParser

from proxy.core.errors import InvalidRequest
from proxy.providers.bedrock_converse import OPERATIONS, Converse, ConverseStream, CountTokens
from proxy.providers.bedrock_meters import EVENT_STREAM
from proxy.providers.dialect import BILLED, FREE, JSON, Ask, Head, Meter
from proxy.providers.errors import stream_error
from proxy.providers.event_stream import write_frame
from proxy.providers.meters import MAX_HELD_BYTES

CONVERSE, STREAM, COUNT = Converse(), ConverseStream(), CountTokens()
ASK = Ask(model="m")
HEAD = Head(params={"model": "us.amazon.nova-lite-v1:0"})
TOKENS = {"inputTokens": 10, "outputTokens": 4, "totalTokens": 14}


def frame(kind: str, message_type: str = "event", **members: Any) -> bytes:
    name = ":event-type" if message_type == "event" else ":exception-type"
    headers = {name: kind, ":content-type": "application/json", ":message-type": message_type}
    return write_frame(headers, json.dumps({"p": "abc", **members}).encode())


def delta(**change: Any) -> bytes:
    return frame("contentBlockDelta", contentBlockIndex=0, delta=change)


def metadata(usage: Any = None, **members: Any) -> bytes:
    return frame("metadata", metrics={"latencyMs": 5}, usage=TOKENS if usage is None else usage, **members)


STOP = frame("messageStop", stopReason="end_turn")


def stream(*pieces: bytes) -> Meter:
    meter = STREAM.meter(ASK, EVENT_STREAM)
    for piece in pieces:
        assert meter.feed(piece) is piece
        assert meter.between_events
    assert meter.finish() == b""
    return meter


def plain(usage: Any = None, **members: Any) -> Meter:
    meter = CONVERSE.meter(ASK, JSON)
    document = json.dumps({"usage": TOKENS if usage is None else usage, **members}).encode()
    assert meter.feed(document) is document
    meter.finish()
    return meter


def counters(meter: Meter) -> dict[str, int]:
    assert meter.flag is None
    assert meter.usage is not None
    return dict(meter.usage.counters)


def ask(operation: Any = CONVERSE, head: Head = HEAD, **members: Any) -> Ask:
    return operation.read(json.dumps(members).encode(), head)


def test_the_paths_are_open_with_and_without_a_provider() -> None:
    assert [(path.suffix, path.shared) for operation in OPERATIONS for path in operation.paths] == [
        ("/model/{model}/converse", "/model/{model}/converse"),
        ("/model/{model}/converse-stream", "/model/{model}/converse-stream"),
        ("/model/{model}/count-tokens", "/model/{model}/count-tokens"),
    ]
    assert [operation.billing for operation in OPERATIONS] == [BILLED, BILLED, FREE]


def test_cached_tokens_stand_beside_the_input() -> None:
    cached = {"inputTokens": 10, "outputTokens": 4, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 20}
    for meter in (plain(cached), stream(STOP, metadata(cached))):
        assert counters(meter) == {"input": 10, "cache_read": 100, "cache_write_5m": 20, "output": 4}
        assert meter.complete


@pytest.mark.parametrize(
    ("written", "details", "expected"),
    [
        (30, [("1h", 10), ("5m", 20)], (20, 10)),
        (30, [("1h", 10)], (20, 10)),  # what is not told apart lives five minutes
        (None, [("1h", 10), ("5m", 20)], (20, 10)),
        (30, [("24h", 30)], (0, 30)),  # longer than an hour is not priced below an hour
        (30, [("1h", 10), ("1h", 20)], (0, 30)),
    ],
)
def test_cache_writes_are_told_apart_by_lifetime(
    written: int | None, details: list[tuple[str, int]], expected: tuple[int, int]
) -> None:
    usage = TOKENS | {"cacheDetails": [{"ttl": ttl, "inputTokens": tokens} for ttl, tokens in details]}
    if written is not None:
        usage["cacheWriteInputTokens"] = written
    found = counters(plain(usage))
    assert (found["cache_write_5m"], found["cache_write_1h"]) == expected


def test_writes_that_exceed_their_total_are_not_believed() -> None:
    meter = plain(TOKENS | {"cacheWriteInputTokens": 5, "cacheDetails": [{"ttl": "1h", "inputTokens": 6}]})
    assert meter.usage is None
    assert meter.flag is not None


def test_server_side_tools_are_counted_or_not_believed() -> None:
    assert counters(plain(TOKENS | {"serverToolUsage": {}})) == {"input": 10, "output": 4}
    searched = plain(TOKENS | {"serverToolUsage": {"webSearchRequests": 2, "other": 0}})
    assert counters(searched)["web_searches"] == 2
    for used in ({"codeRuns": 1}, {"webSearchRequests": -1}, {"webSearchRequests": 1.5}, {"webSearchRequests": "1"}):
        meter = plain(TOKENS | {"serverToolUsage": used})
        assert meter.usage is None
        assert meter.flag is not None


HOSTILE = ["-1", "9007199254740992", "1000000001", "1.5", "2.0", '"5"', "true", "[5]", "{}", "NaN", "1" + "0" * 5000]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("name", ["inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"])
def test_figures_that_cannot_be_are_not_believed(name: str, value: str) -> None:
    text = json.dumps({"usage": TOKENS | {name: 0}}).replace(f'"{name}": 0', f'"{name}": {value}')
    meter = CONVERSE.meter(ASK, JSON)
    meter.feed(text.encode())
    meter.finish()
    assert meter.usage is None
    assert meter.flag is not None
    meter = stream(STOP, write_frame({":event-type": "metadata", ":message-type": "event"}, text.encode()))
    assert meter.usage is None
    assert meter.flag is not None


def test_zero_is_zero_and_missing_is_unknown() -> None:
    assert counters(plain({"inputTokens": 0, "outputTokens": 0})) == {"input": 0, "output": 0}
    for usage in ({}, {"totalTokens": 5}):
        meter = plain(usage)
        assert (meter.usage, meter.partial, meter.flag) == (None, None, None)
    one = plain({"inputTokens": 3})
    assert one.usage is None
    assert one.partial is not None
    assert one.partial.counters == {"input": 3}


def test_an_exception_in_the_stream_is_an_error() -> None:
    failed = frame("throttlingException", "exception", message="Too many")
    meter = stream(delta(text="hi"), failed)
    assert (meter.error, meter.complete, meter.usage, meter.flag) == (True, False, None, None)
    assert meter.output_text == "hi"
    assert stream(stream_error("bedrock", "insufficient_credits", "No credits.")).error


def test_a_stream_is_complete_with_its_metadata_or_a_clean_end_behind_its_stop() -> None:
    assert not stream(delta(text="hi")).complete
    assert stream(delta(text="hi"), STOP).complete
    assert stream(metadata()).complete
    meter = STREAM.meter(ASK, EVENT_STREAM)
    meter.feed(STOP + metadata()[:40])
    assert meter.finish() == metadata()[:40]
    assert not meter.complete
    assert meter.flag is None


def test_output_of_every_kind_is_tallied() -> None:
    meter = stream(
        frame("messageStart", role="assistant"),
        frame("contentBlockStart", start={"toolUse": {"name": "f", "toolUseId": "x"}}),
        delta(text="é"),
        delta(toolUse={"input": '{"a":'}),
        delta(reasoningContent={"text": "hm"}),
        delta(reasoningContent={"signature": "sig"}),
        delta(citation={"title": "x"}),
        frame("contentBlockStop", contentBlockIndex=0),
        STOP,
    )
    assert meter.output_text == 'fé{"a":hm'
    assert (meter.output_events, meter.output_bytes, meter.unread_events, meter.output_calls) == (4, 10, 0, 1)
    content = [
        {"reasoningContent": {"reasoningText": {"text": "hm"}}},
        {"text": "hi"},
        {"toolUse": {"input": {"a": "b"}}},
    ]
    said = plain(output={"message": {"role": "assistant", "content": content}}).output_text
    assert said.startswith("hm\nhi\n")
    assert "b" in said


def test_frames_that_cannot_be_read_are_passed_on_and_told() -> None:
    spoilt = bytearray(delta(text="hi"))
    spoilt[-1] ^= 1
    strange = write_frame({":event-type": "contentBlockDelta", ":message-type": "event"}, b"{broken")
    for bad in (bytes(spoilt), strange):
        meter = stream(bad)
        assert meter.unread_events == 1
        assert meter.flag is not None
        assert counters(stream(bad, metadata())) == {"input": 10, "output": 4}
    lost = bytearray(delta(text="hi"))
    lost[3] ^= 1
    meter = STREAM.meter(ASK, EVENT_STREAM)
    body = bytes(lost) + metadata()
    assert b"".join([*(meter.feed(body[at : at + 7]) for at in range(0, len(body), 7)), meter.finish()]) == body
    assert (meter.usage, meter.unread_events) == (None, 1)
    assert meter.flag is not None
    assert not meter.between_events


def test_an_open_frame_is_held_back_until_it_is_whole() -> None:
    first, second = delta(text="one"), delta(text="two")
    body = first + second
    for at in range(1, len(body)):
        meter = STREAM.meter(ASK, EVENT_STREAM)
        relayed = meter.feed(body[:at])
        assert relayed == (b"" if at < len(first) else first)
        assert meter.between_events
        assert relayed + meter.feed(body[at:]) + meter.finish() == body
    meter = STREAM.meter(ASK, EVENT_STREAM)
    assert meter.feed(body[:-5]) == first
    farewell = stream_error("bedrock", "insufficient_credits", "No credits.")
    assert meter.farewell(farewell) is farewell
    assert meter.finish() == b""


def test_a_large_frame_is_let_through_as_it_comes() -> None:
    body = delta(text="x" * 3 * MAX_HELD_BYTES) + STOP + metadata()
    meter = STREAM.meter(ASK, EVENT_STREAM)
    relayed = [meter.feed(body[at : at + 10_000]) for at in range(0, len(body), 10_000)]
    assert max(map(len, relayed)) < MAX_HELD_BYTES + 10_000
    assert b"".join(relayed) + meter.finish() == body
    assert meter.output_bytes == 3 * MAX_HELD_BYTES
    assert counters(meter) == {"input": 10, "output": 4}
    meter = STREAM.meter(ASK, EVENT_STREAM)
    meter.feed(body[: 2 * MAX_HELD_BYTES])
    assert not meter.between_events
    assert meter.farewell(b"x") is None


def test_the_frame_that_ends_a_cut_stream_is_raised_by_botocore() -> None:
    class Raw:
        def stream(self) -> list[bytes]:
            return [delta(text="hi"), stream_error("bedrock", "insufficient_credits", "No credits.")]

        def close(self) -> None:
            pass

    shape = StructureShape("S", {"type": "structure", "members": {}, "eventstream": True})
    events = EventStream(Raw(), shape, EventStreamJSONParser(), "ConverseStream")
    with pytest.raises(EventStreamError, match="insufficient_credits.*No credits."):
        list(events)


@pytest.mark.parametrize(
    ("members", "tier"),
    [
        ({}, None),
        ({"serviceTier": {"type": "priority"}}, "priority"),
        ({"performanceConfig": {"latency": "optimized"}}, "optimized"),
        ({"performanceConfig": {"latency": "standard"}, "serviceTier": {"type": "flex"}}, "flex"),
    ],
)
def test_the_service_tier_is_read_on_both_sides(members: dict[str, Any], tier: str | None) -> None:
    assert ask(**members).service_tier == tier
    assert plain(**members).service_tier == tier
    assert stream(metadata(**members)).service_tier == tier


def test_the_limit_is_the_largest_that_is_named() -> None:
    assert ask().output_limit is None
    assert ask(inferenceConfig={"maxTokens": 7}).output_limit == 7
    assert ask(inferenceConfig=None).output_limit is None
    assert ask(additionalModelRequestFields={"max_tokens": 900}, inferenceConfig={"maxTokens": 7}).output_limit == 900
    assert ask(additionalModelRequestFields={"thinking": {"budget_tokens": 5}}).output_limit is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"inferenceConfig": {"maxTokens": -1}}',
        b'{"inferenceConfig": {"maxTokens": "7"}}',
        b'{"inferenceConfig": {"maxTokens": 1.5}}',
        b'{"inferenceConfig": {"maxTokens": 1, "maxTokens": 100}}',
        b'{"inferenceConfig": {"maxTokens": 1}, "inferenceConfig": {"maxTokens": 100}}',
        b'{"inferenceConfig": []}',
        b'{"messages": {}}',
        b'{"messages": [{"content": "text"}]}',
        b'{"messages": []',
        b"[]",
    ],
)
def test_requests_that_could_be_read_in_two_ways_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        CONVERSE.read(body, HEAD)


def test_media_are_counted_wherever_they_stand() -> None:
    picture = {"image": {"format": "png", "source": {"bytes": "eHh4"}}}
    result = {
        "toolResult": {"toolUseId": "t", "content": [picture, {"document": {}}, {"json": {"image": 1}}, {"text": "a"}]}
    }
    guarded = {"guardContent": {"image": {"format": "png"}}}
    content = [
        {"text": "hi"},
        picture,
        {"video": {}},
        {"audio": {}},
        result,
        guarded,
        {"cachePoint": {"type": "default"}},
    ]
    request = {"messages": [{"role": "user", "content": content}], "system": [{"text": "Be brief."}]}
    assert ask(**request).media_parts == 6
    text = CONVERSE.prompt_text(json.dumps(request).encode())
    assert "Be brief." in text
    assert "hi" in text
    assert "eHh4" not in text


def test_the_model_is_in_the_path_in_every_form() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
    for model in ("amazon.nova-lite-v1:0", "global.zai.glm-5.3", "my_endpoint", arn):
        assert ask(head=Head(params={"model": model})).model == model
    for model in ("", "..", "a/../b", "a/..", "./a", "a b", "é", "a?b", "a%2Fb", "a" * 257):
        with pytest.raises(InvalidRequest):
            ask(head=Head(params={"model": model}))


def test_nothing_is_changed_on_the_way_out() -> None:
    body = b'{"messages": []}'
    assert CONVERSE.outgoing(body, ASK) is body
    assert CONVERSE.outgoing(body, ASK, "another") is body


def test_counting_tokens_is_free_and_reports_no_usage() -> None:
    asked = COUNT.read(b'{"input": {"converse": {"messages": []}}}', HEAD)
    assert (asked.model, asked.output_limit) == ("us.amazon.nova-lite-v1:0", 0)
    meter = COUNT.meter(asked, JSON)
    meter.feed(b'{"inputTokens": 50}')
    meter.finish()
    assert (meter.usage, meter.flag, meter.complete) == (None, None, True)


def test_a_plain_answer_of_another_kind_is_told() -> None:
    for document in (b"<html>", b"[]", b'{"usage": {}', delta(text="hi")):
        meter = CONVERSE.meter(ASK, JSON)
        meter.feed(document)
        meter.finish()
        assert meter.usage is None
        assert meter.flag is not None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {"inferenceConfig": {"maxTokens": 50}}),
        ({"inferenceConfig": None}, {"inferenceConfig": {"maxTokens": 50}}),
        ({"inferenceConfig": {"topP": 0.5}}, {"inferenceConfig": {"topP": 0.5, "maxTokens": 50}}),
        ({"inferenceConfig": {"maxTokens": 7}}, {"inferenceConfig": {"maxTokens": 7}}),
        ({"inferenceConfig": {"maxTokens": 700}}, {"inferenceConfig": {"maxTokens": 50}}),
        (
            {"additionalModelRequestFields": {"max_tokens": 900, "top_k": 5}},
            {"additionalModelRequestFields": {"max_tokens": 50, "top_k": 5}},
        ),
        (
            {"additionalModelRequestFields": {"max_tokens": 9}, "inferenceConfig": {"maxTokens": 900}},
            {"additionalModelRequestFields": {"max_tokens": 9}, "inferenceConfig": {"maxTokens": 50}},
        ),
        (
            {"additionalModelRequestFields": {"max_tokens": 9}, "inferenceConfig": {"maxTokens": None}},
            {"additionalModelRequestFields": {"max_tokens": 9}, "inferenceConfig": {"maxTokens": None}},
        ),
        (  # 0 is a limit, and no word for none
            {"additionalModelRequestFields": {"max_tokens": 0}, "inferenceConfig": {"maxTokens": 5}},
            {"additionalModelRequestFields": {"max_tokens": 0}, "inferenceConfig": {"maxTokens": 5}},
        ),
        (  # whichever of the two the model believes
            {"additionalModelRequestFields": {"max_tokens": None}, "inferenceConfig": {"maxTokens": 5}},
            {"additionalModelRequestFields": {"max_tokens": 5}, "inferenceConfig": {"maxTokens": 5}},
        ),
        (
            {"additionalModelRequestFields": {"max_tokens": None}},
            {"additionalModelRequestFields": {"max_tokens": 50}},
        ),
    ],
)
def test_a_limit_is_lowered_or_set_and_nothing_else(body: dict[str, Any], expected: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": [{"text": "é"}]}]
    clamped = CONVERSE.clamp(json.dumps({"messages": messages, **body}).encode(), 50, None)
    assert json.loads(clamped) == {"messages": messages, **expected}
    assert CONVERSE.read(clamped, HEAD).output_limit <= 50


@pytest.mark.parametrize("again", ["maxTokens", "maxToken\\u0073", "\\u006daxTokens"])
def test_a_limit_inside_an_object_is_given_once_however_it_is_spelled(again: str) -> None:
    converse = next(one for one in OPERATIONS if one.paths[0].suffix.endswith("/converse"))
    for inner in (f'{{"maxTokens":5,"{again}":900}}', f'{{"{again}":900,"maxTokens":5}}'):
        body = f'{{"messages":[],"inferenceConfig":{inner}}}'.encode()
        with pytest.raises(InvalidRequest) as caught:
            converse.read(body, Head(params={"model": "amazon.nova-micro-v1:0"}))
        assert caught.value.param == "inferenceConfig"
