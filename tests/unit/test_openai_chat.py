import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidRequest
from proxy.providers.dialect import JSON, SSE, Ask, Meter
from proxy.providers.meters import MAX_HELD_BYTES
from proxy.providers.openai_chat import ChatCompletions

CHAT = ChatCompletions()
HEAD = '"model":"m","messages":[]'
OURS = Ask(model="m", stream=True)
THEIRS = Ask(model="m", stream=True, usage_asked=True)
USED = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


def event(end: bytes = b"\n\n", **chunk: Any) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + end


def text(content: str, finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}]}


HELLO = event(**text("hello"), usage=None)
LAST = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=None)
USAGE = event(choices=[], usage=USED)
DONE = b"data: [DONE]\n\n"


def stream(ask: Ask, *pieces: bytes) -> tuple[Meter, bytes]:
    meter = CHAT.meter(ask, SSE)
    relayed = [meter.feed(piece) for piece in pieces]
    return meter, b"".join([*relayed, meter.finish()])


def plain(document: bytes) -> Meter:
    meter = CHAT.meter(Ask(model="m"), JSON)
    assert meter.feed(document) is document
    assert meter.finish() == b""
    return meter


# What goes out


def test_a_body_is_sent_as_it_came() -> None:
    for members in ("", ',"stream":false', ',"stream":true,"stream_options":{"include_usage":true}', ',"stream":null'):
        body = f"{{{HEAD}{members}}}".encode()
        assert CHAT.outgoing(body, CHAT.read(body)) is body


def test_a_stream_is_asked_for_its_usage_and_nothing_else_changes() -> None:
    body = f'  {{ {HEAD} , "stream" : true, "seed": 1.0e2}}'.encode()
    sent = CHAT.outgoing(body, CHAT.read(body))
    assert sent == body.replace(b"{", b'{"stream_options":{"include_usage":true},', 1)
    assert json.loads(sent)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    "options", ["null", "{}", '{"include_usage":false}', '{"include_usage":null}', '{"include_obfuscation":true}']
)
def test_options_that_the_caller_gave_are_kept_and_merged(options: str) -> None:
    body = f'{{{HEAD},"stream":true,"stream_options":{options},"seed":1.50,"big":{10**30}}}'.encode()
    ask = CHAT.read(body)
    assert not ask.usage_asked
    sent = CHAT.outgoing(body, ask)
    expected = {**(json.loads(options) or {}), "include_usage": True}
    assert json.loads(sent) == {**json.loads(body), "stream_options": expected}
    assert b'"seed":1.50' in sent
    assert str(10**30).encode() in sent
    assert CHAT.read(sent).usage_asked


