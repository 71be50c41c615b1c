"""Clients that leave and answers that break off: what the client sees, what is charged and on which basis, and that the
provider sees its connection closed. One row of the fault table a test, through the real process."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.installation import MODEL, Installation
from tests.support.mock_provider import PROVIDER_KEY
from tests.support.processes import until
from tests.support.stepping_provider import HANG, LAST, RESET, Step, SteppingProvider, chunk, chunked, head, send, sleep

USAGE = {"prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100}
CHARGE = 70 * 1000 + 30 * 2000
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
WORDS = range(3, 7)  # "word word word ", counted
REPORT = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
DONE = b"data: [DONE]\n\n"
PLAIN = json.dumps({"choices": [{"message": {"content": "word " * 30}}], "usage": USAGE}).encode()

_PROVIDER = """
[providers.{name}]
dialect = "openai"
base_url = "{url}/v1"
api_key = "{key}"
models = ["{model}"]
{settings}
"""
_PROVIDERS = {
    "cancels": "",
    "drains": 'on_client_left = "drain"',
    "frees": 'on_client_left = "free"',
    "late": "first_byte_timeout_s = 0.5",
    "idle": "idle_timeout_s = 0.5",
    "long": "total_timeout_s = 1.0",
}


@pytest.fixture(scope="module")
def provider() -> Iterator[SteppingProvider]:
    with SteppingProvider() as running:
        yield running


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: SteppingProvider) -> Iterator[Installation]:
    extra = "".join(
        _PROVIDER.format(name=name, url=provider.url, key=PROVIDER_KEY, model=MODEL, settings=settings)
        for name, settings in _PROVIDERS.items()
    )
    upstream = "drain_timeout_s = 1.5\ndrain_tokens = 50"
    with Installation(tmp_path_factory.mktemp("farebox"), provider.url, upstream=upstream, extra=extra) as running:
        yield running


@asynccontextmanager
async def call(
    farebox: Installation, name: str, by: str, steps: list[Step], *, patience_s: float = 30, **more: Any
) -> AsyncIterator[aiohttp.ClientResponse]:
    body = {
        "model": MODEL,
        "stream": True,
        "messages": [{"role": "user", "content": "say words"}],
        "mock": steps,
        **more,
    }
    key = farebox.account(name, "1000")
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=patience_s)) as session,
        session.post(
            f"{farebox.url}/{by}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
        ) as answer,
    ):
        yield answer


def only_record(farebox: Installation, name: str) -> dict[str, Any]:
    [record] = farebox.usage(name, 1)
    return record


def facts(record: dict[str, Any]) -> tuple[str, str]:
    return record["outcome"], record["settlement_basis"]


def is_closed(provider: SteppingProvider, early: int) -> bool:
    return provider.open == 0 and provider.closed_early == early


STREAM: list[Step] = [send(chunked()), send(chunk(WORD * 3))]
ENDING: list[Step] = [send(chunk(STOP + REPORT + DONE)), send(LAST)]


async def test_cancel_stops_the_provider_and_charges_what_passed(
    farebox: Installation, provider: SteppingProvider
) -> None:
    early = provider.closed_early
    async with call(farebox, "cancel", "cancels", [*STREAM, HANG]) as answer:
        assert await answer.content.readexactly(len(WORD)) == WORD
    until(lambda: is_closed(provider, early + 1), 5)
    record = only_record(farebox, "cancel")
    assert facts(record) == ("client_left", "counted")
    assert record["output_tokens"] in WORDS
    assert record["charge_microcredits"] == record["input_tokens"] * 1000 + record["output_tokens"] * 2000


async def test_drain_reads_on_to_the_providers_usage(farebox: Installation, provider: SteppingProvider) -> None:
    early = provider.closed_early
    async with call(farebox, "drain", "drains", [*STREAM, sleep(500), send(chunk(WORD)), *ENDING]) as answer:
        await answer.content.readexactly(len(WORD))
    record = only_record(farebox, "drain")
    assert facts(record) == ("client_left", "reported")
    assert record["charge_microcredits"] == CHARGE
    assert is_closed(provider, early)  # it was read to its end


async def test_drain_of_a_plain_answer_waits_for_its_usage(farebox: Installation, provider: SteppingProvider) -> None:
    steps = [sleep(700), send(head("application/json", length=len(PLAIN)) + PLAIN)]
    with pytest.raises(TimeoutError):
        async with call(farebox, "drain-plain", "drains", steps, patience_s=0.3, stream=False):
            raise AssertionError("the client should have left")
    record = only_record(farebox, "drain-plain")
    assert facts(record) == ("client_left", "reported")
    assert record["charge_microcredits"] == CHARGE


async def test_drain_ends_after_its_time(farebox: Installation, provider: SteppingProvider) -> None:
    early = provider.closed_early
    started = time.monotonic()
    async with call(farebox, "drain-time", "drains", [*STREAM, HANG]) as answer:
        await answer.content.readexactly(len(WORD))
    until(lambda: is_closed(provider, early + 1), 5)
    assert time.monotonic() - started > 1.4
    assert facts(only_record(farebox, "drain-time")) == ("client_left", "counted")


async def test_drain_ends_after_its_tokens(farebox: Installation, provider: SteppingProvider) -> None:
    early = provider.closed_early
    more = [send(chunk(WORD)), sleep(5)] * 200
    async with call(farebox, "drain-tokens", "drains", [*STREAM, *more, HANG]) as answer:
        await answer.content.readexactly(len(WORD))
    until(lambda: is_closed(provider, early + 1), 5)
    record = only_record(farebox, "drain-tokens")
    assert facts(record) == ("client_left", "counted")
    assert 30 < record["output_tokens"] < 140


async def test_drain_keeps_what_a_failing_provider_sent(farebox: Installation, provider: SteppingProvider) -> None:
    async with call(farebox, "drain-fails", "drains", [*STREAM, sleep(300), RESET]) as answer:
        await answer.content.readexactly(len(WORD))
    assert facts(only_record(farebox, "drain-fails")) == ("client_left", "counted")


async def test_free_charges_nothing_and_leaves_a_record(farebox: Installation, provider: SteppingProvider) -> None:
    early = provider.closed_early
    async with call(farebox, "free", "frees", [*STREAM, HANG]) as answer:
        await answer.content.readexactly(len(WORD))
    until(lambda: is_closed(provider, early + 1), 5)
    record = only_record(farebox, "free")
    assert facts(record) == ("client_left", "none")
    assert record["charge_microcredits"] == 0
    balance = farebox.balance("free")
    assert (balance["microcredits"], balance["held"]) == (1_000_000_000, 0)


async def test_a_whole_answer_is_charged_where_leaving_is_free(
    farebox: Installation, provider: SteppingProvider
) -> None:
    async with call(farebox, "free-whole", "frees", [*STREAM, *ENDING]) as answer:
        assert (await answer.read()).endswith(DONE)
    assert facts(only_record(farebox, "free-whole")) == ("completed", "reported")


async def test_leaving_before_the_answer_begins_costs_the_prompt(
    farebox: Installation, provider: SteppingProvider
) -> None:
    early = provider.closed_early
    with pytest.raises(TimeoutError):
        async with call(farebox, "before", "cancels", [HANG], patience_s=0.3):
            raise AssertionError("the client should have left")
    until(lambda: is_closed(provider, early + 1), 5)
    record = only_record(farebox, "before")
    assert facts(record) == ("client_left", "counted")
    assert (record["status"], record["output_tokens"]) == (None, 0)
    assert record["input_tokens"] > 0


@pytest.mark.parametrize("torn", [b"", b'data: {"choices":[{"index":0,"delta":{"con'])
async def test_an_answer_that_breaks_off_looks_broken_off(
    farebox: Installation, provider: SteppingProvider, torn: bytes
) -> None:
    name = f"torn-{len(torn)}"
    async with call(
        farebox, name, "cancels", [*STREAM, send(chunk(torn) if torn else b""), sleep(50), RESET]
    ) as answer:
        assert await answer.content.readexactly(3 * len(WORD) + len(torn)) == WORD * 3 + torn
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.readany()
    record = only_record(farebox, name)
    assert facts(record) == ("upstream_failed", "counted")
    assert record["output_tokens"] in WORDS


async def test_a_client_of_http_1_0_sees_the_break_as_a_reset(
    farebox: Installation, provider: SteppingProvider
) -> None:
    key = farebox.account("old", "1000")
    body = json.dumps({"model": MODEL, "stream": True, "messages": [], "mock": [*STREAM, sleep(300), RESET]}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", farebox.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.0\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
        % (key.encode(), len(body), body)
    )
    received = await reader.readuntil(WORD * 3)
    assert b"transfer-encoding" not in received
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    assert facts(only_record(farebox, "old")) == ("upstream_failed", "counted")


async def test_no_answer_in_time_is_free_and_504(farebox: Installation, provider: SteppingProvider) -> None:
    early = provider.closed_early
    async with call(farebox, "late", "late", [HANG]) as answer:
        assert answer.status == 504
        assert (await answer.json())["error"]["code"] == "upstream_first_byte_timeout"
    until(lambda: is_closed(provider, early + 1), 5)
    record = only_record(farebox, "late")
    assert (*facts(record), record["charge_microcredits"]) == ("timed_out", "none", 0)


@pytest.mark.parametrize(
    ("by", "steps", "reason"),
    [
        ("idle", [*STREAM, HANG], "upstream_idle_timeout"),
        ("long", [*STREAM, *([send(chunk(WORD)), sleep(200)] * 20), HANG], "upstream_total_timeout"),
    ],
)
async def test_an_answer_that_stops_or_takes_too_long_is_cut_and_charged(
    farebox: Installation, provider: SteppingProvider, by: str, steps: list[Step], reason: str
) -> None:
    early = provider.closed_early
    async with call(farebox, by, by, steps) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    until(lambda: is_closed(provider, early + 1), 5)
    record = only_record(farebox, by)
    assert facts(record) == ("timed_out", "counted")
    assert record["output_tokens"] >= WORDS[0]
    line = f'farebox_upstream_failures_total{{provider="{by}",reason="{reason}"}} 1.0'
    until(lambda: line in farebox.metrics(), 5)


async def test_a_client_that_leaves_while_the_provider_fails_is_not_the_reason(
    farebox: Installation, provider: SteppingProvider
) -> None:
    """Whoever goes first decides; here it is the client, and the provider's failure after that changes nothing."""
    async with call(farebox, "both", "cancels", [*STREAM, sleep(200), RESET]) as answer:
        await answer.content.readexactly(len(WORD))
    assert facts(only_record(farebox, "both")) == ("client_left", "counted")
    assert farebox.audit()["ok"]


