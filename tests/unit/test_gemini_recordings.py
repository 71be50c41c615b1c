"""What Google's APIs answered, through the meters: the same bytes out, and the usage that an independent reading finds."""

import json
import random
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest

from proxy.core.usage import Usage
from proxy.providers.dialect import FREE, Ask, Head, Meter, Operation
from proxy.providers.gemini_paths import GEMINI_OPERATIONS, VERTEX_OPERATIONS
from tests.support.recordings import Exchange, exchanges

HOSTS = {"generativelanguage.googleapis.com": GEMINI_OPERATIONS}
EVERY_CUT_BYTES = 1500  # up to here an answer is cut in two at every place
BY_BYTE_BYTES = 20_000  # up to here it is fed byte by byte
RANDOM_CUTS = 4
BLOCKED = "7389cfec1554"  # a prompt that Model Armor stopped: no figure, which is how zeros are written
SIZES = (1, 2, 3, 17, 200, 1460, 65536)


def recorded() -> list[Exchange]:
    return [exchange for exchange in exchanges() if exchange.host.endswith("googleapis.com")]


def operation_of(exchange: Exchange) -> tuple[Operation, Head]:
    for operation in HOSTS.get(exchange.host, VERTEX_OPERATIONS):
        for path in operation.paths:
            pattern = re.sub(r"\\{([a-z_]+)\\}", r"(?P<\1>[^/]+)", re.escape(path.suffix))
            if found := re.fullmatch(pattern, exchange.path):
                params = {name: unquote(value) for name, value in found.groupdict().items()}
                return operation, Head(params=params, query="alt=sse" if exchange.sse else "")
    raise AssertionError(f"{exchange.path} is not open")


def documents(exchange: Exchange) -> list[Any]:
    if not exchange.sse:
        return [json.loads(exchange.response)]
    lines = exchange.response.replace(b"\r\n", b"\n").split(b"\n")
    return [json.loads(line[5:]) for line in lines if line.startswith(b"data:")]


def expected(exchange: Exchange) -> dict[str, int] | None:
    last = documents(exchange)[-1]
    if exchange.id == BLOCKED:
        return {"input": 0, "output": 0, "cached": 0, "reasoning": 0}
    if "predictions" in last:
        tokens = sum(one["embeddings"]["statistics"]["token_count"] for one in last["predictions"])
        return {"input": tokens, "output": 0, "cached": 0, "reasoning": 0}
    used = last.get("usageMetadata")
    if used is None:
        return None
    return {
        "input": used["promptTokenCount"] + used.get("toolUsePromptTokenCount", 0),
        "output": used["totalTokenCount"] - used["promptTokenCount"] - used.get("toolUsePromptTokenCount", 0),
        "cached": used.get("cachedContentTokenCount", 0),
        "reasoning": used.get("thoughtsTokenCount", 0),
    }


def modalities(exchange: Exchange) -> dict[str, int]:
    """Tokens of the prompt that are no text, cached ones included."""
    used = documents(exchange)[-1].get("usageMetadata", {})
    shares = [*used.get("promptTokensDetails", []), *used.get("toolUsePromptTokensDetails", [])]
    kept = {share["modality"]: share["tokenCount"] for share in used.get("cacheTokensDetails", [])}
    found: dict[str, int] = {}
    for share in shares:
        name = {"AUDIO": "input_audio", "VIDEO": "input_video", "IMAGE": "input_image", "DOCUMENT": "input_image"}
        if counter := name.get(share["modality"]):
            left = share["tokenCount"] - kept.get(share["modality"], 0)
            found[counter] = found.get(counter, 0) + left
    if "AUDIO" in kept:
        found["cache_read_audio"] = kept["AUDIO"]
    return found


def totals(usage: Usage | None) -> dict[str, int] | None:
    if usage is None:
        return None
    counters = usage.counters
    return {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cached": counters.get("cache_read", 0) + counters.get("cache_read_audio", 0),
        "reasoning": counters.get("reasoning", 0),
    }


