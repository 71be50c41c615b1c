"""A call on its candidates in turn: what an attempt that was not processed leaves behind."""

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.pipeline import attempts
from proxy.pipeline.condition import Condition, RestRules
from proxy.pipeline.exchange import ClientLeft
from proxy.providers.openai_chat import ChatCompletions


class Provider:
    """Answers 429 to everything, and its client leaves meanwhile."""

    def __init__(self, exchange: Any) -> None:
        self.exchange = exchange
        self.status, self.headers, self.sent, self.closed = 429, [(b"retry-after", b"7")], True, False

    async def start(self) -> None:
        self.exchange.left = True

    def close(self) -> None:
        self.closed = True


async def test_who_leaves_between_two_attempts_owes_nothing_for_the_one_that_was_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exchange: Any = SimpleNamespace(left=False, on_left=None)
    provider = Provider(exchange)
    monkeypatch.setattr(attempts, "open_upstream", lambda _: provider)
    routes = [SimpleNamespace(endpoint=SimpleNamespace(signer=None, condition=Condition(RestRules()))) for _ in "ab"]
    call: Any = SimpleNamespace(
        candidates=SimpleNamespace(order=lambda _: routes),
        forwarded_at=0.0,
        exchange=exchange,
        route=routes[0],
        sent=False,
        attempts=0,
    )
    with contextlib.suppress(ClientLeft):
        await attempts.first_answer(call, None, 1)  # type: ignore[arg-type]
        raise AssertionError("the client has left")
    assert (provider.closed, call.sent, call.attempts) == (True, False, 1)


async def test_another_provider_gets_the_limit_of_mode_strict_under_the_name_that_it_obeys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[bytes] = []
    exchange: Any = SimpleNamespace(left=False, on_left=None)

    def open_it(call: Any) -> Provider:
        sent.append(call.body)
        return Provider(exchange)

    monkeypatch.setattr(attempts, "open_upstream", open_it)
    first, second = [
        SimpleNamespace(endpoint=SimpleNamespace(signer=None, condition=Condition(RestRules()), token_limits=(name,)))
        for name in ("max_tokens", "max_completion_tokens")
    ]
    call: Any = SimpleNamespace(
        candidates=SimpleNamespace(order=lambda _: [second]),
        forwarded_at=0.0,
        exchange=exchange,
        operation=ChatCompletions(),
        caller=SimpleNamespace(markup_ppm=None),
        route=first,
        body=b'{"max_tokens":9}',
        limited=(b'{"max_tokens":20}', 9),
        sent=False,
        attempts=0,
    )
    router: Any = SimpleNamespace(tariff=lambda *_: None)
    await attempts.first_answer(call, router, 0)
    assert sent == [b'{"max_completion_tokens":9}']
