"""The counting process: right counts, taken in turn, and calls that are counted whatever happens to it."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.core.errors import Unavailable
from proxy.providers.encodings import count_now
from proxy.providers.tokens import TokenCounter

PROSE = "The quick brown fox jumps over the lazy dog, and nobody is surprised. "


@pytest.fixture
async def counter() -> AsyncIterator[TokenCounter]:
    made = TokenCounter()
    yield made
    await made.close()


def process_of(counter: TokenCounter) -> subprocess.Popen[bytes]:
    assert counter._process is not None
    return counter._process


@pytest.mark.parametrize(
    "text", ["hello world", "漢字😀" * 3, "<|endoftext|>", "a \ud800 b", PROSE * 1000, "x" * 40_000]
)
async def test_counts_are_those_of_the_encoding(counter: TokenCounter, text: str) -> None:
    for model in ("gpt-4o", "gpt-4", "claude-é"):
        assert await counter.count(text, model) == count_now(text, model)


async def test_nothing_is_started_for_nothing(counter: TokenCounter) -> None:
    assert await counter.count("", "gpt-4o") == 0
    assert counter._process is None


async def test_a_small_text_does_not_wait_for_large_ones(counter: TokenCounter) -> None:
    await counter.warm(("gpt-4o",))
    order: list[str] = []

    async def counted(name: str, text: str) -> None:
        await counter.count(text, "gpt-4o")
        order.append(name)

    await asyncio.gather(*[counted("large", PROSE * 10_000) for _ in range(4)], counted("small", PROSE))
    assert order[0] == "small"


async def test_a_small_text_waits_for_a_slice_however_many_large_ones_there_are(counter: TokenCounter) -> None:
    await counter.warm(("gpt-4o",))
    asked: list[bool] = []
    ask = counter._ask

    async def noted(text: str, model: str) -> int:
        asked.append(text == PROSE)
        return await ask(text, model)

    counter._ask = noted  # type: ignore[method-assign]
    large = asyncio.gather(*[counter.count(PROSE * 1000, "gpt-4o") for _ in range(200)])
    await asyncio.sleep(0.02)
    assert not large.done()
    before = len(asked)
    await counter.count(PROSE, "gpt-4o")
    assert asked.index(True) <= before + 1
    await large


async def test_the_event_loop_is_not_held_up_while_an_encoding_loads(counter: TokenCounter) -> None:
    counting = asyncio.gather(counter.count(PROSE * 5000, "gpt-4o"), counter.count(PROSE, "gpt-4"))
    busy, longest = time.process_time(), 0.0
    while not counting.done():
        await asyncio.sleep(0.001)
        # CPU time of this process: what other processes take from it is not our doing.
        now = time.process_time()
        busy, longest = now, max(longest, now - busy)
    assert longest < 0.1


async def test_a_process_that_dies_is_replaced(counter: TokenCounter) -> None:
    await counter.warm(("gpt-4o",))
    first = process_of(counter)
    os.kill(first.pid, signal.SIGKILL)
    assert await counter.count("hello world", "gpt-4o") == 2
    assert process_of(counter).pid != first.pid
    assert first.returncode == -signal.SIGKILL


async def test_a_cancelled_count_spoils_no_other(counter: TokenCounter) -> None:
    await counter.warm(("gpt-4o",))
    large = asyncio.gather(counter.count(PROSE * 100_000, "gpt-4o"))
    await asyncio.sleep(0.05)
    large.cancel()
    with pytest.raises(asyncio.CancelledError):
        await large
    assert await counter.count("hello world", "gpt-4o") == 2


async def test_once_there_is_no_time_nobody_waits_for_a_count(counter: TokenCounter) -> None:
    await counter.warm(("gpt-4o",))
    process = process_of(counter)
    waiting = asyncio.gather(*[counter.count(PROSE * 1000, "gpt-4o") for _ in range(200)], return_exceptions=True)
    await asyncio.sleep(0.02)
    counter.give_up()
    async with asyncio.timeout(2):
        ends = await waiting
    assert sum(isinstance(end, Unavailable) for end in ends) > 190
    with pytest.raises(Unavailable):
        await counter.count("hello world", "gpt-4o")
    assert process.poll() is not None


async def test_signals_to_the_group_do_not_end_it(counter: TokenCounter) -> None:
    await counter.warm(("gpt-4o",))
    process = process_of(counter)
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    assert await counter.count("hello world", "gpt-4o") == 2
    assert process_of(counter) is process


async def test_it_ends_with_its_owner(counter: TokenCounter) -> None:
    await counter.warm(("gpt-4o",))
    process = process_of(counter)
    await counter.close()
    assert process.returncode == 0


async def test_it_knows_no_secrets(counter: TokenCounter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "canary-secret")
    await counter.warm(("gpt-4o",))
    environment = Path(f"/proc/{process_of(counter).pid}/environ")
    if not await asyncio.to_thread(environment.exists):
        pytest.skip("/proc is not here")
    assert b"canary-secret" not in await asyncio.to_thread(environment.read_bytes)


async def test_without_a_process_a_thread_counts(counter: TokenCounter, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: Any, **__: Any) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr("proxy.providers.tokens.subprocess.Popen", cannot)
    assert await counter.count("hello world", "gpt-4o") == 2
