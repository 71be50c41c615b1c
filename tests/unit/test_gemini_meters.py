import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.usage import Usage
from proxy.providers.dialect import Ask, Meter
from proxy.providers.gemini_meters import MAX_EVENT_BYTES, AnswerMeter, ArrayMeter, EventMeter, FreeMeter

ASK = Ask(model="gemini-3-flash-preview", stream=True)
OLD = Ask(model="gemini-2.5-flash", stream=True)


def used(prompt: int, candidates: int | None = None, **more: Any) -> dict[str, Any]:
    figures: dict[str, Any] = {"promptTokenCount": prompt, **more}
    return figures if candidates is None else figures | {"candidatesTokenCount": candidates}


def answer(text: str | None = None, finish: str | None = None, usage: Any = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = dict(more)
    if text is not None:
        candidate["content"] = {"role": "model", "parts": [{"text": text}]}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate]} | ({} if usage is None else {"usageMetadata": usage})


def events(*chunks: Any) -> bytes:
    return b"".join(b"data: %b\r\n\r\n" % json.dumps(chunk).encode() for chunk in chunks)


def array(*chunks: Any) -> bytes:
    return b"[" + b",\r\n".join(json.dumps(chunk, indent=1).encode() for chunk in chunks) + b"]"


def run(meter: Meter, *pieces: bytes) -> Meter:
    for piece in pieces:
        assert meter.feed(piece) is piece
    assert meter.finish() == b""
    return meter


WRITERS = [(EventMeter, events), (ArrayMeter, array)]
CHUNKS = (
    answer("Hel", usage=used(9, 2, thoughtsTokenCount=40)),
    answer("lo", usage=used(9)),
    answer(", wörld", usage=used(9, 6, thoughtsTokenCount=8)),
    answer("", "STOP", used(9, 7, thoughtsTokenCount=8, toolUsePromptTokenCount=3, totalTokenCount=27)),
)
WHOLE = Usage({"input": 12, "output": 7, "reasoning": 8})


@given(st.sampled_from(WRITERS), st.lists(st.integers(min_value=0), max_size=30))
def test_the_last_report_holds_at_any_split(writer: Any, cuts: list[int]) -> None:
    kind, write = writer
    body = write(*CHUNKS)
    places = sorted({0, len(body), *(cut % len(body) for cut in cuts)})
    pieces = [body[start:end] for start, end in pairwise(places)]
    meter = run(kind(ASK), *pieces)
    assert meter.usage == WHOLE
    assert (meter.complete, meter.flag, meter.unread_events, meter.error) == (True, None, 0, False)
    assert meter.output_text == "Hello, wörld"
    assert meter.streams


@pytest.mark.parametrize(("kind", "write"), WRITERS)
def test_a_stream_that_breaks_off_has_a_part_in_which_output_never_shrinks(kind: Any, write: Any) -> None:
    meter = kind(ASK)
    meter.feed(write(*CHUNKS[:2])[:-1])
    assert meter.usage is None
    assert meter.partial == Usage({"input": 9, "output": 2, "reasoning": 40})
    assert not meter.complete


def test_usage_after_the_end_of_the_text() -> None:
    meter = run(EventMeter(ASK), events(answer("a", "STOP"), {"usageMetadata": used(5, 1, totalTokenCount=6)}))
    assert meter.usage == Usage({"input": 5, "output": 1})


def test_every_candidate_has_to_finish() -> None:
    two = {"candidates": [{"index": 0, "finishReason": "STOP"}, {"index": 1}], "usageMetadata": used(5, 3)}
    meter = EventMeter(ASK)
    meter.feed(events(two))
    assert not meter.complete
    assert meter.usage is None
    meter.feed(events(answer("b", "STOP", used(5, 4), index=1)))
    assert meter.complete
    assert meter.usage == Usage({"input": 5, "output": 4})