@pytest.mark.parametrize("options", ["5", "[]", '"x"', "true", '{"include_usage":1}', '{"include_usage":"true"}'])
def test_options_that_could_be_read_in_two_ways_are_refused(options: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CHAT.read(f'{{{HEAD},"stream":true,"stream_options":{options}}}'.encode())
    assert caught.value.param == "stream_options"


def test_a_nested_member_of_that_name_is_not_the_callers_options() -> None:
    body = f'{{{HEAD},"stream":true,"metadata":{{"stream_options":{{}}}}}}'.encode()
    sent = json.loads(CHAT.outgoing(body, CHAT.read(body)))
    assert sent["stream_options"] == {"include_usage": True}
    assert sent["metadata"] == {"stream_options": {}}


# Streams


def test_pieces_of_whole_events_are_relayed_as_the_same_objects() -> None:
    for ask in (OURS, THEIRS):
        meter = CHAT.meter(ask, SSE)
        for piece in (HELLO, HELLO + HELLO, LAST, DONE, b": keep-alive\n\n", HELLO.replace(b"\n", b"\r\n")):
            assert meter.feed(piece) is piece
    meter = CHAT.meter(THEIRS, SSE)
    for piece in (HELLO[:20], HELLO[20:], USAGE, b"\n"):
        assert meter.feed(piece) is piece


def test_the_usage_chunk_that_the_caller_asked_for_stays() -> None:
    meter, relayed = stream(THEIRS, HELLO + LAST, USAGE, DONE)
    assert relayed == HELLO + LAST + USAGE + DONE
    assert meter.usage is not None
    assert (meter.usage.input_tokens, meter.usage.output_tokens) == (10, 4)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_the_usage_chunk_that_farebox_asked_for_is_taken_out_at_any_cut(end: bytes) -> None:
    hello, usage, done = (
        event(end, **text("hello"), usage=None),
        event(end, choices=[], usage=USED),
        b"data: [DONE]" + end,
    )
    whole = hello + usage + done
    for first in range(len(whole)):
        for second in (first, first + 1, first + 2, (first + len(whole)) // 2):
            meter, relayed = stream(OURS, whole[:first], whole[first:second], whole[second:])
            assert relayed == hello + done
            assert meter.usage is not None
            assert meter.complete


def test_several_events_in_one_piece_lose_only_that_chunk() -> None:
    assert stream(OURS, HELLO + LAST + USAGE + DONE)[1] == HELLO + LAST + DONE
    assert stream(OURS, b": note\n\n" + USAGE + b"\n\n" + DONE)[1] == b": note\n\n\n\n" + DONE
    assert stream(OURS, b"\n" + USAGE)[1] == stream(OURS, b"\n", USAGE)[1] == b"\n"
    assert stream(OURS, HELLO + b"\n" + USAGE)[1] == HELLO + b"\n"


def test_only_an_unfinished_event_is_held_back() -> None:
    meter = CHAT.meter(OURS, SSE)
    assert meter.feed(HELLO + HELLO[:30]) == HELLO
    assert meter.between_events
    assert meter.feed(HELLO[30:]) == HELLO
    assert meter.feed(HELLO[:30]) == b""
    assert meter.finish() == HELLO[:30]


def test_a_final_event_without_its_blank_line_is_read_and_taken_out() -> None:
    for missing in (1, 2):
        meter, relayed = stream(OURS, HELLO, USAGE[:-missing])
        assert relayed == HELLO
        assert meter.usage is not None
    assert stream(THEIRS, HELLO, USAGE[:-1])[1] == HELLO + USAGE[:-1]


def test_usage_beside_choices_or_without_them_is_read_and_stays() -> None:
    beside = event(**text("x", "stop"), usage=USED)
    bare = event(usage=USED)
    for chunk in (beside, bare):
        meter, relayed = stream(OURS, HELLO, chunk, DONE)
        assert relayed == HELLO + chunk + DONE
        assert meter.usage is not None


def test_usage_after_the_end_mark_is_read() -> None:
    meter, relayed = stream(OURS, HELLO, DONE, USAGE)
    assert meter.usage is not None
    assert relayed == HELLO + DONE


def test_a_chunk_without_choices_that_is_no_usage_stays() -> None:
    filters = event(choices=[], prompt_filter_results=[], usage=None)
    assert stream(OURS, filters, HELLO)[1] == filters + HELLO


def test_an_event_too_long_to_be_the_usage_is_let_go_before_it_ends() -> None:
    meter = CHAT.meter(OURS, SSE)
    long = event(**text("x" * MAX_HELD_BYTES * 2))
    relayed = [meter.feed(long[at : at + 1000]) for at in range(0, len(long), 1000)]
    assert b"".join(relayed) == long
    assert sum(map(len, relayed[:-1])) > MAX_HELD_BYTES
    assert meter.output_bytes == MAX_HELD_BYTES * 2
    assert meter.feed(USAGE) == b""


def test_a_torn_stream_says_whether_an_event_of_ours_may_follow() -> None:
    meter = CHAT.meter(THEIRS, SSE)
    meter.feed(HELLO)
    assert meter.between_events
    meter.feed(HELLO[:10])
    assert not meter.between_events


def test_a_torn_end_is_no_reason_to_doubt() -> None:
    for ask in (OURS, THEIRS):
        for torn in (HELLO[:30], USAGE[:-10], b"data: [DO", b"da", b": note", b"data: " + b"x" * (1 << 21)):
            meter, relayed = stream(ask, HELLO, torn)
            assert relayed == HELLO + torn
            assert (meter.usage, meter.flag, meter.unread_events, meter.output_text) == (None, None, 0, "hello")


def test_a_cut_stream_ends_between_events() -> None:
    meter = CHAT.meter(OURS, SSE)
    assert meter.feed(HELLO + HELLO[:10]) + meter.cut() == HELLO
    meter = CHAT.meter(THEIRS, SSE)
    assert meter.feed(HELLO + HELLO[:10]) + meter.cut() == HELLO + HELLO[:10] + b"\n\n"
    meter = CHAT.meter(THEIRS, SSE)
    assert meter.feed(HELLO) + meter.cut() == HELLO


@given(
    st.lists(
        st.sampled_from([HELLO, LAST, USAGE, DONE, b": note\n\n", b"\n", b"\r", b"\r\n", b"data: {", b"x", b"data: 1"])
    ),
    st.lists(st.integers(0, 3000), max_size=8),
)
def test_the_cuts_of_a_stream_change_nothing(fragments: list[bytes], at: list[int]) -> None:
    whole = b"".join(fragments)
    places = [0, *sorted({place for place in at if place < len(whole)}), len(whole)]
    pieces = [whole[start:end] for start, end in pairwise(places)]
    for ask in (OURS, THEIRS):
        once, relayed = stream(ask, whole)
        cut, relayed_cut = stream(ask, *pieces)
        assert relayed == relayed_cut
        assert (once.usage, once.flag, once.unread_events, once.complete) == (
            cut.usage,
            cut.flag,
            cut.unread_events,
            cut.complete,
        )
        assert (once.output_text, once.output_events) == (cut.output_text, cut.output_events)
    assert stream(THEIRS, whole)[1] == whole


@pytest.mark.parametrize("ask", [OURS, THEIRS])
def test_an_event_above_the_bound_is_passed_on_and_told(ask: Ask) -> None:
    long = event(**text("x" * (1 << 20)))
    meter, relayed = stream(ask, HELLO, *[long[at : at + 65536] for at in range(0, len(long), 65536)], DONE)
    assert relayed == HELLO + long + DONE
    assert meter.unread_events == 1
    assert meter.flag is not None


def test_the_last_of_several_reports_holds() -> None:
    meter, _ = stream(
        THEIRS, event(**text("a"), usage={**USED, "completion_tokens": 1}), event(**text("b"), usage=USED)
    )
    assert meter.usage is not None
    assert meter.usage.output_tokens == 4


def test_an_error_event_is_seen_and_the_usage_before_it_stays() -> None:
    failed = event(error={"message": "overloaded", "code": 502})
    meter, relayed = stream(OURS, HELLO, failed)
    assert (meter.error, meter.complete, meter.usage, meter.flag) == (True, False, None, None)
    assert relayed == HELLO + failed
    meter, _ = stream(OURS, HELLO, USAGE, failed)
    assert meter.error
    assert meter.usage is not None


def test_a_stream_is_complete_when_every_choice_is() -> None:
    two = Ask(model="m", stream=True, choices=2)
    finished = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    assert not stream(two, HELLO, finished)[0].complete
    assert stream(two, HELLO, finished, finished)[0].complete
    assert stream(two, HELLO, DONE)[0].complete
    assert not stream(OURS, HELLO)[0].complete


def test_events_that_cannot_be_read_are_passed_on_and_told() -> None:
    for bad in (b"data: {broken\n\n", b"data: \xff\n\n", b"data: [1,2]\n\n", b"data: " + b"[" * 100_000 + b"\n\n"):
        meter, relayed = stream(OURS, HELLO, bad, DONE)
        assert relayed == HELLO + bad + DONE
        assert meter.unread_events == 1
        assert meter.flag is not None
        meter, _ = stream(OURS, HELLO, bad, USAGE)
        assert meter.usage is not None
        assert meter.flag is None


def test_choices_of_another_shape_do_not_hide_the_usage() -> None:
    shapes: list[Any] = [None, [None], 5, {"0": {}}, [{"delta": "text"}], [{"delta": {"tool_calls": [5]}}]]
    for choices in shapes:
        odd = event(choices=choices, usage=USED)
        meter, relayed = stream(OURS, odd)
        assert relayed == odd
        assert meter.usage is not None
        assert meter.unread_events == 0


def test_output_of_every_kind_is_tallied() -> None:
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""},
        {"content": "é"},
        {"reasoning_content": "think"},
        {"reasoning": "same", "reasoning_content": "same"},
        {"refusal": "no"},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "deep"}]},
                {"type": "text", "text": "x"},
            ]
        },
        {"content": None, "tool_calls": None},
    ]
    meter, _ = stream(OURS, *[event(choices=[{"index": 0, "delta": delta}]) for delta in deltas])
    assert meter.output_text == "éthinksamenof{}deepx"
    assert meter.output_bytes == len(meter.output_text.encode())
    assert meter.output_events == 9


