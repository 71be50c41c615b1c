"""SIGTERM under load: streams finish within the grace, what is longer is cut and settled, nobody new is served, exit 0."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.books import Books, balances, is_quiet, open_accounts, stores_of
from tests.support.hammer import wait_until
from tests.support.installation import MODEL, Installation, charge_of
from tests.support.mock_provider import INPUT_TOKENS, MockProvider
from tests.support.redis_server import RedisServer, start_redis

PATHS = ("/v1/chat/completions", "/v1/messages")
DRAIN_S = 2.5
BALANCE = 1_000_000_000


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    directory = Path(tempfile.mkdtemp(prefix="fb-", dir="/tmp"))
    server = start_redis(directory)
    yield server
    server.kill()
    shutil.rmtree(directory)


async def call(
    farebox: Installation, key: str, path: str, *, stream: bool, **mock: Any
) -> tuple[int | None, bytes, bool]:
    """Status, body so far, and whether it had a clean end."""
    body = {"model": MODEL, "max_tokens": 2000, "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    headers = {"authorization": f"Bearer {key}"}
    status, received = None, b""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(farebox.url + path, json={**body, "mock": mock}, headers=headers) as answer:
                status = answer.status
                async for piece in answer.content.iter_any():
                    received += piece
        except aiohttp.ClientError:
            return status, received, False
    return status, received, True


async def stop_while(farebox: Installation, provider: MockProvider, calls: list[Any]) -> tuple[int, float, list[Any]]:
    """Begins the calls, sends SIGTERM when the provider has them all; exit code, seconds to the end, answers."""
    begun = len(provider.received) + len(calls)
    running = asyncio.gather(*calls)

    async def all_forwarded() -> bool:
        return len(provider.received) >= begun

    await wait_until(all_forwarded, 10)
    await asyncio.sleep(0.1)
    at = time.monotonic()
    stopping = asyncio.get_running_loop().run_in_executor(None, farebox.stop)
    await asyncio.sleep(0.5)
    assert not stopping.done()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", farebox.port)
    code = await stopping
    return code, time.monotonic() - at, await running


async def test_sigterm_lets_calls_finish_within_the_grace_and_cuts_the_rest(tmp_path: Path, redis: RedisServer) -> None:
    with MockProvider() as provider:
        farebox = Installation(tmp_path, provider, workers=2, redis=redis.url, server=f"drain_s = {DRAIN_S}")
        with farebox:
            keys = await open_accounts(farebox, {"short": BALANCE, "long": BALANCE})
            await _finished(farebox, provider, keys["short"])
            farebox.start()
            await _cut(farebox, provider, keys["long"])
            farebox.start()
            async with stores_of(farebox) as stores:
                await wait_until(lambda: is_quiet(stores), 10)
            books = Books.read(farebox)
            farebox.audit()
    books.check_entries()
    assert {record["settlement_basis"] for record in books.records} == {"reported", "counted"}
    assert len(books.records) == len(provider.received)


async def _finished(farebox: Installation, provider: MockProvider, key: str) -> None:
    tokens = 30
    streams = [call(farebox, key, path, stream=True, chunks=tokens, pace_ms=40) for path in PATHS * 3]
    plain = [call(farebox, key, path, stream=False, chunks=tokens, delay_ms=1200) for path in PATHS]
    code, seconds, answers = await stop_while(farebox, provider, streams + plain)
    assert code == 0
    assert seconds < DRAIN_S + 1
    assert [(status, clean) for status, _, clean in answers] == [(200, True)] * 8
    assert all(body.count(b'"word "') == tokens for _, body, _ in answers[:6])
    assert await _account(farebox, "short") == (8 * charge_of((INPUT_TOKENS, tokens)), 0)


async def _cut(farebox: Installation, provider: MockProvider, key: str) -> None:
    dropped = provider.dropped
    streams = [call(farebox, key, path, stream=True, chunks=1000, pace_ms=20) for path in PATHS * 2]
    plain = [call(farebox, key, path, stream=False, delay_ms=20_000) for path in PATHS]
    code, seconds, answers = await stop_while(farebox, provider, streams + plain)
    assert code == 0
    assert DRAIN_S - 0.5 < seconds < DRAIN_S + 5
    assert [(status, clean) for status, _, clean in answers] == [(200, False)] * 4 + [(None, False)] * 2
    assert provider.dropped == dropped + 6
    spent, held = await _account(farebox, "long")
    relayed = sum(body.count(b'"word "') for _, body, _ in answers)
    assert held == 0
    assert spent >= charge_of((0, relayed))
    assert spent < charge_of((6 * 100, relayed + 100))


async def _account(farebox: Installation, name: str) -> tuple[int, int]:
    """What the account has paid and what is held, with Farebox itself stopped."""
    async with stores_of(farebox) as stores:
        account_id = (await stores.directory.account(name)).id
        balance = (await balances(stores))[account_id]
        return balance.spent_microcredits, balance.held_microcredits