async def test_a_killed_worker_leaves_the_prompt_on_the_bill_before_the_answer_began(
    tmp_path: Path, provider: SteppingProvider
) -> None:
    credits_ = "lease_s = 9\nsweep_s = 0.5"  # renewed after 3 s, were it not for the first checkpoint
    with Installation(tmp_path, provider.url, credits=credits_) as farebox:
        [worker] = farebox.pids("worker")
        kill = asyncio.gather(_kill_in_a_call(provider, worker))
        with pytest.raises(aiohttp.ClientError):
            async with call(farebox, "killed", "local", [HANG], stream=False):
                raise AssertionError("the worker should be gone")
        await kill
        record = only_record(farebox, "killed")
        assert facts(record) == ("abandoned", "checkpoint")
        assert record["input_tokens"] > 10
        assert record["charge_microcredits"] == record["input_tokens"] * 1000


async def _kill_in_a_call(provider: SteppingProvider, worker: int) -> None:
    """Kills the worker once its call has been with the provider long enough for its first checkpoint, and not for a renewal."""
    async with asyncio.timeout(30):
        while not provider.open:  # noqa: ASYNC110 - another thread's
            await asyncio.sleep(0.02)
    await asyncio.sleep(2.2)
    os.kill(worker, signal.SIGKILL)
