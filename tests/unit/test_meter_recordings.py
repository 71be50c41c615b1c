"""What real providers answered, through the meters: the same bytes out, and the usage that an independent reading finds."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.core.usage import Usage
from proxy.providers.anthropic_messages import Messages
from proxy.providers.dialect import JSON, SSE, Ask, Meter, Operation
from proxy.providers.openai_chat import ChatCompletions
from tests.support.recordings import Exchange, anthropic_messages, openai_chat

CHAT, MESSAGES = ChatCompletions(), Messages()
EVERY_CUT_BYTES = 1500  # up to here an answer is cut in two at every place
BY_BYTE_BYTES = 20_000  # up to here it is fed byte by byte
RANDOM_CUTS = 4
# Another model's work was billed beside the figures (an advisor's): believed, and said not to be all.
MORE_IS_BILLED = frozenset(("1f5836f1b1ce", "3d4b75b6b73b", "6dad81dadcee", "3ac664cf1dd1"))
# OpenRouter and Anthropic asked another model for advice in these, which is billed at that one's rates, and OpenRouter parsed
# a file and Groq searched: the totals are the provider's, and the call is charged at its hold.
BILLED_BESIDE = {"3ac664cf1dd1", "120bfe6425f6", "4651cf9228ee", "1f5836f1b1ce", "3d4b75b6b73b", "6dad81dadcee"}


def replay(meter: Meter, pieces: list[bytes]) -> bytes:
    relayed = [meter.feed(piece) for piece in pieces]
    return b"".join([*relayed, meter.finish()])


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
            size = dice.choice((1, 2, 3, 17, 200, 1460, 65536))
            pieces.append(body[at : at + size])
            at += size
        yield pieces


def documents(exchange: Exchange) -> list[Any]:
    """Every JSON document of an answer, read as plainly as can be."""
    if not exchange.sse:
        return [json.loads(exchange.response)]
    lines = exchange.response.replace(b"\r\n", b"\n").split(b"\n")
    data = [line[5:].strip() for line in lines if line.startswith(b"data:")]
    return [json.loads(line) for line in data if line and line != b"[DONE]"]


def openai_totals(exchange: Exchange) -> dict[str, int] | None:
    used = [document["usage"] for document in documents(exchange) if document.get("usage")]
    if not used:
        return None
    last = used[-1]
    details, written = last.get("prompt_tokens_details") or {}, last.get("completion_tokens_details") or {}
    cached = details.get("cached_tokens", last.get("num_cached_tokens", last.get("cached_tokens")))
    return {
        "input": last["prompt_tokens"],
        "output": last["completion_tokens"],
        "cached": cached or 0,
        "reasoning": min(written.get("reasoning_tokens") or 0, last["completion_tokens"]),
    }


def anthropic_totals(exchange: Exchange) -> dict[str, int] | None:
    merged: dict[str, Any] = {}
    for document in documents(exchange):
        for holder in (document, document.get("message") or {}):
            merged |= {name: figure for name, figure in (holder.get("usage") or {}).items() if figure is not None}
    if not merged:
        return None
    cached = merged.get("cache_read_input_tokens", 0)
    return {
        "input": merged["input_tokens"] + cached + merged.get("cache_creation_input_tokens", 0),
        "output": merged["output_tokens"],
        "cached": cached,
        "reasoning": (merged.get("output_tokens_details") or {}).get("thinking_tokens", 0),
    }


def totals(usage: Usage | None) -> dict[str, int] | None:
    if usage is None:
        return None
    return {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cached": usage.counters.get("cache_read", 0),
        "reasoning": usage.counters.get("reasoning", 0),
    }


def check(
    operation: Operation, ask: Ask, exchange: Exchange, expected: dict[str, int] | None, bytes_out: bytes
) -> None:
    for pieces in cuts(exchange.response, exchange.id):
        meter = operation.meter(ask, SSE if exchange.sse else JSON)
        assert replay(meter, pieces) == bytes_out, exchange.id
        assert totals(meter.usage) == expected, exchange.id
        assert (meter.flag is not None) == (exchange.id in BILLED_BESIDE), exchange.id
        assert meter.unread_events == 0, exchange.id
        assert meter.complete or meter.error, exchange.id


@pytest.mark.parametrize("part", range(4))
def test_openai_chat_answers_come_out_as_they_came_and_are_metered(part: int) -> None:
    answers = [exchange for exchange in openai_chat() if exchange.ok][part::4]
    assert len(answers) > 50
    for exchange in answers:
        ask = CHAT.read(exchange.request)
        assert ask.model == json.loads(exchange.request)["model"]
        assert CHAT.outgoing(exchange.request, ask) is exchange.request or not ask.usage_asked
        # As if the caller had asked for its usage itself: nothing is to be taken out.
        asked = Ask(model=ask.model, stream=ask.stream, usage_asked=True, choices=ask.choices)
        check(CHAT, asked, exchange, openai_totals(exchange), exchange.response)


def test_openai_usage_chunks_that_farebox_asked_for_are_taken_out_and_nothing_else() -> None:
    taken = 0
    for exchange in openai_chat():
        if not exchange.ok or not exchange.sse:
            continue
        events = exchange.response.split(b"\n\n")
        kept = [event for event in events if not _is_usage_chunk(event)]
        taken += len(events) - len(kept)
        ask = Ask(model="any", stream=True, usage_asked=False)
        check(CHAT, ask, exchange, openai_totals(exchange), b"\n\n".join(kept))
    assert taken >= 15


def _is_usage_chunk(event: bytes) -> bool:
    if not event.startswith(b"data: {"):
        return False
    chunk = json.loads(event[6:])
    return chunk.get("choices") == [] and bool(chunk.get("usage"))


@pytest.mark.parametrize("part", range(4))
def test_anthropic_answers_come_out_as_they_came_and_are_metered(part: int) -> None:
    answers = [exchange for exchange in anthropic_messages() if exchange.ok][part::4]
    assert len(answers) > 30
    for exchange in answers:
        ask = MESSAGES.read(exchange.request)
        assert MESSAGES.outgoing(exchange.request, ask) is exchange.request
        check(MESSAGES, ask, exchange, anthropic_totals(exchange), exchange.response)


def test_output_is_tallied_where_there_is_any() -> None:
    for operation, recorded in ((CHAT, openai_chat()), (MESSAGES, anthropic_messages())):
        streams = [exchange for exchange in recorded if exchange.ok and exchange.sse]
        for exchange in streams:
            meter = operation.meter(Ask(model="any", stream=True), SSE)
            replay(meter, [exchange.response])
            assert meter.output_bytes == len(meter.output_text.encode()) > 0, exchange.id
            assert meter.output_events > 0