def test_the_tally_is_bounded_and_its_length_is_not() -> None:
    meter = CHAT.meter(THEIRS, SSE)
    chunk = event(**text("é" * 1000))
    for _ in range(300):
        meter.feed(chunk)
    assert meter.output_bytes == 600_000
    assert len(meter.output_text.encode()) <= 256 * 1024
    assert set(meter.output_text) == {"é"}


# Usage


def counters(**usage: Any) -> dict[str, int]:
    meter = plain(json.dumps({"choices": [], "usage": usage}).encode())
    assert meter.flag is None
    assert meter.usage is not None
    return dict(meter.usage.counters)


def test_counters_are_disjoint() -> None:
    assert counters(
        prompt_tokens=100,
        completion_tokens=50,
        prompt_tokens_details={"cached_tokens": 60, "audio_tokens": 10, "cache_write_tokens": 5},
        completion_tokens_details={
            "reasoning_tokens": 20,
            "audio_tokens": 5,
            "accepted_prediction_tokens": 3,
            "rejected_prediction_tokens": 7,
        },
    ) == {
        "input": 25,
        "cache_read": 60,
        "cache_write_5m": 5,
        "input_audio": 10,
        "output": 25,
        "reasoning": 20,
        "output_audio": 5,
    }


def test_an_explicit_zero_is_a_zero_and_what_is_missing_is_unknown() -> None:
    assert counters(prompt_tokens=0, completion_tokens=0) == {"input": 0, "output": 0}
    assert counters(prompt_tokens=5, completion_tokens=1, prompt_tokens_details={"cached_tokens": 0}) == {
        "input": 5,
        "cache_read": 0,
        "output": 1,
    }
    assert counters(prompt_tokens=5, completion_tokens=1, prompt_tokens_details=None, completion_tokens_details={}) == {
        "input": 5,
        "output": 1,
    }


