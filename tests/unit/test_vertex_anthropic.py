import json
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.core.usage import Usage
from proxy.providers.dialect import FREE, JSON, SSE, Head
from proxy.providers.vertex_anthropic import RawCountTokens, RawPredict

PLAIN, STREAM = RawPredict("vertex", ()), RawPredict("vertex", (), stream=True)
HEAD = Head(params={"model": "claude-sonnet-4@20250514"})
MESSAGE: dict[str, Any] = {
    "anthropic_version": "vertex-2023-10-16",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "Hi"}],
}


def test_the_model_is_in_the_path() -> None:
    request = json.dumps(MESSAGE).encode()
    ask = PLAIN.read(request, HEAD)
    assert (ask.model, ask.output_limit, ask.stream) == ("claude-sonnet-4@20250514", 50, False)
    assert PLAIN.outgoing(request, ask, "other") is request
    assert PLAIN.prompt_text(request) == "Hi"
    assert json.loads(PLAIN.clamp(request, 7, None))["max_tokens"] == 7
    assert STREAM.read(request, HEAD).stream
    assert PLAIN.read(json.dumps(MESSAGE | {"stream": True}).encode(), HEAD).stream


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"nonsense",
        b'[{"messages":[],"max_tokens":1}]',
        json.dumps(MESSAGE | {"model": "claude-opus-4"}).encode(),
        json.dumps(MESSAGE).encode()[:-1] + b',"max_tokens":5}',
    ],
)
def test_what_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        PLAIN.read(body, HEAD)


@pytest.mark.parametrize("model", ["", "..", 'x"', "a/b"])
def test_the_path_must_name_a_model(model: str) -> None:
    with pytest.raises(InvalidRequest):
        PLAIN.read(json.dumps(MESSAGE).encode(), Head(params={"model": model}))


def test_answers_are_metered_as_anthropics_own() -> None:
    ask = PLAIN.read(json.dumps(MESSAGE).encode(), HEAD)
    usage = {"input_tokens": 8, "cache_read_input_tokens": 3, "output_tokens": 2}
    meter = PLAIN.meter(ask, JSON)
    meter.feed(json.dumps({"type": "message", "content": [], "usage": usage}).encode())
    meter.finish()
    assert meter.usage == Usage({"input": 8, "cache_read": 3, "output": 2})
    events = STREAM.meter(ask, SSE)
    events.feed(b'event: message_delta\ndata: {"type":"message_delta","usage":%b}\n\n' % json.dumps(usage).encode())
    assert events.usage == meter.usage
    assert events.streams


def test_counting_is_free_and_names_its_model_in_the_body() -> None:
    counting = RawCountTokens("vertex", ())
    request = json.dumps({"model": "claude-sonnet-4", "messages": []}).encode()
    ask = counting.read(request, Head())
    assert counting.billing == FREE
    assert ask.model == "claude-sonnet-4"
    assert counting.outgoing(request, ask) is request
    assert json.loads(counting.outgoing(request, ask, "other"))["model"] == "other"
