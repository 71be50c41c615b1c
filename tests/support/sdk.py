"""The official SDKs in front of Farebox: four speakers (OpenAI and Anthropic, sync and async) that tests drive in one way.

Nothing but base URL and key differs from a client of the provider itself.
"""

import asyncio
import inspect
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import anthropic
import openai

from proxy.core.records import UsageRecord
from proxy.records.queries import find_account_id, newest_usage
from proxy.sql.sqlite import SqliteDatabase
from tests.support.installation import Installation
from tests.support.tap import Tap

SPEAKERS = ("openai-sync", "openai-async", "anthropic-sync", "anthropic-async")
MAIN, POOR, LIMITED = "main", "poor", "limited"
# Microcredits a token, at the prices of PRICES and 1000 credits a dollar. Neither upstream writes caches or reports reasoning.
RATES = {"input": 1000, "cache_read": 100, "output": 2000}
PRICE = '[prices."{model}"]\ninput = "1.00"\ncache_read = "0.10"\noutput = "2.00"\n'
PROVIDER = """
[providers.{name}]
dialect = ["openai", "anthropic"]
base_url = {{ openai = "{url}/v1", anthropic = "{url}" }}
api_key = "upstream-key"
models = {models}
{more}
"""

WEATHER = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo"]}, "days": {"type": "integer", "enum": [3]}},
    "required": ["city", "days"],
}
WEATHER_TOOLS: dict[str, Any] = {
    "openai": {
        "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}],
        "tool_choice": "required",
    },
    "anthropic": {"tools": [{"name": "get_weather", "input_schema": WEATHER}], "tool_choice": {"type": "any"}},
}


@dataclass
class Scene:
    """A running Farebox between the SDKs and a tapped upstream; `key` is the account MAIN's, `model` what the upstream serves."""

    farebox: Installation
    tap: Tap
    model: str
    key: str
    seen: set[str] = field(default_factory=set)

    async def record(self, call_id: str) -> UsageRecord:
        """The one record of a call of MAIN, as soon as it is in SQL."""
        return (await self._wait(lambda record: record.call_id == call_id, 1))[0]

    async def new_records(self, count: int = 1) -> list[UsageRecord]:
        """The records of MAIN's calls that no test has asked for by id, newest first: exactly so many."""
        return await self._wait(lambda record: record.call_id not in self.seen, count)

    async def unclaimed(self) -> list[UsageRecord]:
        """The records that no test has asked for: calls that nobody made, or second records."""
        return [record for record in await self._records() if record.call_id not in self.seen]

    async def _wait(self, wanted: Callable[[UsageRecord], bool], count: int) -> list[UsageRecord]:
        async with asyncio.timeout(20):
            # Another process writes them.
            while len(found := [record for record in await self._records() if wanted(record)]) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert len(found) == count
        self.seen |= {record.call_id for record in found}
        return found

    async def _records(self) -> list[UsageRecord]:
        database = SqliteDatabase(self.farebox.directory / "state" / "farebox.db", busy_timeout_ms=2000)
        try:
            account_id = await find_account_id(database, MAIN)
            return [record async for record in newest_usage(database, account_id, 1000)]
        finally:
            await database.close()


def opened(directory: Path, tap: Tap, model: str, *providers: str) -> Iterator[Scene]:
    """A scene; at its end every record has been asked for, and the books agree."""
    extra = "\n".join([*providers, PRICE.format(model=model)])
    with Installation(directory, tap.url, extra=extra) as farebox:
        scene = Scene(farebox, tap, model, farebox.account(MAIN, "100000"))
        yield scene
        assert asyncio.run(scene.unclaimed()) == []
        farebox.audit()


