import io
import wave
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidRequest
from proxy.providers.dialect import Head, Meter
from proxy.providers.openai_transcriptions import UNTOLD, Transcriptions, Translations
from tests.support.answers import HOSTILE, ODDMENTS, cuts_change_nothing, event, plain, streamed
from tests.support.forms import FORM, form

TRANSCRIPTIONS = Transcriptions()
TOKENS = {
    "type": "tokens",
    "input_tokens": 100,
    "input_token_details": {"audio_tokens": 90, "text_tokens": 10},
    "output_tokens": 12,
    "total_tokens": 112,
}
COUNTERS = {"input": 10, "input_audio": 90, "output": 12}
DELTA = event("transcript.text.delta", delta="hé")
DONE = event("transcript.text.done", text="hé", usage=TOKENS)


def sound(seconds: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\x00" * (seconds * 32_000))
    return buffer.getvalue()


def used(meter: Meter) -> dict[str, int]:
    assert meter.flag is None
    assert meter.usage is not None
    return dict(meter.usage.counters)


def test_the_recording_is_bounded_in_seconds_and_not_in_bytes() -> None:
    request = form({"file": sound(60)}, model="whisper-1", response_format="json", stream="true", prompt="names: Ann")
    ask = TRANSCRIPTIONS.read(request, FORM)
    assert (ask.model, ask.stream, ask.choices) == ("whisper-1", True, 1)
    assert 60 <= ask.units["input_seconds"] <= 61
    assert ask.input_bound is not None
    assert ask.output_limit is not None
    assert 600 <= ask.input_bound <= 2500
    assert 300 <= ask.output_limit <= 1000
    compressed = TRANSCRIPTIONS.read(form({"file": b"ID3" + b"\x00" * 480_000}, model="whisper-1"), FORM)
    assert compressed.units["input_seconds"] == 481
    assert TRANSCRIPTIONS.prompt_text(request) == ""


def test_a_form_is_sent_as_it_came_but_for_another_name_of_the_model() -> None:
    request = form({"file": sound(1)}, model="whisper-1", language="en")
    ask = TRANSCRIPTIONS.read(request, FORM)
    assert TRANSCRIPTIONS.outgoing(request, ask) is request
    assert TRANSCRIPTIONS.outgoing(request, ask, "whisper-2") == form(
        {"file": sound(1)}, model="whisper-2", language="en"
    )
    deployed = Head(params={"model": "d"}, content_type=FORM.content_type)
    assert Translations().read(form({"file": sound(1)}), deployed).model == "d"


@pytest.mark.parametrize(
    ("request_body", "param"),
    [
        (form({"file": b"x"}), "model"),
        (form({}, model="m"), "file"),
        (form({"sound": b"x"}, model="m"), "file"),
        (form({"file": b"x"}, model="m", url="https://example.com/a.mp3"), "file"),
        (form({"file": b"x"}, model="m", stream="maybe"), "stream"),
        (b"{}", None),
    ],
)
def test_requests_that_could_not_be_bounded_are_refused(request_body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        TRANSCRIPTIONS.read(request_body, FORM)
    assert caught.value.param == param
    with pytest.raises(InvalidRequest):
        TRANSCRIPTIONS.read(b'{"model":"m","file":"data:..."}', Head())


def test_tokens_or_seconds_as_the_model_is_billed() -> None:
    assert used(plain(TRANSCRIPTIONS, {"text": "hi", "usage": TOKENS})) == COUNTERS
    for seconds, billed in ((8, 8), (8.0, 8), (8.01, 9), (0, 0), (0.5, 1)):
        assert used(plain(TRANSCRIPTIONS, {"text": "hi", "usage": {"type": "duration", "seconds": seconds}})) == {
            "input_seconds": billed
        }
        assert used(plain(TRANSCRIPTIONS, {"task": "transcribe", "duration": seconds, "text": "hi"})) == {
            "input_seconds": billed
        }
    both = {"duration": 99.0, "usage": {"type": "duration", "seconds": 8}}
    assert used(plain(TRANSCRIPTIONS, both)) == {"input_seconds": 8}


@pytest.mark.parametrize("content_type", [b"text/plain; charset=utf-8", b"text/vtt", b"application/x-subrip", b""])
def test_text_tells_nothing_and_is_charged_at_the_hold(content_type: bytes) -> None:
    meter = plain(TRANSCRIPTIONS, b"1\n00:00:00,000 --> 00:00:02,000\nhello\n", content_type=content_type)
    assert (meter.usage, meter.flag, meter.complete) == (None, UNTOLD, True)


def test_json_that_tells_nothing_is_charged_at_the_hold_too() -> None:
    documents: list[dict[str, Any]] = [
        {"text": "hi"},
        {"text": "hi", "usage": None, "duration": None},
        {"usage": {}},
        {"usage": {"type": "tokens", "input_tokens": 5}},
    ]
    for document in documents:
        assert plain(TRANSCRIPTIONS, document).flag == UNTOLD
    failed = plain(TRANSCRIPTIONS, {"error": {"message": "x"}})
    assert (failed.error, failed.flag, failed.usage) == (True, None, None)
    for torn in (b"[]", b'{"text":', b"\xff"):
        assert plain(TRANSCRIPTIONS, torn).flag is not None


@pytest.mark.parametrize("value", [value for value in HOSTILE if value not in {"1.5", "2.0", "1e3"}])
@pytest.mark.parametrize(
    "shape",
    [
        '{"duration":@}',
        '{"usage":{"type":"duration","seconds":@}}',
        '{"usage":{"type":"tokens","input_tokens":@,"output_tokens":1}}',
        '{"usage":{"type":"tokens","input_tokens":1,"output_tokens":@}}',
        '{"usage":{"type":@,"input_tokens":1,"output_tokens":1}}',
    ],
)
def test_hostile_figures_are_not_believed(shape: str, value: str) -> None:
    if value == '"5"' and '"type":@' in shape:
        return  # a word is what a type is
    document = shape.replace("@", value).encode()
    assert plain(TRANSCRIPTIONS, document).usage is None
    assert plain(TRANSCRIPTIONS, document).flag is not None
    if "usage" in shape:
        meter = streamed(TRANSCRIPTIONS, b'data: {"type":"transcript.text.done",' + document[1:] + b"\n\n")
        assert meter.usage is None
        assert meter.flag is not None


def test_a_stream_tells_its_usage_at_its_end() -> None:
    meter = streamed(TRANSCRIPTIONS, DELTA, DELTA, DONE)
    assert (used(meter), meter.complete, meter.output_text) == (COUNTERS, True, "héhé")
    for pieces in ((DELTA,), (DELTA, event("transcript.text.done", text="x")), (DELTA, DONE[:-30])):
        torn = streamed(TRANSCRIPTIONS, *pieces)
        assert (torn.usage, torn.flag) == (None, UNTOLD)
    failed = streamed(TRANSCRIPTIONS, event("error", error={"message": "x"}))
    assert (failed.error, failed.flag) == (True, None)


PARTS = [DELTA, DONE, DONE.replace(b"\n", b"\r\n"), *ODDMENTS]


@given(st.lists(st.sampled_from(PARTS), max_size=8), st.lists(st.integers(0, 1000), max_size=8))
def test_the_cuts_of_a_stream_change_nothing(parts: list[bytes], at: list[int]) -> None:
    cuts_change_nothing(TRANSCRIPTIONS, b"".join(parts), at)
