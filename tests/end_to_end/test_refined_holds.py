"""A call whose bytes the credits do not cover, and whose tokens they do: counted, held and served; otherwise refused."""

import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.support.installation import MODEL, Installation
from tests.support.mock_provider import MockProvider

PROSE = "The tide carries ships past the harbour wall, and the keeper writes their names down. " * 500


@pytest.fixture(scope="module")
def provider() -> Iterator[MockProvider]:
    with MockProvider() as running:
        yield running


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: MockProvider) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("farebox"), provider) as running:
        yield running


async def post(farebox: Installation, key: str, content: Any) -> tuple[int, Any]:
    body = {"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": content}]}
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session,
        session.post(f"{farebox.url}/v1/chat/completions", json=body) as answer,
    ):
        return answer.status, json.loads(await answer.read())


async def test_a_prompt_is_held_for_its_tokens_where_its_bytes_are_not_covered(farebox: Installation) -> None:
    ample = farebox.account("ample", "100")
    assert (await post(farebox, ample, PROSE))[0] == 200
    by_bytes = farebox.usage("ample", 1)[0]["hold_microcredits"]
    assert by_bytes > len(PROSE) * 1000
    scarce = farebox.account("scarce", f"{by_bytes * 0.6 / 1_000_000:.6f}")
    status, answer = await post(farebox, scarce, PROSE)
    assert status == 200, answer
    [record] = farebox.usage("scarce", 1)
    assert by_bytes * 0.3 < record["hold_microcredits"] < by_bytes * 0.6
    assert record["settlement_basis"] == "reported"
    assert farebox.balance("scarce")["held"] == 0


async def test_what_even_its_tokens_are_too_dear_for_stays_refused(
    farebox: Installation, provider: MockProvider
) -> None:
    key = farebox.account("poor", "12")
    before = len(provider.received)
    status, answer = await post(farebox, key, PROSE)
    assert (status, answer["error"]["code"]) == (402, "insufficient_credits")
    assert len(provider.received) == before


async def test_a_sound_of_unknown_length_is_never_counted_down(farebox: Installation, provider: MockProvider) -> None:
    key = farebox.account("sound", "30")
    before = len(provider.received)
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    status, _ = await post(farebox, key, [{"type": "text", "text": PROSE}, sound])
    assert status == 402
    assert len(provider.received) == before