def test_half_a_report_is_partial() -> None:
    meter = plain(b'{"usage":{"prompt_tokens":7,"completion_tokens":null}}')
    assert meter.usage is None
    assert meter.flag is None
    assert meter.partial is not None
    assert meter.partial.counters == {"input": 7}
    for nothing in (b"{}", b'{"usage":null}', b'{"usage":{}}', b'{"usage":{"total_tokens":5}}'):
        meter = plain(nothing)
        assert (meter.usage, meter.partial, meter.flag, meter.complete) == (None, None, None, True)


@pytest.mark.parametrize("name", ["prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens"])
def test_cached_tokens_under_the_names_of_others(name: str) -> None:
    assert counters(prompt_tokens=9, completion_tokens=1, **{name: 4})["cache_read"] == 4


def test_parts_that_overlap_are_counted_once() -> None:
    details = {"cached_tokens": 8, "audio_tokens": 6}
    assert counters(prompt_tokens=10, completion_tokens=1, prompt_tokens_details=details) == {
        "input": 0,
        "cache_read": 4,
        "input_audio": 6,
        "output": 1,
    }
    more = counters(prompt_tokens=1, completion_tokens=10, completion_tokens_details={"reasoning_tokens": 11})
    assert (more["output"], more["reasoning"]) == (0, 10)


def test_reasoning_that_the_total_has_beside_the_output_is_added() -> None:
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 27,
        "completion_tokens_details": {"reasoning_tokens": 20},
    }
    assert counters(**usage) == {"input": 5, "output": 2, "reasoning": 20}


