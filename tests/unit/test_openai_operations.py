"""What holds for every operation of OpenAI's dialect, one row each."""

import json
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.core.usage import COUNTERS
from proxy.providers.dialect import BILLED, FREE, JSON, SSE, Ask, Head, Operation
from proxy.providers.openai_operations import OPERATIONS
from tests.support.answers import play
from tests.support.forms import FORM, form

BODIES: dict[str, dict[str, Any]] = {
    "/chat/completions": {"messages": []},
    "/completions": {"prompt": "x"},
    "/responses": {"input": "x"},
    "/responses/compact": {"input": "x"},
    "/responses/input_tokens": {"input": "x"},
    "/embeddings": {"input": "x"},
    "/moderations": {"input": "x"},
    "/images/generations": {"prompt": "x"},
    "/audio/speech": {"input": "x"},
    "/rerank": {"query": "x", "documents": ["y"]},
}
FORMS = ("/images/edits", "/images/variations", "/audio/transcriptions", "/audio/translations")
STORED = Head(params={"response_id": "resp_1"})
MODEL = "omni-moderation-latest"
EVERY = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.paths[0].suffix}")
WITH_BODY = pytest.mark.parametrize("suffix", [*BODIES, *FORMS])
BY_SUFFIX = {one.paths[0].suffix: one for one in OPERATIONS if one.method == "POST"}


def request_of(suffix: str) -> tuple[bytes, Head]:
    if suffix in FORMS:
        return form({"file": b"\x00" * 5000, "image": b"\x00" * 5000}, model=MODEL), FORM
    return json.dumps({"model": MODEL, **BODIES[suffix]}).encode(), Head(content_type=JSON)


def read(operation: Operation) -> tuple[bytes, Ask]:
    suffix = operation.paths[0].suffix
    if "{" in suffix:
        return b"", operation.read(b"", STORED)
    body, head = request_of(suffix)
    return body, operation.read(body, head)


@EVERY
def test_paths_are_shared_under_v1_and_methods_are_known(operation: Operation) -> None:
    assert operation.dialect == "openai"
    assert operation.method in {"GET", "POST", "DELETE"}
    assert operation.billing in {BILLED, FREE}
    for path in operation.paths:
        assert path.shared == f"/v1{path.suffix}"


def test_no_two_operations_claim_a_path() -> None:
    claimed = [(one.method, path.shared) for one in OPERATIONS for path in one.paths]
    assert len(set(claimed)) == len(claimed)


@EVERY
def test_what_is_sent_is_what_came(operation: Operation) -> None:
    body, ask = read(operation)
    assert operation.outgoing(body, ask) is body
    assert all(name in COUNTERS for name in ask.units)
    assert isinstance(operation.prompt_text(body), str)


@WITH_BODY
def test_a_body_that_was_gathered_in_pieces_is_read_alike(suffix: str) -> None:
    operation = BY_SUFFIX[suffix]
    body, head = request_of(suffix)
    gathered = bytearray(body)
    ask = operation.read(gathered, head)
    assert ask == operation.read(body, head)
    assert operation.outgoing(gathered, ask) is gathered
    assert operation.prompt_text(gathered) == operation.prompt_text(body)
    renamed = operation.outgoing(gathered, ask, "omni-moderation-other")
    assert operation.read(bytes(renamed), head).model == "omni-moderation-other"


@WITH_BODY
def test_a_model_that_is_named_twice_is_refused(suffix: str) -> None:
    body, head = request_of(suffix)
    twice = (
        body.replace(b'"model"', b'"model":"x","model"', 1)
        if suffix in BODIES
        else body.replace(b"--4f2-AbC\r\n", body[: body.index(b"--4f2-AbC\r\n", 5)] + b"--4f2-AbC\r\n", 1)
    )
    assert len(twice) > len(body)
    with pytest.raises(InvalidRequest) as caught:
        BY_SUFFIX[suffix].read(twice, head)
    assert caught.value.param == "model"


@EVERY
@pytest.mark.parametrize("content_type", [JSON, SSE, b"", b"audio/mpeg", b"text/plain"])
@pytest.mark.parametrize(
    "answer", [b"", b"\x00\xff\r\n\r\n", b"data: {}\n\ndata: [DONE]\n\n", b'{"usage":{}}', b"[" * 10_000]
)
def test_no_answer_breaks_a_meter_or_is_changed(operation: Operation, content_type: bytes, answer: bytes) -> None:
    _, ask = read(operation)
    for pieces in ([answer], [answer[at : at + 1] for at in range(min(len(answer), 300))] + [answer[300:]]):
        meter = operation.meter(ask, content_type)
        assert play(meter, *pieces) == answer
        assert meter.flag is None or len(meter.flag) < 200
        for counters in (meter.usage, meter.partial):
            assert counters is None or all(name in COUNTERS and count >= 0 for name, count in counters.counters.items())
