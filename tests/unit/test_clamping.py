"""Token limits lowered in a request: only that member changes, and never upwards."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.core.limits import Limit
from proxy.core.outcomes import Refused
from proxy.core.pricing import Price, Tariff
from proxy.pipeline import strict
from proxy.pipeline.admit import hold_bound_microcredits
from proxy.providers.anthropic_messages import Messages
from proxy.providers.clamping import Clamps
from proxy.providers.dialect import BILLED, Head
from proxy.providers.openai_chat import ChatCompletions
from proxy.providers.registry import OPERATIONS

TARIFF = Tariff(Price("m", {"input": 10**9, "output": 2 * 10**9}, "v", assumed_output_tokens=100), 1000)
MESSAGES = [{"role": "user", "content": "max_tokens"}]


def clamped(operation: Clamps, names: tuple[str, ...] | None = None, **body: Any) -> dict[str, Any]:
    return dict(json.loads(operation.clamp(json.dumps(body).encode(), 50, names)))


def test_chat_lowers_every_limit_that_is_there() -> None:
    chat = ChatCompletions()
    assert clamped(chat, messages=MESSAGES, max_tokens=80, max_completion_tokens=40, n_predict=-1) == {
        "messages": MESSAGES,
        "max_tokens": 50,
        "max_completion_tokens": 40,
        "n_predict": 50,
    }, "nothing is known of this server: what it may obey stays"
    assert clamped(chat, max_tokens=None) == {"max_tokens": 50}
    assert clamped(chat, n_predict=7) == {"max_tokens": 50, "n_predict": 7}, "not every server obeys n_predict"
    assert clamped(chat) == {"max_tokens": 50}
    assert clamped(Messages(), max_tokens=51) == {"max_tokens": 50}


def test_gemini_keeps_the_rest_of_its_configuration() -> None:
    operation = next(one for one in OPERATIONS if one.paths[0].suffix.endswith(":generateContent"))
    assert isinstance(operation, Clamps)
    assert clamped(operation) == {"generationConfig": {"maxOutputTokens": 50}}
    assert clamped(operation, generationConfig={"topK": 1, "maxOutputTokens": 30})["generationConfig"] == {
        "topK": 1,
        "maxOutputTokens": 30,
    }
    assert clamped(operation, generation_config={"max_output_tokens": 300}) == {
        "generation_config": {"max_output_tokens": 50}
    }


def make_call(operation: Any, **body: Any) -> Any:
    raw = json.dumps({"model": "m", "messages": MESSAGES, **body}).encode()
    route = SimpleNamespace(endpoint=SimpleNamespace(token_limits=None))
    return SimpleNamespace(
        body=raw,
        ask=operation.read(raw, Head()),
        operation=operation,
        tariff=TARIFF,
        route=route,
        candidates=SimpleNamespace(routes=(route,)),
        limited=None,
    )


@pytest.mark.parametrize("asked", [{"max_tokens": 1000}, {"max_tokens": 1000, "n": 3}])
@pytest.mark.parametrize("available", [200_000, 777_777, 1_000_001])
def test_the_largest_limit_that_can_be_paid_is_found(asked: dict[str, int], available: int) -> None:
    call = make_call(ChatCompletions(), **asked)
    bytes_before = len(call.body)
    limit = strict.afford(call, Refused("balance", None, 9_999_999, available, None, ()))
    assert limit == json.loads(call.body)["max_tokens"] == call.ask.output_limit
    assert hold_bound_microcredits(call.ask, bytes_before, TARIFF) <= available
    assert hold_bound_microcredits(call.ask, bytes_before, TARIFF) > available - 2000 * call.ask.choices


def test_what_waiting_or_nothing_helps_is_left_to_the_refusal() -> None:
    requests = Limit("key:k", "requests", 1)
    for refused in (
        Refused("in_flight", None, 9_999_999, 500_000, None, ()),
        Refused("requests", requests, 1, 0, 1000, ()),
        Refused("balance", None, 9_999_999, 120_000, None, ()),  # not even 16 tokens
    ):
        assert strict.afford(make_call(ChatCompletions(), max_tokens=1000), refused) is None


def test_a_call_without_a_limit_gets_the_one_that_it_is_held_for() -> None:
    call = make_call(ChatCompletions())
    assert strict.limit_output(call) == 100
    assert (json.loads(call.body)["max_tokens"], call.ask.output_limit) == (100, 100)
    assert strict.limit_output(make_call(ChatCompletions(), max_tokens=7)) is None


def test_what_cannot_be_limited_is_refused() -> None:
    call = make_call(ChatCompletions())
    call.operation = SimpleNamespace()
    with pytest.raises(InvalidRequest):
        strict.limit_output(call)


def test_every_operation_that_may_be_without_a_limit_can_be_given_one() -> None:
    """Those that write text for as long as they like; all others say a limit of their own when they read a request."""
    endings = (
        "completions",
        "/messages",
        "generateContent",
        "streamGenerateContent",
        "/chat",
        "/responses",
        "converse",
    )
    writing = [
        one
        for one in OPERATIONS
        if one.billing == BILLED and one.method == "POST" and one.paths[0].suffix.endswith(endings)
    ]
    assert len(writing) > 8
    assert [one.paths[0].suffix for one in writing if not isinstance(one, Clamps)] == []
