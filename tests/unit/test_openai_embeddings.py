import base64
import json
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.providers.dialect import JSON, Ask
from proxy.providers.encodings import count_now
from proxy.providers.openai_embeddings import Embeddings
from tests.support.answers import HOSTILE, plain, play, state

EMBEDDINGS = Embeddings()


def body(value: Any, **members: Any) -> bytes:
    return json.dumps({"model": "text-embedding-3-small", "input": value, **members}).encode()


def answer(count: int = 1, usage: Any = None, size: int = 1536) -> bytes:
    vector = base64.b64encode(b"\x00\x01\x02\x03" * size).decode()
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)]
    used = {"prompt_tokens": 9, "total_tokens": 9} if usage is None else usage
    return json.dumps({"object": "list", "data": data, "model": "text-embedding-3-small", "usage": used}).encode()


@pytest.mark.parametrize(
    ("value", "tokens", "media"),
    [
        ("hello", 1, 0),
        (["hello", "there"], 2, 0),
        ([1, 2, 3], 3, 0),
        ([[1, 2], [3]], 3, 0),
        ([{"image": "https://example.com/a.png"}, {"text": "x"}], 0, 2),
    ],
)
def test_inputs_of_every_form_are_read_and_nothing_is_written(value: Any, tokens: int, media: int) -> None:
    ask = EMBEDDINGS.read(body(value))
    assert (ask.model, ask.output_limit, ask.choices, ask.media_parts) == ("text-embedding-3-small", 0, 1, media)
    counted = count_now(EMBEDDINGS.prompt_text(body(value)), "text-embedding-3-small")
    assert tokens <= counted <= tokens + 2
    request = body(value, encoding_format="base64", dimensions=256)
    assert EMBEDDINGS.outgoing(request, EMBEDDINGS.read(request)) is request
    assert json.loads(EMBEDDINGS.outgoing(request, ask, "other"))["model"] == "other"


@pytest.mark.parametrize("value", [None, 5, [], {}, [1, "a"], [[]], [[["a"]]]])
def test_inputs_of_no_known_form_are_refused(value: Any) -> None:
    if value == [[]]:
        assert EMBEDDINGS.read(body(value)).media_parts == 0  # an empty list of tokens: the provider's to refuse
        return
    with pytest.raises(InvalidRequest) as caught:
        EMBEDDINGS.read(body(value))
    assert caught.value.param == "input"


def test_only_input_is_billed_and_a_reported_zero_is_a_zero() -> None:
    for usage, counters in (
        ({"prompt_tokens": 9, "total_tokens": 9}, {"input": 9}),
        ({"total_tokens": 7}, {"input": 7}),
        ({"total_tokens": 0}, {"input": 0}),
        ({"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4}, {"input": 4, "output": 0}),
    ):
        meter = plain(EMBEDDINGS, answer(usage=usage))
        assert meter.usage is not None
        assert meter.usage.counters == counters
        assert (meter.flag, meter.complete, meter.error) == (None, True, False)


def test_an_answer_of_any_length_is_read_by_its_end() -> None:
    long = answer(count=300)
    assert len(long) > 2_000_000
    for size in (1, 4096, 65_536, len(long)):
        if size == 1:
            pieces = [long[:-40_000], *[long[at : at + 1] for at in range(len(long) - 40_000, len(long))]]
        else:
            pieces = [long[at : at + size] for at in range(0, len(long), size)]
        meter = EMBEDDINGS.meter(Ask(model="m"), JSON)
        assert play(meter, *pieces) == long
        assert meter.usage is not None
        assert meter.usage.counters == {"input": 9}


def test_little_is_kept_of_a_long_answer() -> None:
    meter = EMBEDDINGS.meter(Ask(model="m"), JSON)
    piece = b"A" * 65_536
    for _ in range(200):
        assert meter.feed(piece) is piece
    assert len(meter._kept) < 1 << 17
    meter.finish()
    assert meter.flag is not None


@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_figures_are_not_believed(value: str, count: int) -> None:
    document = answer(count, usage={"prompt_tokens": "@"}).replace(b'"@"', value.encode())
    meter = plain(EMBEDDINGS, document)
    assert meter.usage is None
    assert meter.flag is not None
    assert len(meter.flag) < 200


@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.parametrize("usage", [{}, {"other": 1}, 5, "x", [1]])
def test_an_answer_that_does_not_tell_its_usage_is_flagged(usage: Any, count: int) -> None:
    meter = plain(EMBEDDINGS, answer(count, usage))
    assert meter.usage is None
    assert meter.flag is not None


@pytest.mark.parametrize(
    "document", [b"<html>", b"[]", b"5", b'{"usage":', b"\xff", answer(300)[:-1], answer(300)[:-20]]
)
def test_a_torn_answer_is_flagged(document: bytes) -> None:
    meter = plain(EMBEDDINGS, document)
    assert meter.usage is None
    assert meter.flag is not None


def test_an_error_and_nothing_at_all() -> None:
    failed = plain(EMBEDDINGS, {"error": {"message": "x"}})
    assert (failed.error, failed.flag, failed.usage) == (True, None, None)
    assert state(plain(EMBEDDINGS, b""))[:5] == (None, None, None, False, False)