def test_a_document_is_whole_without_a_finish_reason() -> None:
    meter = run(AnswerMeter(ASK), json.dumps(answer("a", usage=used(5, 1))).encode())
    assert meter.usage == Usage({"input": 5, "output": 1})
    assert meter.complete


def test_a_blocked_prompt_without_figures_used_nothing() -> None:
    blocked = {"promptFeedback": {"blockReason": "MODEL_ARMOR"}, "usageMetadata": {"trafficType": "ON_DEMAND"}}
    assert run(AnswerMeter(ASK), json.dumps(blocked).encode()).usage == Usage({"input": 0, "output": 0})
    # An answer was written: figures that are left out are unknown then, not zero.
    answered = answer("text", "STOP", {"trafficType": "ON_DEMAND"})
    meter = run(AnswerMeter(ASK), json.dumps(answered).encode())
    assert (meter.usage, meter.partial, meter.flag) == (None, None, None)


def test_a_blocked_stream_is_complete() -> None:
    meter = run(EventMeter(ASK), events({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": used(5, 0)}))
    assert meter.complete
    assert meter.usage == Usage({"input": 5, "output": 0})


@pytest.mark.parametrize("hostile", [-1, 1.5, "7", True, [], {}, 10**30])
@pytest.mark.parametrize(("kind", "write"), [*WRITERS, (AnswerMeter, lambda *chunks: json.dumps(chunks[0]).encode())])
def test_a_report_that_is_not_believed_spoils_the_rest(kind: Any, write: Any, hostile: Any) -> None:
    meter = run(kind(ASK), write(answer("a", usage=used(5, hostile)), answer("b", "STOP", used(5, 1))))
    assert meter.flag is not None
    assert (meter.usage, meter.partial) == (None, None)


def test_an_error_inside_a_stream() -> None:
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    for kind, write in WRITERS:
        meter = run(kind(ASK), write(CHUNKS[0], error))
        assert meter.error
        assert meter.partial is not None


def test_searches_are_billed_by_the_query_or_by_the_prompt() -> None:
    first = answer("a", usage=used(5, 1), groundingMetadata={"webSearchQueries": ["x", "", "y"]})
    last = answer("b", "STOP", used(5, 2), groundingMetadata={"webSearchQueries": ["x", "y", "z"]})
    for ask, count in ((ASK, 3), (OLD, 1)):
        meter = run(EventMeter(ask), events(first, last))
        assert meter.usage == Usage({"input": 5, "output": 2, "web_searches": count})
    maps = answer("b", "STOP", used(5, 2), groundingMetadata={"groundingChunks": [{"maps": {"uri": "u"}}]})
    assert run(EventMeter(ASK), events(maps)).usage == Usage({"input": 5, "output": 2, "web_searches": 1})
    files = answer("b", "STOP", used(5, 2), groundingMetadata={"groundingChunks": [{"retrievedContext": {}}]})
    assert run(EventMeter(ASK), events(files)).usage == Usage({"input": 5, "output": 2})


def picture(**more: Any) -> dict[str, Any]:
    part = {"inlineData": {"mimeType": "image/png", "data": "A" * 50}}
    return {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}], **more}


def test_pictures_are_no_text() -> None:
    assert run(AnswerMeter(ASK), json.dumps(picture(usageMetadata=used(5, 1290))).encode()).usage == Usage(
        {"input": 5, "output_image": 1290, "output": 0}
    )
    meter = run(AnswerMeter(ASK), json.dumps(picture()).encode())
    assert meter.flag == "the answer holds media, and no usage says what they cost"
    assert run(EventMeter(ASK), events(picture())).flag == meter.flag


def test_what_code_draws_is_not_made_by_the_model() -> None:
    drawn = picture(usageMetadata=used(5, 20))
    drawn["candidates"][0]["content"]["parts"].insert(0, {"executableCode": {"code": "plot()"}})
    meter = run(AnswerMeter(ASK), json.dumps(drawn).encode())
    assert meter.usage == Usage({"input": 5, "output": 20})
    assert "plot()" in meter.output_text


def test_calls_of_functions_are_output() -> None:
    call = answer(finish="STOP") | {}
    call["candidates"][0]["content"] = {"parts": [{"functionCall": {"name": "f", "args": {"city": "Łódź"}}}]}
    meter = run(AnswerMeter(ASK), json.dumps(call, ensure_ascii=False).encode())
    assert "Łódź" in meter.output_text
    assert meter.output_calls == 1


@pytest.mark.parametrize(("kind", "write"), WRITERS)
def test_thoughts_that_nobody_sees_count_while_the_stream_runs(kind: Any, write: Any) -> None:
    meter = kind(ASK)
    meter.feed(write(answer("a", usage=used(9, 2, thoughtsTokenCount=400)))[:-1] + b" ")
    meter.feed(b"\n\n" if kind is EventMeter else b"")
    assert meter.output_events == 402


def test_service_tier() -> None:
    meter = run(EventMeter(ASK), events(answer("a", "STOP", used(5, 1, serviceTier="priority"))))
    assert meter.service_tier == "priority"


def test_an_event_with_a_picture_of_megabytes_is_read() -> None:
    large = picture(usageMetadata=used(5, 7))
    large["candidates"][0]["content"]["parts"][0]["inlineData"]["data"] = "A" * (3 * 1024 * 1024)
    for kind, write in WRITERS:
        body = write(large)
        pieces = [body[at : at + 65536] for at in range(0, len(body), 65536)]
        assert run(kind(ASK), *pieces).usage == Usage({"input": 5, "output_image": 7, "output": 0})


@pytest.mark.parametrize(("kind", "start"), [(EventMeter, b"data: "), (ArrayMeter, b"[")])
def test_an_endless_event_takes_no_memory(kind: Any, start: bytes) -> None:
    meter = kind(ASK)
    meter.feed(start + b'{"candidates":[{"content":{"parts":[{"text":"')
    piece = b"x" * (1 << 20)
    for _ in range(MAX_EVENT_BYTES // len(piece) + 4):
        meter.feed(piece)
    kept = meter._elements._pending if kind is ArrayMeter else meter._splitter._pending
    assert len(kept) == 0
    meter.feed(b'"}]}}]}' + (b"]" if kind is ArrayMeter else b"\n\n"))
    meter.finish()
    assert meter.flag is not None
    assert meter.usage is None


@pytest.mark.parametrize("body", [b"<html>", b"5", b'"x"', b"[1,2]", b"[" * 100_000, b'{"candidates":', b"\xff\xfe"])
def test_what_is_no_answer_is_charged_at_the_hold_or_counted(body: bytes) -> None:
    assert run(AnswerMeter(ASK), body).flag is not None
    for kind in (EventMeter, ArrayMeter):
        meter = run(kind(ASK), body)
        assert meter.usage is None


def test_odd_candidates_do_not_hide_the_figures() -> None:
    odd = {"candidates": [{"content": {"parts": "text"}}], "usageMetadata": used(5, 1)}
    assert run(AnswerMeter(ASK), json.dumps(odd).encode()).usage == Usage({"input": 5, "output": 1})
    assert run(EventMeter(ASK), events(odd)).partial == Usage({"input": 5, "output": 1})


def test_an_error_of_ours_can_be_the_last_element_of_an_array() -> None:
    ours = b'data: {"error":{"code":402}}\n\n'
    body = array(*CHUNKS)
    for end in range(len(body)):
        meter = ArrayMeter(ASK)
        meter.feed(body[:end])
        last = meter.farewell(ours)
        if last is None:
            assert not meter.between_events or end == 0
        else:
            assert json.loads(body[:end] + last)[-1] == {"error": {"code": 402}}
    closed = run(ArrayMeter(ASK), body)
    assert closed.farewell(ours) is None


def test_counting_costs_nothing() -> None:
    assert run(FreeMeter(), b'{"totalTokens":12}').usage == Usage({})
