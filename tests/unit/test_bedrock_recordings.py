"""What Bedrock and Cohere really answered, through the meters: the same bytes out, and the provider's own figures."""

import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from botocore.eventstream import EventStreamBuffer

from proxy.core.errors import InvalidRequest
from proxy.providers.bedrock_converse import Converse, ConverseStream
from proxy.providers.cohere_chat import Chat
from proxy.providers.cohere_embed import Embed
from proxy.providers.dialect import Head, Meter, Operation
from tests.support.recordings import Exchange, bedrock, cohere

CONVERSE, CONVERSE_STREAM = Converse(), ConverseStream()
COHERE: dict[str, Operation] = {"/v2/chat": Chat(), "/v2/embed": Embed()}
# Its body ends before its last brace, so that nobody can read it: Farebox answers 400 where Bedrock is recorded with 200.
TORN_REQUESTS = {"6265c840932f"}


def operation_of(exchange: Exchange) -> tuple[Operation, Head]:
    model, name = exchange.path.split("/")[-2:]
    return (CONVERSE_STREAM if name == "converse-stream" else CONVERSE), Head(params={"model": unquote(model)})


def cuts(body: bytes, seed: str) -> Iterator[list[bytes]]:
    yield [body]
    if len(body) < 6000:
        yield [body[at : at + 1] for at in range(len(body))]
    dice = random.Random(seed)
    for _ in range(8):
        pieces, at = [], 0
        while at < len(body):
            size = dice.choice((1, 2, 3, 17, 200, 1460, 65536))
            pieces.append(body[at : at + size])
            at += size
        yield pieces


def replay(meter: Meter, pieces: list[bytes]) -> bytes:
    return b"".join([*(meter.feed(piece) for piece in pieces), meter.finish()])


def reported(exchange: Exchange) -> dict[str, Any]:
    """The usage as botocore and json read it."""
    if not exchange.binary:
        return dict(json.loads(exchange.response)["usage"])
    buffer = EventStreamBuffer()
    buffer.add_data(exchange.response)
    events = [(event.headers[":event-type"], json.loads(event.payload)) for event in buffer]
    return dict(next(payload["usage"] for kind, payload in events if kind == "metadata"))


def check(operation: Operation, exchange: Exchange, head: Head) -> Iterator[Meter]:
    ask = operation.read(exchange.request, head)
    assert operation.outgoing(exchange.request, ask) is exchange.request
    for pieces in cuts(exchange.response, exchange.id):
        meter = operation.meter(ask, exchange.content_type.encode())
        assert replay(meter, pieces) == exchange.response, exchange.id
        assert (meter.flag, meter.unread_events, meter.complete, meter.error) == (None, 0, True, False), exchange.id
        assert meter.streams == exchange.binary
        yield meter


def test_bedrock_answers_come_out_as_they_came_with_the_totals_of_aws() -> None:
    answers = [exchange for exchange in bedrock() if exchange.ok and exchange.id not in TORN_REQUESTS]
    assert len(answers) > 120
    assert sum(exchange.binary for exchange in answers) == 6
    for exchange in answers:
        operation, head = operation_of(exchange)
        usage = reported(exchange)
        for meter in check(operation, exchange, head):
            assert meter.usage is not None
            counters = meter.usage.counters
            assert meter.usage.total_tokens == usage["totalTokens"], exchange.id
            assert counters["input"] == usage["inputTokens"], exchange.id
            assert counters["output"] == meter.usage.output_tokens == usage["outputTokens"], exchange.id
            assert counters.get("cache_read") == usage.get("cacheReadInputTokens"), exchange.id
            assert counters.get("cache_write_5m") == usage.get("cacheWriteInputTokens"), exchange.id


def test_what_bedrock_requests_ask_for_is_read() -> None:
    media = 0
    for exchange in bedrock():
        operation, head = operation_of(exchange)
        if exchange.id in TORN_REQUESTS:
            with pytest.raises(InvalidRequest):
                operation.read(exchange.request, head)
            continue
        ask = operation.read(exchange.request, head)
        body = json.loads(exchange.request)
        assert ask.model == head.params["model"]
        assert ask.stream == exchange.path.endswith("converse-stream")
        assert ask.output_limit == body["inferenceConfig"].get("maxTokens")
        text = json.dumps(body)
        kinds = ('"image": {', '"document": {', '"video": {')
        assert ask.media_parts == sum(text.count(kind) for kind in kinds), exchange.id
        media += ask.media_parts
        assert body["messages"][0]["content"][0].get("text", "") in operation.prompt_text(exchange.request)
    assert media > 20


def test_streamed_output_is_tallied() -> None:
    for exchange in bedrock():
        if exchange.binary:
            meter = CONVERSE_STREAM.meter(
                CONVERSE_STREAM.read(b"{}", operation_of(exchange)[1]), b"application/vnd.amazon.eventstream"
            )
            replay(meter, [exchange.response])
            assert meter.output_bytes == len(meter.output_text.encode()) >= reported(exchange)["outputTokens"] / 2
            assert meter.output_events > 0


def test_cohere_answers_come_out_as_they_came_with_what_cohere_bills() -> None:
    answers = [exchange for exchange in cohere() if exchange.ok]
    assert len(answers) == 11
    for exchange in answers:
        document = json.loads(exchange.response)
        billed = (document.get("usage") or document["meta"])["billed_units"]
        for meter in check(COHERE[exchange.path], exchange, Head()):
            assert meter.usage is not None
            names = {"input_tokens": "input", "output_tokens": "output", "image_tokens": "input_image"}
            assert meter.usage.counters == {names[name]: figure for name, figure in billed.items()}


def test_errors_are_told_apart_from_answers_by_their_status_only() -> None:
    refused = [exchange for exchange in (*bedrock(), *cohere()) if not exchange.ok]
    assert len(refused) >= 7
    for exchange in refused:
        assert isinstance(json.loads(exchange.response)["message"], str)