@dataclass
class Speaker:
    """One SDK client. `calls` is its endpoint's object: chat.completions or messages."""

    dialect: str
    client: Any
    calls: Any

    @property
    def sdk(self) -> Any:
        """The SDK's module, with its exceptions."""
        return openai if self.dialect == "openai" else anthropic

    @classmethod
    def of(cls, name: str, url: str, key: str) -> Self:
        """A client with the SDK's own defaults; `url` without the path that the SDK's provider has."""
        dialect, _, kind = name.partition("-")
        if dialect == "openai":
            make: Any = openai.AsyncOpenAI if kind == "async" else openai.OpenAI
            return cls._with(dialect, make(base_url=f"{url}/v1", api_key=key))
        make = anthropic.AsyncAnthropic if kind == "async" else anthropic.Anthropic
        return cls._with(dialect, make(base_url=url, api_key=key))

    def options(self, **options: Any) -> "Speaker":
        """The same client with other options (timeout, max_retries, api_key, base_url)."""
        return self._with(self.dialect, self.client.with_options(**options))

    @classmethod
    def _with(cls, dialect: str, client: Any) -> Self:
        return cls(dialect, client, client.chat.completions if dialect == "openai" else client.messages)

    async def ask(self, **request: Any) -> "Answer":
        """One call; of a stream all events."""
        response = await done(self.calls.with_raw_response.create, **request)
        parsed = await done(response.parse)
        content = await drained(parsed) if request.get("stream") else parsed.to_dict()
        return Answer(response.headers, response.retries_taken, content)

    async def raw(self, **request: Any) -> bytes:
        """One call; the bytes of its answer."""
        response = self.calls.with_streaming_response.create(**request)
        if hasattr(response, "__aenter__"):
            async with response as answer:
                return b"".join([piece async for piece in answer.iter_bytes()])

        def whole() -> bytes:
            with response as answer:
                return b"".join(answer.iter_bytes())

        return await asyncio.to_thread(whole)

    async def close(self) -> None:
        """Closes its connections."""
        await done(self.client.close)


@dataclass
class Answer:
    """What the SDK returned: headers, its retries, and a document or the list of a stream's events as plain data."""

    headers: Any
    retries: int
    content: Any

    @property
    def call_id(self) -> str:
        """The id that Farebox gave the call."""
        return str(self.headers["x-farebox-call-id"])


async def done(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """The result of a call of either kind of client; one that blocks has a thread of its own."""
    if inspect.iscoroutinefunction(inspect.unwrap(function)):
        return await function(*args, **named)
    result = await asyncio.to_thread(function, *args, **named)
    return await result if inspect.isawaitable(result) else result


async def drained(stream: Any) -> list[Any]:
    """All events of a stream of either kind of client, as plain data."""
    return [event.to_dict() async for event in each(stream)]


async def each(stream: Any) -> AsyncIterator[Any]:
    """The events of a stream of either kind of client, as they come."""
    if hasattr(stream, "__aiter__"):
        async for event in stream:
            yield event
        return
    events, end = iter(stream), object()
    while (event := await asyncio.to_thread(next, events, end)) is not end:
        yield event


def request_for(scene: Scene, text: str = "Tell me about the sea and its ships.", **more: Any) -> dict[str, Any]:
    """A small call that both dialects understand."""
    return {"model": scene.model, "max_tokens": 30, "messages": [{"role": "user", "content": text}], **more}


def usage_of(reports: list[Any]) -> dict[str, int]:
    """The last word of an answer on its usage, in either dialect, as counters; from the answer itself, not from Farebox."""
    reported: dict[str, Any] = {}
    for report in reports:
        reported |= {name: count for name, count in (report or {}).items() if count is not None}
    if "prompt_tokens" in reported:
        cached = (reported.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        given = {"input": reported["prompt_tokens"] - cached, "cache_read": cached}
        return given | {"output": reported["completion_tokens"]}
    cached = reported.get("cache_read_input_tokens", 0)
    return {"input": reported["input_tokens"], "cache_read": cached, "output": reported["output_tokens"]}


def reported_usage(dialect: str, content: Any) -> dict[str, int]:
    """The usage in an upstream's answer: a document, or the list of a stream's events."""
    if not isinstance(content, list):
        return usage_of([content["usage"]])
    if dialect == "openai":
        return usage_of([chunk.get("usage") for chunk in content])
    return usage_of([(event.get("message") or event).get("usage") for event in content])


def check_record(scene: Scene, record: UsageRecord, answer: Answer, usage: dict[str, int]) -> None:
    """A completed call: the record has the upstream's usage, and the charge that follows from the price."""
    assert {name: count for name, count in record.usage.items() if count} == {k: v for k, v in usage.items() if v}
    charge = sum(count * RATES[counter] for counter, count in usage.items())
    assert record.charge_microcredits == charge
    assert record.cost_nano_usd == charge  # 1000 credits of a million microcredits for 10^9 nano-USD
    assert record.charge_microcredits <= record.hold_microcredits
    assert record.input_tokens == usage["input"] + usage["cache_read"]
    assert record.output_tokens == usage["output"]
    assert (record.outcome, record.settlement_basis, record.status) == ("completed", "reported", 200)
    assert (record.model, record.attempts) == (scene.model, 1)
    if not record.stream:
        assert round(float(answer.headers["x-farebox-charge"]) * 1_000_000) == charge


class Sim:
    """The simulated provider in a process of its own; `url` has no path. Use it as a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "proxy.providers.sim", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().removeprefix("listening on ").strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)


def as_json(models: list[str]) -> str:
    """A list as TOML writes it."""
    return json.dumps(models)
