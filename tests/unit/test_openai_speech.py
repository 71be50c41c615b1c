import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidRequest
from proxy.core.pricing import Price, Tariff, Unpriced
from proxy.providers.openai_speech import UNTOLD, Speech
from tests.support.answers import HOSTILE, ODDMENTS, cuts_change_nothing, event, streamed

SPEECH = Speech()
DELTA = event("speech.audio.delta", audio="UklGRg==")
DONE = event("speech.audio.done", usage={"input_tokens": 14, "output_tokens": 101, "total_tokens": 115})
COUNTERS = {"input": 14, "output": 0, "output_audio": 101}


def body(text: Any = "hello", **members: Any) -> bytes:
    return json.dumps({"model": "tts-1", "input": text, "voice": "alloy", **members}).encode()


def refused(request: bytes) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        SPEECH.read(request)
    return caught.value.param


def test_characters_are_counted_as_characters() -> None:
    ask = SPEECH.read(body("héllo 😀"))
    assert ask.units == {"input_characters": 7}
    assert ask.input_bound == len("héllo 😀".encode())
    assert SPEECH.read(body("hi", instructions="slowly")).input_bound == 8
    assert SPEECH.read(body("")).units == {"input_characters": 0}
    request = body()
    assert SPEECH.outgoing(request, ask) is request
    assert json.loads(SPEECH.outgoing(request, ask, "other"))["model"] == "other"
    assert "hello" in SPEECH.prompt_text(request)


def test_the_hold_covers_a_minute_of_speech_with_its_tokens() -> None:
    minute = "x" * 900
    held = SPEECH.read(body(minute)).output_limit
    assert held is not None
    assert 1250 <= held <= 2 * 1250
    assert SPEECH.read(body(minute, speed=0.25)).output_limit == 4 * held
    assert SPEECH.read(body(minute, speed=2)).output_limit == held
    assert SPEECH.read(body("x")).output_limit == 100


def test_requests_are_read_strictly() -> None:
    assert refused(b'{"model":"tts-1"}') == "input"
    assert refused(body(5)) == "input"
    assert refused(body(None)) == "input"
    assert refused(body("x", speed="slow")) == "speed"
    assert refused(body("x", instructions=5)) == "instructions"
    assert refused(body()[:-1] + b',"input":"x","input":"xxxxxxxxx"}') == "input"
    assert SPEECH.read(body(stream_format="sse")).stream
    assert not SPEECH.read(body(stream_format="audio")).stream


@pytest.mark.parametrize("content_type", [b"audio/mpeg", b"application/octet-stream", b"", b"audio/wav"])
def test_sound_is_passed_on_and_its_characters_are_billed_from_the_first_byte(content_type: bytes) -> None:
    ask = SPEECH.read(body("hello"))
    meter = SPEECH.meter(ask, content_type)
    assert meter.streams
    assert meter.usage is None
    piece = b"\xff\xf3data: [DONE]\n\n"
    assert meter.feed(piece) is piece
    assert meter.usage is not None
    assert meter.usage.counters == {"input_characters": 5}
    assert not meter.complete
    assert (meter.feed(piece), meter.finish(), meter.complete) == (piece, b"", True)
    assert (meter.between_events, meter.cut(), meter.farewell(b"x")) == (False, b"", None)
    nothing = SPEECH.meter(ask, content_type)
    assert (nothing.finish(), nothing.usage, nothing.complete) == (b"", None, False)


def test_a_price_by_the_token_cannot_price_sound_and_never_prices_it_to_nothing() -> None:
    ask = SPEECH.read(body("hello"))
    meter = SPEECH.meter(ask, b"audio/mpeg")
    meter.feed(b"x")
    assert meter.usage is not None
    by_character = Tariff(Price("tts-1", {"input_characters": 15_000_000_000}, "1"), 1000)
    assert by_character.cost_nano_usd(meter.usage) == 75_000
    by_token = Tariff(Price("gpt-4o-mini-tts", {"input": 600_000_000, "output": 12_000_000_000}, "1"), 1000)
    with pytest.raises(Unpriced):
        by_token.charge_microcredits(meter.usage)
    assert not by_token.unpriced(ask.units)
    assert by_token.hold_microcredits(ask.input_bound or 0, ask.output_limit or 0, units=ask.units) > 0


def test_a_stream_of_events_tells_its_tokens() -> None:
    meter = streamed(SPEECH, DELTA, DELTA, DONE)
    assert meter.usage is not None
    assert (meter.usage.counters, meter.flag, meter.complete) == (COUNTERS, None, True)


def test_sound_without_its_usage_is_charged_at_the_hold() -> None:
    for pieces in ((DELTA,), (DELTA, event("speech.audio.done")), (DELTA, DONE[:-30])):
        meter = streamed(SPEECH, *pieces)
        assert (meter.usage, meter.flag) == (None, UNTOLD)
    failed = streamed(SPEECH, event("error", error={"message": "x"}))
    assert (failed.error, failed.flag, failed.usage) == (True, None, None)


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["input_tokens", "output_tokens"])
def test_hostile_figures_are_not_believed(name: str, value: str) -> None:
    usage = json.dumps({"input_tokens": 1, "output_tokens": 1, name: "@"}).replace('"@"', value).encode()
    meter = streamed(SPEECH, DELTA, b'data: {"type":"speech.audio.done","usage":%b}\n\n' % usage)
    assert meter.usage is None
    assert meter.flag is not None


PARTS = [DELTA, DONE, DONE.replace(b"\n", b"\r\n"), *ODDMENTS]


@given(st.lists(st.sampled_from(PARTS), max_size=8), st.lists(st.integers(0, 1000), max_size=8))
def test_the_cuts_of_a_stream_change_nothing(parts: list[bytes], at: list[int]) -> None:
    cuts_change_nothing(SPEECH, b"".join(parts), at)
