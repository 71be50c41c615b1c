import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidRequest
from proxy.providers.dialect import Head
from proxy.providers.openai_images import ANOTHER_MODEL, UNFINISHED, ImageEdits, ImageGenerations, ImageVariations
from tests.support.answers import HOSTILE, ODDMENTS, cuts_change_nothing, event, plain, streamed
from tests.support.forms import FORM, form

IMAGES, EDITS = ImageGenerations(), ImageEdits()
USED = {
    "input_tokens": 50,
    "input_tokens_details": {"image_tokens": 40, "text_tokens": 10},
    "output_tokens": 1056,
    "total_tokens": 1106,
}
COUNTERS = {"input": 10, "input_image": 40, "output": 0, "output_image": 1056}
PARTIAL = event("image_generation.partial_image", b64_json="AAAA", partial_image_index=0)
COMPLETED = event("image_generation.completed", b64_json="AAAA", usage=USED)


def body(**members: Any) -> bytes:
    return json.dumps({"model": "gpt-image-1", "prompt": "a cat", **members}).encode()


def limit(**members: Any) -> int:
    found = IMAGES.read(body(**members)).output_limit
    assert found is not None
    return found


def refused(request: bytes, head: Head | None = None) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        IMAGES.read(request, head or Head())
    return caught.value.param


# Requests


def test_what_is_asked_for_is_read() -> None:
    ask = IMAGES.read(body(n=3, stream=True))
    assert (ask.model, ask.stream, ask.choices, ask.units, ask.media_parts) == (
        "gpt-image-1",
        True,
        3,
        {"output_images": 3},
        0,
    )
    assert IMAGES.read(body()).choices == 1
    request = body()
    assert IMAGES.outgoing(request, ask) is request
    assert json.loads(IMAGES.outgoing(request, ask, "other"))["model"] == "other"
    assert IMAGES.prompt_text(request) == "a cat"


@pytest.mark.parametrize(
    ("quality", "size", "tokens"),
    [
        *(("low", "1024x1024", 272), ("medium", "1024x1024", 1056), ("high", "1024x1024", 4160)),
        *(("low", "1024x1536", 408), ("medium", "1024x1536", 1584), ("high", "1024x1536", 6240)),
        *(("high", "1536x1024", 6208), ("auto", "auto", 6240), (None, None, 6240), ("max", "3840x2160", 33_000)),
    ],
)
def test_the_hold_covers_the_documented_tokens_of_an_image_and_little_more(
    quality: Any, size: Any, tokens: int
) -> None:
    held = limit(quality=quality, size=size)
    assert tokens <= held
    assert held <= tokens * 1.1 or quality == "max"


def test_the_hold_grows_with_what_else_is_made() -> None:
    plain_limit = limit(size="1024x1024")
    assert limit(size="1024x1024", partial_images=3) == plain_limit + 300
    assert limit(size="1024x1024", output_format="gif") == plain_limit * 9
    assert limit(size="1024x1024", output_format="gif", frame_count=16) == plain_limit * 16
    assert limit(size="enormous") == limit(size="3840x2160")
    assert limit(quality="unheard of") > limit(quality="high")


def test_members_that_cost_are_read_strictly() -> None:
    for name, value in (
        ("n", 0),
        ("n", 101),
        ("n", "2"),
        ("n", 1.5),
        ("size", 5),
        ("quality", []),
        ("stream", 1),
        ("partial_images", -1),
    ):
        assert refused(body(**{name: value})) == name
    assert refused(b'{"prompt":"x"}') == "model"
    assert refused(body()[:-1] + b',"n":1,"n":10}') == "n"
    assert EDITS.read(body(images=None)).media_parts == 0


def test_an_edit_is_a_form_whose_images_are_media_and_not_tokens_a_byte() -> None:
    picture = b"\x89PNG" + b"\x00" * 5_000_000
    request = form(
        {"image[]": picture, "mask": picture}, model="gpt-image-1", prompt="a hat", n="2", quality="low", stream="true"
    )
    ask = EDITS.read(request, FORM)
    assert (ask.model, ask.stream, ask.choices, ask.units, ask.media_parts) == (
        "gpt-image-1",
        True,
        2,
        {"output_images": 2},
        2,
    )
    assert ask.input_bound is not None
    assert ask.input_bound < 2000
    assert EDITS.outgoing(request, ask) is request
    renamed = EDITS.outgoing(request, ask, "another-model")
    assert EDITS.read(renamed, FORM).model == "another-model"
    assert renamed.replace(b"another-model", b"gpt-image-1") == request
    assert EDITS.prompt_text(request) == ""
    deployed = Head(params={"model": "deployed"}, content_type=FORM.content_type)
    assert EDITS.read(form({"image": b"x"}), deployed).model == "deployed"
    assert EDITS.outgoing(form({"image": b"x"}), ask, "other") == form({"image": b"x"})


