"""What OpenAI and those that speak its responses and embeddings answered, through the meters: bytes, and the provider's totals."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.core.usage import Usage
from proxy.providers.azure_openai import OPERATIONS as AZURE
from proxy.providers.dialect import BILLED, JSON, SSE, Head, Meter, Operation
from proxy.providers.openai_operations import OPERATIONS
from tests.support.recordings import Exchange, exchanges

SHARED = {
    path.shared: operation
    for operation in OPERATIONS
    for path in operation.paths
    if "{" not in operation.paths[0].suffix
}
FETCH = next(one for one in OPERATIONS if one.method == "GET" and one.paths[0].suffix == "/responses/{response_id}")
BY_BYTE_BYTES = 20_000


def operation_of(exchange: Exchange) -> tuple[Operation, Head] | None:
    """The operation at the end of a recorded path, whatever the provider's own base is."""
    head = Head(content_type=JSON)
    parts = exchange.path.split("/")
    if parts[-1].startswith("resp_"):
        return FETCH, Head(params={"response_id": parts[-1]})
    for tail in (parts[-2:], parts[-1:]):
        operation = SHARED.get("/v1/" + "/".join(tail))
        if operation is not None:
            return operation, head
    return None


def recorded(suffix: str) -> list[tuple[Exchange, Operation, Head]]:
    found = []
    for exchange in exchanges():
        where = operation_of(exchange)
        if where is not None and where[0].paths[0].suffix == suffix and "cohere" not in exchange.host:
            found.append((exchange, *where))
    return found


def cuts(body: bytes, seed: str) -> Iterator[list[bytes]]:
    yield [body]
    if len(body) <= BY_BYTE_BYTES:
        yield [body[at : at + 1] for at in range(len(body))]
    dice = random.Random(seed)
    for _ in range(4):
        pieces, at = [], 0
        while at < len(body):
            size = dice.choice((1, 2, 3, 17, 200, 1460, 65536))
            pieces.append(body[at : at + size])
            at += size
        yield pieces


def metered(operation: Operation, head: Head, exchange: Exchange) -> Iterator[Meter]:
    """A meter for each way to cut the answer; every one of them gave back the bytes that came."""
    ask = operation.read(exchange.request, head)
    for pieces in cuts(exchange.response, exchange.id):
        meter = operation.meter(ask, SSE if exchange.sse else JSON)
        relayed = b"".join([*[meter.feed(piece) for piece in pieces], meter.finish()])
        assert relayed == exchange.response, exchange.id
        yield meter


def responses_in(exchange: Exchange) -> list[dict[str, Any]]:
    if not exchange.sse:
        return [json.loads(exchange.response)]
    lines = exchange.response.replace(b"\r\n", b"\n").split(b"\n")
    events = [json.loads(line[5:]) for line in lines if line.startswith(b"data:") and line[5:].strip() != b"[DONE]"]
    return [event["response"] for event in events if event.get("response")]


def totals(usage: Usage) -> dict[str, int]:
    names = {"cached": "cache_read", "written": "cache_write_5m", "reasoning": "reasoning"}
    counters = usage.counters
    parts = {name: counters.get(counter, 0) for name, counter in names.items()}
    return {"input": usage.input_tokens, "output": usage.output_tokens, **parts}


def reported(usage: dict[str, Any]) -> dict[str, int]:
    given, made = usage["input_tokens_details"], usage["output_tokens_details"]
    return {
        "input": usage["input_tokens"],
        "output": usage["output_tokens"],
        "cached": given["cached_tokens"],
        "written": given.get("cache_write_tokens", 0),
        "reasoning": made["reasoning_tokens"],
    }


def tools_of(response: dict[str, Any]) -> dict[str, int]:
    items = response.get("output") or []
    told = (response.get("tool_usage") or {}).get("web_search") or {}
    searches = [
        item
        for item in items
        if item["type"] == "web_search_call" and item.get("action", {}).get("type", "search") == "search"
    ]
    containers = {item["container_id"] for item in items if item["type"] == "code_interpreter_call"}
    files = [item for item in items if item["type"] == "file_search_call"]
    found = {
        "web_searches": told.get("num_requests", len(searches)),
        "file_searches": len(files),
        "code_sessions": len(containers),
    }
    return {name: count for name, count in found.items() if count}


