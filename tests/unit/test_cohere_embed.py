import json
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.providers.cohere_embed import OPERATIONS, Embed, Rerank
from proxy.providers.dialect import JSON, Ask, Meter

EMBED, RERANK = Embed(), Rerank()


def answer(operation: Embed | Rerank, meta: Any) -> Meter:
    meter = operation.meter(Ask(model="m"), JSON)
    document = json.dumps({"embeddings": {"float": [[0.5]]}, "results": [], "meta": meta}).encode()
    for at in range(0, len(document), 7):
        assert meter.feed(document[at : at + 7]) == document[at : at + 7]
    assert meter.finish() == b""
    assert not meter.streams
    return meter


def billed(**units: Any) -> dict[str, Any]:
    return {"api_version": {"version": "2"}, "billed_units": units}


def test_the_paths() -> None:
    assert [(path.suffix, path.shared) for operation in OPERATIONS for path in operation.paths] == [
        ("/v2/embed", "/v2/embed"),
        ("/v1/embed", "/v1/embed"),
        ("/v2/rerank", "/v2/rerank"),
        ("/v1/rerank", None),  # without a provider it is the OpenAI dialect's
    ]


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ({"input_tokens": 4}, {"input": 4}),
        ({"input_tokens": 4, "image_tokens": 0}, {"input": 4, "input_image": 0}),
        ({"input_tokens": 100, "image_tokens": 2716, "images": 1}, {"input": 100, "input_image": 2716}),
        ({"input_tokens": 104, "text_tokens": 4, "image_tokens": 100}, {"input": 4, "input_image": 100}),
        ({"text_tokens": 4, "image_tokens": 100}, {"input": 4, "input_image": 100}),
        ({"image_tokens": 100, "images": 1}, {"input_image": 100}),
        ({"input_tokens": 4, "images": 0}, {"input": 4}),
    ],
)
def test_embeddings_are_charged_by_text_and_image_tokens(units: dict[str, Any], expected: dict[str, int]) -> None:
    meter = answer(EMBED, billed(**units))
    assert meter.flag is None
    assert meter.usage is not None
    assert meter.usage.counters == expected


@pytest.mark.parametrize(
    "units", [{"images": 1}, {"input_tokens": 4, "images": 1}, {"input_tokens": 4, "classifications": 1}]
)
def test_what_is_billed_without_a_counter_is_not_waved_through(units: dict[str, Any]) -> None:
    meter = answer(EMBED, billed(**units))
    assert meter.usage is None
    assert meter.flag is not None


def test_without_figures_embeddings_are_counted_and_searches_are_charged_at_the_hold() -> None:
    for meta in (None, {}, {"billed_units": {}}):
        meter = answer(EMBED, meta)
        assert (meter.usage, meter.flag, meter.complete) == (None, None, True)
        assert answer(RERANK, meta).flag is not None


def test_searches_are_charged_by_the_unit() -> None:
    meter = answer(RERANK, billed(search_units=2))
    assert meter.flag is None
    assert meter.usage is not None
    assert meter.usage.counters == {"search_units": 2}
    assert meter.usage.total_tokens == 0
    for figure in (-1, 1.5, "1", True):
        meter = answer(RERANK, billed(search_units=figure))
        assert meter.usage is None
        assert meter.flag is not None


@pytest.mark.parametrize(
    ("documents", "searches"),
    [(["d"], 1), (["d"] * 100, 1), (["d"] * 101, 2), (["d" * 600] * 100, 2), ([{"text": "d"}], 1)],
)
def test_a_rerank_holds_for_its_documents(documents: list[Any], searches: int) -> None:
    ask = RERANK.read(json.dumps({"model": "rerank-v3.5", "query": "q", "documents": documents}).encode())
    assert ask.units == {"search_units": searches}
    assert ask.output_limit == 0
    assert (ask.input_bound or 0) >= len("q") * len(documents), "for a price that knows tokens only"
    long = RERANK.read(json.dumps({"model": "m", "query": "q" * 5000, "documents": documents}).encode())
    assert long.units["search_units"] >= len(documents) * 9 / 100


def test_an_embedding_generates_nothing_and_counts_its_pictures() -> None:
    inputs = [{"content": [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {"url": "x"}}]}]
    body = {"model": "embed-v4.0", "max_tokens": None, "inputs": inputs, "images": ["data:image/png;base64,xx"]}
    ask = EMBED.read(json.dumps(body).encode())
    assert (ask.model, ask.output_limit, ask.media_parts, ask.stream) == ("embed-v4.0", 0, 2, False)
    assert "one" in EMBED.prompt_text(json.dumps(body).encode())
    texts = json.dumps({"model": "embed-v4.0", "texts": ["two", "three"], "images": None}).encode()
    assert EMBED.read(texts).media_parts == 0
    assert EMBED.prompt_text(texts) == "two\nthree"
    assert EMBED.outgoing(texts, ask) is texts
    assert json.loads(RERANK.outgoing(texts, ask, "other"))["model"] == "other"


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        (EMBED, b'{"texts": ["a"]}'),
        (EMBED, b'{"model": "m", "images": "a"}'),
        (EMBED, b'{"model": "m", "inputs": [5]}'),
        (RERANK, b'{"model": "m", "query": "q"}'),
        (RERANK, b'{"model": "m", "query": "q", "documents": []}'),
        (RERANK, b'{"model": "m", "query": "q", "documents": ["a"], "documents": ["a", "b"]}'),
    ],
)
def test_requests_that_cannot_be_metered_are_refused(operation: Embed | Rerank, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        operation.read(body)


def test_a_plain_answer_of_another_kind_is_told() -> None:
    for operation in (EMBED, RERANK):
        meter = operation.meter(Ask(model="m"), JSON)
        meter.feed(b"<html>")
        meter.finish()
        assert meter.flag is not None
