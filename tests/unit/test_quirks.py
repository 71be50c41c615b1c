"""A usage chunk that comes unasked is the caller's; one that Farebox asked for is not."""

import pytest

from proxy.providers.dialect import SSE, Ask
from proxy.providers.openai_chat import ChatCompletions
from proxy.providers.quirks import as_metered, as_sent

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
STREAM = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n' + USAGE + b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("provider", "relayed"),
    [
        ("huggingface", STREAM),
        ("huggingface-novita", STREAM),
        ("openrouter", STREAM),
        ("mistral", STREAM),
        ("openai", STREAM.replace(USAGE, b"")),
        ("local", STREAM.replace(USAGE, b"")),
        ("huggingfaces", STREAM.replace(USAGE, b"")),
    ],
)
def test_who_sends_usage_unasked_has_it_relayed(provider: str, relayed: bytes) -> None:
    meter = ChatCompletions().meter(as_metered(Ask(model="m", stream=True), provider), SSE)
    assert meter.feed(STREAM) + meter.finish() == relayed
    assert meter.usage is not None
    assert meter.usage.total_tokens == 5


def test_the_ask_stays_as_it_is_where_nothing_changes() -> None:
    for ask in (Ask(model="m"), Ask(model="m", stream=True, usage_asked=True)):
        assert as_metered(ask, "openrouter") is ask


@pytest.mark.parametrize(
    ("provider", "asked"), [("mistral", False), ("mistral-eu", False), ("openrouter", True), ("x", True)]
)
def test_nobody_is_asked_for_usage_who_refuses_to_be(provider: str, *, asked: bool) -> None:
    body = b'{"model":"m","stream":true,"messages":[]}'
    sent = ChatCompletions().outgoing(body, as_sent(Ask(model="m", stream=True), provider))
    assert (b"include_usage" in sent) == asked
    assert asked or sent == body


def test_what_was_not_asked_of_a_stream_of_mistral_is_metered() -> None:
    piece = STREAM.replace(USAGE, b"").replace(
        b"}]}", b'}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
    )
    meter = ChatCompletions().meter(as_metered(Ask(model="m", stream=True), "mistral"), SSE)
    assert meter.feed(piece) + meter.finish() == piece
    assert meter.usage is not None
    assert meter.usage.total_tokens == 5
