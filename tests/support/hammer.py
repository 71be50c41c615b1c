"""Load for whole installations: seeded attempts of every kind, clients that leave at random points, and a provider that counts.

Every attempt has a tag. It travels in `x-farebox-tags` (to the usage record) and in the body's `mock` (to the provider), so
that what the client saw, what the provider did and what was recorded can be held against each other.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, cast

import pytest
from aiohttp import web

from tests.support.installation import MODEL, charge_of
from tests.support.mock_provider import INPUT_TOKENS, MockProvider, Received, expected_usage

PATHS = ("/v1/chat/completions", "/v1/messages")
MAX_TOKENS = 20
ATTEMPT_TIMEOUT_S = 30.0
AFTER_A_RESET_S = 0.02


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to send. `leave` is None (stay), ("request", 0), ("bytes", of the body) or ("ms", after sending)."""

    tag: int
    key: str
    path: str
    stream: bool
    mock: dict[str, Any]
    leave: tuple[str, int] | None = None

    @property
    def body(self) -> bytes:
        message = {"role": "user", "content": f"attempt {self.tag}"}
        mock = {**self.mock, "tag": self.tag}
        return json.dumps(
            {"model": MODEL, "max_tokens": MAX_TOKENS, "messages": [message], "stream": self.stream, "mock": mock}
        ).encode()

    @property
    def usage(self) -> tuple[int, int]:
        """What the provider reports when it gets to the end."""
        return expected_usage({"mock": self.mock})


@dataclass(slots=True)
class Outcome:
    """What the client saw: `status` None where no head came, `whole` where the answer had a clean end."""

    attempt: Attempt
    status: int | None = None
    whole: bool = False
    left: bool = False
    call_id: str | None = None
    error: str | None = None