def test_forms_are_read_as_strictly() -> None:
    for fields, param in (
        ({}, "model"),
        ({"model": "m", "n": "0"}, "n"),
        ({"model": "m", "n": "x"}, "n"),
        ({"model": "m", "stream": "x"}, "stream"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            ImageVariations().read(form({"image": b"x"}, **fields), FORM)
        assert caught.value.param == param


def test_an_edit_in_json_counts_its_references() -> None:
    ask = EDITS.read(body(images=[{"image_url": "x"}, {"file_id": "y"}], mask={"file_id": "z"}))
    assert (ask.media_parts, ask.input_bound) == (3, None)
    assert EDITS.read(body(images=[], mask=None)).media_parts == 0


# Answers


def test_tokens_are_told_apart_by_what_they_are() -> None:
    meter = plain(IMAGES, {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": USED})
    assert meter.usage is not None
    assert meter.usage.counters == COUNTERS
    assert (meter.flag, meter.complete) == (None, True)


def test_without_tokens_the_images_are_what_is_billed() -> None:
    for count in (0, 1, 3):
        meter = plain(IMAGES, {"created": 1, "data": [{"url": "https://x"}] * count})
        assert meter.usage is not None
        assert meter.usage.counters == {"output_images": count}
    assert plain(IMAGES, {"created": 1}).flag is not None
    failed = plain(IMAGES, {"error": {"message": "x"}})
    assert (failed.error, failed.flag, failed.usage) == (True, None, None)


def test_a_drawing_of_another_model_is_charged_at_the_hold() -> None:
    meter = plain(IMAGES, {"data": [{}], "usage": USED, "svg_usage": {"model": "gpt-6", "total_tokens": 9}})
    assert meter.flag == ANOTHER_MODEL
    assert meter.usage is not None


def test_a_stream_tells_its_tokens_with_each_finished_image() -> None:
    meter = streamed(IMAGES, PARTIAL, PARTIAL, COMPLETED)
    assert meter.usage is not None
    assert (meter.usage.counters, meter.flag, meter.complete) == (COUNTERS, None, True)
    two = streamed(IMAGES, PARTIAL, COMPLETED, COMPLETED)
    assert two.usage is not None
    assert two.usage.counters == {name: 2 * count for name, count in COUNTERS.items()}
    edited = streamed(EDITS, event("image_edit.completed", b64_json="x", usage=USED))
    assert edited.usage == meter.usage
    untold = streamed(IMAGES, event("image_generation.completed", b64_json="x"))
    assert untold.usage is not None
    assert untold.usage.counters == {"output_images": 1}


def test_an_unfinished_image_is_charged_at_the_hold() -> None:
    for pieces in ((), (PARTIAL,), (PARTIAL, COMPLETED[:-40])):
        meter = streamed(IMAGES, *pieces)
        assert (meter.flag, meter.usage, meter.complete) == (UNFINISHED, None, False)
    failed = streamed(IMAGES, event("error", error={"message": "x"}))
    assert (failed.error, failed.flag, failed.usage) == (True, None, None)


def test_one_image_that_is_not_believed_spoils_the_sum() -> None:
    bad = event("image_generation.completed", usage={**USED, "output_tokens": -1})
    for pieces in (
        (bad, COMPLETED),
        (COMPLETED, bad),
        (COMPLETED, bad, COMPLETED),
        (COMPLETED, b"data: {broken\n\n", COMPLETED),
    ):
        meter = streamed(IMAGES, *pieces)
        assert meter.usage is None
        assert meter.flag is not None


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("path", ["input_tokens", "output_tokens", "input_tokens_details.image_tokens"])
def test_hostile_figures_are_not_believed(path: str, value: str) -> None:
    outer, _, inner = path.partition(".")
    usage = json.dumps({**USED, outer: {inner: "@"} if inner else "@"}).replace('"@"', value).encode()
    for meter in (
        plain(IMAGES, b'{"data":[{}],"usage":%b}' % usage),
        streamed(IMAGES, b'data: {"type":"image_generation.completed","usage":%b}\n\n' % usage),
    ):
        assert meter.usage is None
        assert meter.flag is not None


def test_an_image_of_many_megabytes_is_read_to_its_usage() -> None:
    long = event("image_generation.completed", b64_json="A" * 8_000_000, usage=USED)
    meter = streamed(IMAGES, PARTIAL, long, by=65_536)
    assert meter.usage is not None
    assert meter.usage.counters == COUNTERS


PARTS = [PARTIAL, COMPLETED, b'data: {"type":5}\n\n', *ODDMENTS]


@given(st.lists(st.sampled_from(PARTS), max_size=8), st.lists(st.integers(0, 1500), max_size=8))
def test_the_cuts_of_a_stream_change_nothing(parts: list[bytes], at: list[int]) -> None:
    cuts_change_nothing(IMAGES, b"".join(parts), at)
