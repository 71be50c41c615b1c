"""A usage chunk that comes unasked is the caller's; one that Farebox asked for is not."""

import pytest

from proxy.providers.dialect import SSE, Ask
from proxy.providers.openai_chat import ChatCompletions
from proxy.providers.quirks import as_metered

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
STREAM = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n' + USAGE + b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("provider", "relayed"),
    [
        ("huggingface", STREAM),
        ("huggingface-novita", STREAM),
        ("openrouter", STREAM),
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
