import json
from typing import Any

import msgspec
import pytest

from proxy.providers.openai_token_usage import Medium, read_raw_tokens
from tests.support.answers import HOSTILE


def read(makes: Medium = "text", **usage: Any) -> dict[str, int]:
    found, partial, flag = read_raw_tokens(msgspec.Raw(json.dumps(usage).encode()), makes)
    assert (partial, flag) == (None, None)
    assert found is not None
    return dict(found.counters)


def refused(makes: Medium = "text", **usage: Any) -> None:
    found, partial, flag = read_raw_tokens(msgspec.Raw(json.dumps(usage).encode()), makes)
    assert (found, partial) == (None, None)
    assert flag is not None


def test_a_response_has_cached_written_and_reasoning_tokens() -> None:
    details = {"cached_tokens": 30, "cache_write_tokens": 20}
    assert read(
        input_tokens=100,
        output_tokens=50,
        total_tokens=150,
        input_tokens_details=details,
        output_tokens_details={"reasoning_tokens": 20},
    ) == {"input": 50, "cache_read": 30, "cache_write_5m": 20, "output": 30, "reasoning": 20}


def test_what_was_written_to_the_cache_for_long_is_apart() -> None:
    details = {"cached_tokens": 0, "cache_write_tokens": 20}
    for long, counters in (
        (15, {"cache_write_5m": 5, "cache_write_1h": 15}),
        (0, {"cache_write_5m": 20, "cache_write_1h": 0}),
    ):
        split = {**details, "cache_write_tokens_details": {"ttl_12h_tokens": long, "ttl_30m_tokens": 20 - long}}
        found = read(input_tokens=100, output_tokens=0, input_tokens_details=split)
        assert found == {"input": 80, "cache_read": 0, **counters, "output": 0}
    refused(
        input_tokens=100,
        output_tokens=1,
        input_tokens_details={**details, "cache_write_tokens_details": {"ttl_12h_tokens": 21}},
    )


def test_images_are_told_apart_only_where_they_are_priced_apart() -> None:
    details = {"image_tokens": 60, "text_tokens": 40}
    made = {"image_tokens": 900, "text_tokens": 100}
    used = {"input_tokens": 100, "output_tokens": 1000, "input_tokens_details": details}
    assert read("image", **used) == {"input": 40, "input_image": 60, "output": 0, "output_image": 1000}
    assert read("image", **used, output_tokens_details=made) == {
        "input": 40,
        "input_image": 60,
        "output": 100,
        "output_image": 900,
    }
    assert read("text", **used) == {"input": 100, "output": 1000}
    # Of a text model's images some may be cached: both figures are parts of the same tokens.
    assert read("text", input_tokens=100, output_tokens=1, input_tokens_details={**details, "cached_tokens": 90}) == {
        "input": 10,
        "cache_read": 90,
        "output": 1,
    }


def test_speech_is_made_of_audio_and_transcriptions_are_made_from_it() -> None:
    assert read("audio", input_tokens=20, output_tokens=80) == {"input": 20, "output": 0, "output_audio": 80}
    heard = {"input_token_details": {"audio_tokens": 90, "text_tokens": 10}}
    assert read("text", input_tokens=100, output_tokens=8, **heard) == {"input": 10, "input_audio": 90, "output": 8}


def test_reasoning_that_only_the_total_has_is_added() -> None:
    details = {"reasoning_tokens": 20}
    assert read(input_tokens=5, output_tokens=2, total_tokens=27, output_tokens_details=details)["reasoning"] == 20
    assert read(input_tokens=5, output_tokens=2, total_tokens=7, output_tokens_details=details)["reasoning"] == 2


def test_half_a_usage_is_partial_and_zero_is_zero() -> None:
    assert read(input_tokens=0, output_tokens=0) == {"input": 0, "output": 0}
    found, partial, flag = read_raw_tokens(msgspec.Raw(b'{"input_tokens":7}'))
    assert (found, flag) == (None, None)
    assert partial is not None
    assert partial.counters == {"input": 7}
    assert read_raw_tokens(msgspec.Raw(b"{}")) == (None, None, None)


def test_parts_larger_than_their_total_are_not_believed() -> None:
    refused(input_tokens=5, output_tokens=1, input_tokens_details={"cached_tokens": 6})
    refused(input_tokens=5, output_tokens=1, input_tokens_details={"cached_tokens": 3, "cache_write_tokens": 3})
    refused("image", input_tokens=5, output_tokens=1, input_tokens_details={"image_tokens": 6})
    refused("image", input_tokens=5, output_tokens=1, output_tokens_details={"image_tokens": 2})
    refused("image", input_tokens=5, output_tokens=1, output_tokens_details={"text_tokens": 2})
    refused("audio", input_tokens=5, output_tokens=1, output_tokens_details={"text_tokens": 2})


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "path",
    [
        *("input_tokens", "output_tokens", "total_tokens", "input_tokens_details.cached_tokens"),
        *("input_token_details.audio_tokens", "output_tokens_details.reasoning_tokens"),
    ],
)
def test_hostile_figures_are_not_believed(path: str, value: str) -> None:
    outer, _, inner = path.partition(".")
    figures = {"input_tokens": "10", "output_tokens": "4", outer: f'{{"{inner}":{value}}}' if inner else value}
    text = "{" + ",".join(f'"{name}":{figure}' for name, figure in figures.items()) + "}"
    for makes in ("text", "image", "audio"):
        found, partial, flag = read_raw_tokens(msgspec.Raw(text.encode()), makes)
        assert (found, partial) == (None, None)
        assert flag is not None
        assert len(flag) < 200
