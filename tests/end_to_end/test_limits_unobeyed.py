"""A provider that passes over a token limit writes for what the account has, and not for more."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.support.installation import MODEL, OUTPUT_MICROCREDITS, Installation
from tests.support.stepping_provider import LAST, SteppingProvider, chunk, chunked, head, repeat, send

WORD = b'data: {"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def provider() -> Iterator[SteppingProvider]:
    with SteppingProvider() as running:
        yield running


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: SteppingProvider) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("farebox"), provider.url) as running:
        yield running


async def test_a_stream_far_above_its_limit_is_cut_where_the_credits_end(
    farebox: Installation, provider: SteppingProvider
) -> None:
    key = farebox.account("evader", "5")  # 2,500 tokens of output for all of them
    provider.plays["endless"] = [send(chunked()), *[repeat(chunk(WORD), 100), ["sleep", 20]] * 200, send(LAST)]
    body = {"model": MODEL, "messages": MESSAGES, "stream": True, "max_completion_tokens": 1, "mock": "endless"}
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:

        async def one() -> bytes:
            async with session.post(f"{farebox.url}/v1/chat/completions", json=body) as answer:
                assert answer.status == 200
                return await answer.read()

        answers = await asyncio.gather(*[one() for _ in range(8)])
    assert all(b"insufficient_credits" in answer for answer in answers)
    spent = sum(one["charge_microcredits"] for one in farebox.usage("evader", 8))
    assert spent < 8 * 1000 * OUTPUT_MICROCREDITS, "20,000 tokens each were there to be had"


async def test_names_that_a_provider_does_not_know_are_no_limits(farebox: Installation) -> None:
    key = farebox.account("namer", "1")
    report = {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 4000}}
    data = json.dumps(report).encode()
    body: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "n_predict": 1, "num_predict": 1}
    body["mock"] = [send(head("application/json", length=len(data)) + data)]
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session,
        session.post(f"{farebox.url}/v1/chat/completions", json=body) as answer,
    ):
        assert answer.status == 402, "what it may write without a limit is held"
    assert farebox.balance("namer")["microcredits"] == 1_000_000
