"""Prices through the real process: the shipped book's, those that `farebox price set` writes, markups, and what has none."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.support.installation import Installation
from tests.support.mock_provider import PROVIDER_KEY, MockProvider, expected_usage

EXTRA = """
[providers.openai]
base_url = "{url}/v1"
api_key = "{key}"
models = ["gpt-*", "ft:*"]
[markups]
"openai/gpt-4o-mini*" = "1.5"
"""


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with MockProvider() as provider:
        extra = EXTRA.format(url=provider.url, key=PROVIDER_KEY)
        with Installation(tmp_path_factory.mktemp("farebox"), provider, extra=extra) as running:
            yield running


def body(model: str) -> dict[str, Any]:
    return {"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}]}


async def post(farebox: Installation, key: str, model: str) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{farebox.url}/openai/v1/chat/completions", json=body(model), headers=headers) as answer,
    ):
        return answer.status, json.loads(await answer.read())


@pytest.mark.parametrize(
    ("model", "input_usd", "output_usd", "markup"),
    [
        ("gpt-4o-2024-08-06", 2.5, 10, 1),
        ("ft:gpt-4o-2024-08-06:org::id", 3.75, 15, 1),
        ("gpt-4o-mini-2024-07-18", 0.15, 0.6, 1.5),
    ],
)
async def test_a_model_is_charged_as_the_shipped_book_says(
    farebox: Installation, model: str, input_usd: float, output_usd: float, markup: float
) -> None:
    key = farebox.account(f"of {model}", "100")
    status, _ = await post(farebox, key, model)
    assert status == 200
    [record] = farebox.usage(f"of {model}", 1)
    read, written = expected_usage(body(model))
    assert record["cost_nano_usd"] == -(-(read * input_usd + written * output_usd) * 1000 // 1)
    assert record["charge_microcredits"] == -(-record["cost_nano_usd"] * markup // 1)
    assert record["hold_microcredits"] >= record["charge_microcredits"]
    assert record["price_version"].startswith("book-20")


async def test_a_price_that_is_set_is_taken_up_without_a_restart(farebox: Installation) -> None:
    key = farebox.account("setter", "100")
    status, answer = await post(farebox, key, "gpt-of-tomorrow")
    assert (status, answer["error"]["code"]) == (402, "model_not_priced")
    farebox.command("price", "set", "gpt-of-tomorrow", "input=1", "output=3")
    os.kill(farebox.pid, signal.SIGHUP)
    async with asyncio.timeout(10):
        while (await post(farebox, key, "gpt-of-tomorrow"))[0] != 200:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
    [record] = farebox.usage("setter", 1)
    read, written = expected_usage(body("gpt-of-tomorrow"))
    assert record["charge_microcredits"] == (read + 3 * written) * 1000
    assert record["price_version"].startswith("config-")
    farebox.audit()
