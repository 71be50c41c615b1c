import json
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.providers.rerank import Rerank
from tests.support.answers import HOSTILE, plain

RERANK = Rerank()
DOCUMENTS = ["one", "two", "three"]


def body(documents: Any = DOCUMENTS, query: str = "which?", **members: Any) -> bytes:
    return json.dumps({"model": "rerank-2.5", "query": query, "documents": documents, **members}).encode()


def counters(**answer: Any) -> dict[str, int]:
    meter = plain(RERANK, {"results": [{"index": 0, "relevance_score": 0.5}], **answer})
    assert (meter.flag, meter.complete) == (None, True)
    assert meter.usage is not None
    return dict(meter.usage.counters)


def test_the_query_is_read_once_for_each_document() -> None:
    request = body(query="q" * 1000, documents=["x"] * 50)
    ask = RERANK.read(request)
    assert (ask.model, ask.output_limit) == ("rerank-2.5", 0)
    assert ask.input_bound is not None
    assert 50 * 1000 + 50 <= ask.input_bound <= 50 * 1002 + len(request)
    assert RERANK.outgoing(request, ask) is request
    assert "q" * 1000 in RERANK.prompt_text(request)


def test_search_units_hold_a_hundred_documents_or_pieces_of_500_tokens() -> None:
    assert RERANK.read(body()).units == {"search_units": 1}
    assert RERANK.read(body(["x"] * 100)).units["search_units"] >= 1
    assert RERANK.read(body(["x"] * 101)).units["search_units"] == 2
    assert RERANK.read(body(["x" * 500_000])).units["search_units"] >= 10
    assert RERANK.read(body([{"text": "x"}, {"image": "y"}])).units == {"search_units": 1}


@pytest.mark.parametrize(
    "request_body",
    [b'{"model":"m"}', b'{"model":"m","query":"x"}', body("x"), body(5), body(None), b'{"query":"x","documents":[]}'],
)
def test_requests_that_are_none_are_refused(request_body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        RERANK.read(request_body)


def test_usage_by_the_names_of_every_server() -> None:
    assert counters(usage={"total_tokens": 26}) == {"input": 26}
    assert counters(usage={"prompt_tokens": 26, "completion_tokens": 0, "total_tokens": 26}) == {"input": 26}
    assert counters(usage={"total_tokens": 0}) == {"input": 0}
    assert counters(meta={"billed_units": {"search_units": 2}, "api_version": {"version": "1"}}) == {"search_units": 2}
    assert counters(usage={"search_units": 1, "total_tokens": 90, "cost": 0.001}) == {"search_units": 1}
    assert counters(meta={"tokens": {"input_tokens": 8}, "billed_units": {}}) == {"input": 8}
    assert counters(meta={"tokens": {"input_tokens": 8}}, usage={"total_tokens": 9}) == {"input": 9}


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("shape", ['{"usage":{"total_tokens":@}}', '{"meta":{"billed_units":{"search_units":@}}}'])
def test_hostile_figures_are_not_believed(shape: str, value: str) -> None:
    meter = plain(RERANK, shape.replace("@", value).encode())
    assert meter.usage is None
    assert meter.flag is not None
    assert len(meter.flag) < 200


def test_an_answer_without_usage_is_flagged_unless_it_is_an_error() -> None:
    for document in ({"results": []}, {"usage": {}}, {"usage": None, "meta": None}):
        assert plain(RERANK, document).flag is not None
    failed = plain(RERANK, {"error": "x"})
    assert (failed.error, failed.flag) == (True, None)
    for torn in (b"[]", b"<html>", b'{"usage":'):
        assert plain(RERANK, torn).flag is not None