def attempts(seed: int, keys: Sequence[str], *, slow_ms: int = 0) -> Iterator[Attempt]:
    """Attempts without an end, the same for the same seed; answers take up to about `slow_ms`."""
    rng = random.Random(seed)
    tag = 0
    while True:
        stream = rng.random() < 0.5
        mock: dict[str, Any] = {"chunks": rng.randint(1, MAX_TOKENS)}
        if slow_ms:
            mock |= (
                {"pace_ms": rng.randint(0, slow_ms // MAX_TOKENS)} if stream else {"delay_ms": rng.randint(0, slow_ms)}
            )
        broken: list[dict[str, Any]] = [
            {"status": 500},
            {"status": 429},
            {"omit_usage": True},
            {"break_after": rng.randint(0, 5)},
        ]
        if rng.random() < 0.1:
            mock |= rng.choice(broken)
        leave = None
        if rng.random() < 0.3:
            leave = rng.choice([("request", 0), ("bytes", rng.randint(0, 2000)), ("ms", rng.randint(0, 60))])
        yield Attempt(tag, rng.choice(keys), rng.choice(PATHS), stream, mock, leave)
        tag += 1


async def drive(
    port: int, load: Iterator[Attempt], clients: int, stop: Callable[[], bool] = lambda: False
) -> list[Outcome]:
    """Sends the whole load from so many clients at once, each on a kept connection of its own; ends early on `stop`."""
    outcomes: list[Outcome] = []

    async def one_client() -> None:
        with closing(Client(port)) as client:
            for attempt in load:  # shared: each client takes the next one
                if stop():
                    break
                outcome = Outcome(attempt)
                outcomes.append(outcome)
                try:
                    await asyncio.wait_for(client.send(attempt, outcome), ATTEMPT_TIMEOUT_S)
                except (OSError, EOFError) as error:  # TimeoutError is an OSError, IncompleteReadError an EOFError
                    outcome.error = type(error).__name__
                    client.close()
                    await asyncio.sleep(AFTER_A_RESET_S)

    await asyncio.gather(*(one_client() for _ in range(clients)))
    return outcomes


class Client:
    """One client connection, as lean as it can be: the load must not be the bottleneck."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, attempt: Attempt, outcome: Outcome) -> None:
        """Sends one request and reads its answer, or leaves where the attempt says so. Raises OSError, IncompleteReadError."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        body = attempt.body
        head = (
            f"POST {attempt.path} HTTP/1.1\r\nhost: farebox\r\nauthorization: Bearer {attempt.key}\r\n"
            f"content-type: application/json\r\nx-farebox-tags: t={attempt.tag}\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode()
        if attempt.leave is not None and attempt.leave[0] == "request":
            self._writer.write(head + body[: len(body) // 2])
            await self._writer.drain()
            self._leave(outcome)
            return
        self._writer.write(head + body)
        if attempt.leave is not None and attempt.leave[0] == "ms":
            with suppress(TimeoutError):
                async with asyncio.timeout(attempt.leave[1] / 1000):
                    await self._read(outcome, None)
                    return
            self._leave(outcome)
        else:
            await self._read(outcome, None if attempt.leave is None else attempt.leave[1])

    def close(self) -> None:
        """Cuts the connection; the next send opens another one."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    def _leave(self, outcome: Outcome) -> None:
        outcome.left = True
        self.close()

    async def _read(self, outcome: Outcome, leave_after_bytes: int | None) -> None:
        reader = self._reader
        assert reader is not None
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        outcome.status = int(lines[0].split(" ")[1])
        outcome.call_id = headers.get("x-farebox-call-id")
        chunked = "transfer-encoding" in headers
        size = 0
        while True:
            piece = int(await reader.readuntil(b"\r\n"), 16) if chunked else int(headers["content-length"])
            size += piece
            await reader.readexactly(piece + 2 if chunked else piece)
            if not chunked or not piece:
                break
            if leave_after_bytes is not None and size > leave_after_bytes:
                self._leave(outcome)
                return
        outcome.whole = True
        if headers.get("connection") == "close":
            self.close()


@dataclass(slots=True)
class Served:
    """What the provider did for one tag: how often it was asked, tokens of output it wrote, whether it got to its end."""

    times: int = 0
    output: int = 0
    reported: bool = False
    stream: bool = False

    @property
    def charge_microcredits(self) -> int:
        """What the provider's own figures come to: the whole usage, or for a stream that was cut, what it had written."""
        return charge_of((INPUT_TOKENS, self.output)) if self.reported or self.stream else 0


class _OnlyTags(list[Received]):
    """Keeps of each request what the checks need: a long run would fill the memory with bodies."""

    def __init__(self, served: dict[int, Served]) -> None:
        super().__init__()
        self._served = served

    def append(self, seen: Received) -> None:
        served = self._served.setdefault(seen.body["mock"]["tag"], Served())
        served.times += 1
        served.stream = bool(seen.body.get("stream"))


class CountingProvider(MockProvider):
    """The mock provider, which also knows what it did for every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.served: dict[int, Served] = {}
        self.received = _OnlyTags(self.served)

    async def _answer(self, request: web.Request, plain: Any, events: Any) -> web.StreamResponse:
        answer = await super()._answer(request, plain, events)
        body = json.loads(await request.read())
        if not body.get("stream") and answer.status == 200:
            served = self.served[body["mock"]["tag"]]
            served.output = expected_usage(body)[1]
            served.reported = True
        return answer

    async def _stream(self, request: web.Request, mock: dict[str, Any], events: list[bytes]) -> web.StreamResponse:
        served = self.served[mock["tag"]]

        def counted() -> Iterator[bytes]:
            for event in events:
                yield event
                served.output += b'"word "' in event
            served.reported = True

        return await super()._stream(request, mock, cast("list[bytes]", counted()))


async def wait_until(condition: Callable[[], Any], seconds: float) -> None:
    """Waits for an awaitable condition, looked at ten times a second; fails the test when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.1)


def say(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Figures that are worth seeing even where the test passes."""
    with capsys.disabled():
        print(f"\n{text}")  # noqa: T201