HOSTILE = [
    "-1",
    str(2**53),
    str(2**64),
    "1000000001",
    "1.5",
    "2.0",
    "1e3",
    '"5"',
    "true",
    "[5]",
    "{}",
    "9" * 5000,
    "1e999",
]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "cached_tokens"])
def test_figures_that_cannot_be_are_not_believed(name: str, value: str) -> None:
    figures = {"prompt_tokens": "10", "completion_tokens": "4", name: value}
    usage = "{" + ",".join(f'"{key}":{figure}' for key, figure in figures.items()) + "}"
    for meter in (
        plain(b'{"choices":[],"usage":%b}' % usage.encode()),
        stream(THEIRS, HELLO, b'data: {"choices":[],"usage":%b}\n\n' % usage.encode())[0],
    ):
        assert meter.usage is None
        assert meter.flag is not None
        assert value not in meter.flag or len(value) < 4


@pytest.mark.parametrize(
    "usage", ['"x"', "5", "[]", "true", '{"prompt_tokens":1,"completion_tokens":1,"prompt_tokens_details":5}']
)
def test_a_usage_that_is_no_usage_is_not_believed(usage: str) -> None:
    meter = plain(b'{"usage":%b}' % usage.encode())
    assert meter.usage is None
    assert meter.flag is not None


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 6}},
        {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"audio_tokens": 6}},
        {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cache_write_tokens": 6}},
        {"prompt_tokens": 5, "completion_tokens": 1, "completion_tokens_details": {"audio_tokens": 2}},
        {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": -1}},
        {"prompt_tokens": 5, "completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": -1}},
    ],
)
def test_parts_larger_than_their_total_are_not_believed(usage: dict[str, Any]) -> None:
    meter = plain(json.dumps({"usage": usage}).encode())
    assert meter.usage is None
    assert meter.flag is not None


def test_a_usage_with_nan_is_not_believed() -> None:
    assert plain(b'{"usage":{"prompt_tokens":NaN,"completion_tokens":1}}').flag is not None


# Plain answers, and the wrong kind of answer


def test_a_plain_answer_is_read_whole_whatever_its_pieces() -> None:
    document = json.dumps({"choices": [{"message": {"content": "hi", "reasoning": "hm"}}], "usage": USED}).encode()
    meter = CHAT.meter(OURS, JSON)
    for at in range(len(document)):
        piece = document[at : at + 1]
        assert meter.feed(piece) is piece
    assert not meter.complete
    meter.finish()
    assert meter.usage is not None
    assert meter.output_text == "hihm"
    assert meter.complete


@pytest.mark.parametrize("document", [b"<html>", b"[]", b"5", b'{"usage":', b"\xff", b"[" * 100_000, HELLO + DONE])
def test_an_answer_that_is_no_document_is_told(document: bytes) -> None:
    meter = plain(document)
    assert meter.usage is None
    assert meter.flag is not None
    assert not meter.complete


def test_an_empty_answer_and_an_error_document() -> None:
    assert plain(b"").flag is None
    assert plain(b'{"error":{"message":"x"}}').error
    assert plain(b'{"choices":"odd","usage":{"prompt_tokens":1,"completion_tokens":2}}').usage is not None


def test_a_plain_answer_above_the_bound_is_passed_on_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.providers.meters.MAX_PLAIN_BYTES", 100)
    meter = plain(b'{"x":"' + b"x" * 100 + b'"}')
    assert meter.flag is not None
    assert meter.unread_events == 1


def test_a_search_is_not_free_for_who_leaves_before_the_usage_is_told() -> None:
    ask = Ask(model="m", stream=True, usage_asked=True, units={"web_searches": 1})
    left, _ = stream(ask, event(choices=[text("found")]))
    assert left.partial is not None
    assert dict(left.partial.counters) == {"web_searches": 1}
    failed, _ = stream(ask, event(error={"message": "no"}))
    assert (failed.error, failed.partial) == (True, None)
    told, _ = stream(ask, event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 4}))
    assert told.usage is not None
    assert dict(told.usage.counters) == {"web_searches": 1, "input": 3, "output": 4}
    assert told.partial is None