def cuts(body: bytes, seed: str) -> Iterator[list[bytes]]:
    yield [body]
    if len(body) <= EVERY_CUT_BYTES:
        yield from ([body[:at], body[at:]] for at in range(1, len(body)))
    if len(body) <= BY_BYTE_BYTES:
        yield [body[at : at + 1] for at in range(len(body))]
    dice = random.Random(seed)
    for _ in range(RANDOM_CUTS):
        pieces, at = [], 0
        while at < len(body):
            size = dice.choice(SIZES)
            pieces.append(body[at : at + size])
            at += size
        yield pieces


def replay(meter: Meter, pieces: list[bytes]) -> bytes:
    relayed = [meter.feed(piece) for piece in pieces]
    assert all(out is piece for out, piece in zip(relayed, pieces, strict=True))
    return b"".join([*relayed, meter.finish()])


@pytest.mark.parametrize("part", range(4))
def test_answers_come_out_as_they_came_and_are_metered(part: int) -> None:
    answers = [exchange for exchange in recorded() if exchange.ok][part::4]
    assert len(answers) > 60
    for exchange in answers:
        operation, head = operation_of(exchange)
        ask = operation.read(exchange.request, head)
        assert operation.outgoing(exchange.request, ask) is exchange.request
        for pieces in cuts(exchange.response, exchange.id):
            meter = operation.meter(ask, exchange.content_type.lower().encode())
            assert replay(meter, pieces) == exchange.response, exchange.id
            check(meter, exchange, operation)


def check(meter: Meter, exchange: Exchange, operation: Operation) -> None:
    assert meter.flag is None, (exchange.id, meter.flag)
    assert meter.complete, exchange.id
    assert not meter.error, exchange.id
    assert meter.unread_events == 0, exchange.id
    assert meter.usage is not None, exchange.id
    if operation.billing == FREE:
        assert meter.usage == Usage({}), exchange.id
        return
    assert totals(meter.usage) == expected(exchange), exchange.id
    found = {name: count for name, count in meter.usage.counters.items() if name in {*modalities(exchange)}}
    assert found == modalities(exchange), exchange.id


def test_the_same_stream_as_an_array_of_answers() -> None:
    streams = [exchange for exchange in recorded() if exchange.ok and exchange.sse]
    assert len(streams) >= 10
    for exchange in streams:
        operation, head = operation_of(exchange)
        ask = operation.read(exchange.request, Head(params=head.params))
        array = b"[" + b"\n,\r\n".join(json.dumps(one, indent=2).encode() for one in documents(exchange)) + b"\n]\n"
        for pieces in cuts(array, exchange.id):
            meter = operation.meter(ask, b"application/json; charset=utf-8")
            assert meter.streams
            assert replay(meter, pieces) == array, exchange.id
            check(meter, exchange, operation)


def test_what_was_searched_is_counted() -> None:
    searched: dict[str, int] = {}
    for exchange in recorded():
        if exchange.ok and b"googleSearch" in exchange.request:
            operation, head = operation_of(exchange)
            ask = operation.read(exchange.request, head)
            assert ask.units["web_searches"] >= 1
            meter = operation.meter(ask, exchange.content_type.encode())
            replay(meter, [exchange.response])
            assert meter.usage is not None
            searched[exchange.id] = meter.usage.counters.get("web_searches", 0)
    # By hand: two queries of a model billed by the prompt; an empty query and one of a model billed by the query; none.
    assert searched["9c599ba6df47"] == 1
    assert searched["95dcb6967e6e"] == 1
    assert searched["6ed70af70360"] == 0


def test_every_request_that_was_recorded_can_be_read() -> None:
    bounded = 0
    for exchange in recorded():
        operation, head = operation_of(exchange)
        ask: Ask = operation.read(exchange.request, head)
        assert ask.model == re.sub(r".*/models/([^:]+):.*", r"\1", exchange.path)
        bounded += ask.input_bound is not None
        assert operation.billing == FREE or len(operation.prompt_text(exchange.request)) > 0
    assert bounded > 40
