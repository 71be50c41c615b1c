import json
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.core.usage import Usage
from proxy.providers.dialect import JSON, Ask, Head, Meter, Operation
from proxy.providers.gemini_embeddings import BatchEmbedContents, EmbedContent, Predict

ONE, BATCH, PREDICT = EmbedContent("gemini", ()), BatchEmbedContents("gemini", ()), Predict("vertex", ())
HEAD = Head(params={"model": "gemini-embedding-001"})
CONTENT = {"parts": [{"text": "Hello"}]}
PICTURE = {"parts": [{"inlineData": {"mimeType": "image/png", "data": "A" * 400}}]}


def write(**members: Any) -> bytes:
    return json.dumps(members).encode()


def answered(operation: Operation, ask: Ask, answer: Any) -> Meter:
    meter = operation.meter(ask, JSON)
    meter.feed(json.dumps(answer).encode())
    meter.finish()
    return meter


def test_one_content() -> None:
    request = write(content=CONTENT, taskType="RETRIEVAL_QUERY")
    ask = ONE.read(request, HEAD)
    assert ask == Ask(model="gemini-embedding-001", output_limit=0)
    assert ONE.outgoing(request, ask) is request
    assert ONE.prompt_text(request) == "Hello"


def test_a_batch_names_its_model_in_each_request() -> None:
    request = write(requests=[{"model": "models/gemini-embedding-001", "content": CONTENT}, {"content": PICTURE}])
    ask = BATCH.read(request, HEAD)
    assert (ask.model, ask.media_parts, ask.input_bound) == ("gemini-embedding-001", 1, len(request) - 402)
    assert BATCH.prompt_text(write(requests=[{"content": CONTENT}, {"content": CONTENT}])) == "Hello\nHello"
    renamed = json.loads(BATCH.outgoing(request, ask, "other"))
    assert renamed["requests"][0] == {"model": "models/other", "content": CONTENT}
    assert renamed["requests"][1] == {"content": PICTURE}
    assert BATCH.read(write(requests=[]), HEAD).media_parts == 0


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"requests": None},
        {"requests": {"content": CONTENT}},
        {"requests": ["Hello"]},
        {"requests": [{"content": "Hello"}]},
        {"requests": [{"content": CONTENT, "model": "models/gemini-embedding-2"}]},
    ],
)
def test_batches_that_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        BATCH.read(write(**members), HEAD)


def test_another_model_than_the_paths_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        ONE.read(write(content=CONTENT, model="models/other"), HEAD)
    with pytest.raises(InvalidRequest):
        ONE.read(b'{"content":{},"Content":{}}', HEAD)


def test_usage_where_it_is_told() -> None:
    told = {"embedding": {"values": [0.5]}, "usageMetadata": {"promptTokenCount": 11, "totalTokenCount": 11}}
    meter = answered(ONE, ONE.read(write(content=CONTENT), HEAD), told)
    assert meter.usage == Usage({"input": 11})
    assert meter.complete


def test_usage_that_is_not_told_is_counted_where_all_of_the_input_is_text() -> None:
    silent = {"embedding": {"values": [0.5]}}
    meter = answered(ONE, ONE.read(write(content=CONTENT), HEAD), silent)
    assert (meter.usage, meter.flag, meter.complete) == (None, None, True)
    assert answered(ONE, ONE.read(write(content=PICTURE), HEAD), silent).flag is not None


@pytest.mark.parametrize("figure", [-1, 1.5, "7", 10**12])
def test_hostile_figures(figure: Any) -> None:
    meter = answered(ONE, Ask(model="m"), {"usageMetadata": {"promptTokenCount": figure}})
    assert meter.usage is None
    assert meter.flag is not None
    meter = answered(PREDICT, Ask(model="m"), predictions(figure))
    assert meter.usage is None
    assert meter.flag is not None


def predictions(*counts: Any) -> dict[str, Any]:
    return {
        "predictions": [{"embeddings": {"values": [0.5], "statistics": {"token_count": count}}} for count in counts]
    }


def test_predict_reports_tokens_for_each_text() -> None:
    request = write(instances=[{"content": "a", "task_type": "CLUSTERING", "title": "t"}, {"content": "b"}])
    ask = PREDICT.read(request, HEAD)
    assert PREDICT.prompt_text(request).split("\n")[-1] == "b"
    assert answered(PREDICT, ask, predictions(4, 5)).usage == Usage({"input": 9})
    missing = answered(PREDICT, ask, {"predictions": [*predictions(4)["predictions"], {}]})
    assert (missing.usage, missing.flag) == (None, None)
    assert answered(PREDICT, ask, predictions(10**9, 1)).flag is not None


@pytest.mark.parametrize(
    "instances",
    [None, [{"prompt": "a cat"}], [{"content": "a", "image": {}}], [{"image": {"bytesBase64Encoded": "AA"}}], {"content": "a"}, ["a"]],
)  # fmt: skip
def test_predict_is_open_for_texts_to_embed_only(instances: Any) -> None:
    with pytest.raises(InvalidRequest):
        PREDICT.read(write(instances=instances), HEAD)