@pytest.mark.parametrize("part", range(4))
def test_responses_come_out_as_they_came_and_are_metered(part: int) -> None:
    answers = [one for one in recorded("/responses") if one[0].ok]
    assert len(answers) > 150
    assert len({exchange.host for exchange, *_ in answers}) >= 4
    for exchange, operation, head in answers[part::4]:
        last = responses_in(exchange)[-1]
        for meter in metered(operation, head, exchange):
            assert (meter.flag, meter.unread_events, meter.error) == (None, 0, False), exchange.id
            assert meter.complete, exchange.id
            kept = last.get("store") is not False or last.get("background")
            assert meter.resource == (last["id"] if kept else None), exchange.id
            assert meter.service_tier == last.get("service_tier"), exchange.id
            assert meter.pending == (last["status"] in {"queued", "in_progress"}), exchange.id
            if meter.pending:
                assert meter.usage is None
                continue
            assert meter.usage is not None, exchange.id
            assert totals(meter.usage) == reported(last["usage"]), exchange.id
            units = {name: meter.usage.counters[name] for name in tools_of(last)}
            assert units == tools_of(last), exchange.id


def test_a_background_response_is_pending_until_it_is_fetched() -> None:
    asked = [one for one in recorded("/responses") if one[0].ok and not one[0].sse]
    pending = [meter for one in asked for meter in metered(one[1], one[2], one[0]) if meter.pending]
    assert pending
    assert all(meter.resource and meter.usage is None and meter.flag is None for meter in pending)
    fetched = recorded("/responses/{response_id}")
    assert len(fetched) >= 4
    for exchange, operation, head in fetched:
        for meter in metered(operation, head, exchange):
            assert not meter.pending
            assert meter.resource == head.params["response_id"]
            assert meter.usage is not None
            assert totals(meter.usage) == reported(responses_in(exchange)[-1]["usage"])


def test_compaction_is_billed_and_counting_is_not() -> None:
    compacted, counted = recorded("/responses/compact"), recorded("/responses/input_tokens")
    assert len(compacted) >= 3
    assert len(counted) >= 2
    for exchange, operation, head in compacted:
        assert operation.billing == BILLED
        for meter in metered(operation, head, exchange):
            assert meter.usage is not None
            assert totals(meter.usage) == reported(json.loads(exchange.response)["usage"])
            assert (meter.resource, meter.pending, meter.complete) == (None, False, True)
    for exchange, operation, head in counted:
        assert operation.billing != BILLED
        for meter in metered(operation, head, exchange):
            assert (meter.usage, meter.flag) == (None, None)


def test_embeddings_come_out_as_they_came_and_are_metered() -> None:
    answers = [one for one in recorded("/embeddings") if one[0].ok]
    assert len(answers) >= 6
    for exchange, operation, head in answers:
        used = json.loads(exchange.response)["usage"]
        for meter in metered(operation, head, exchange):
            assert meter.usage is not None
            assert meter.usage.counters == {"input": used.get("prompt_tokens", used["total_tokens"])}
            assert (meter.flag, meter.complete) == (None, True)


def test_every_recorded_request_is_read_and_sent_as_it_came() -> None:
    seen = 0
    for suffix in ("/responses", "/responses/compact", "/responses/input_tokens", "/embeddings"):
        for exchange, operation, head in recorded(suffix):
            body = json.loads(exchange.request)
            ask = operation.read(exchange.request, head)
            assert ask.model == body["model"]
            assert ask.stream == bool(body.get("stream"))
            named = [body.get("previous_response_id"), body.get("conversation")]
            assert list(ask.resources) == [one for one in named if one]
            assert operation.outgoing(exchange.request, ask) is exchange.request
            assert isinstance(operation.prompt_text(exchange.request), str)
            seen += 1
    assert seen > 180


def test_azure_reads_what_openai_reads() -> None:
    answers = [exchange for exchange in exchanges() if exchange.host.endswith(".azure.com")]
    assert answers
    by_path = {(one.method, one.paths[0].suffix): one for one in AZURE}
    for exchange in answers:
        operation = by_path["POST", exchange.path]
        last = responses_in(exchange)[-1]
        for meter in metered(operation, Head(), exchange):
            assert meter.usage is not None
            assert totals(meter.usage) == reported(last["usage"])
