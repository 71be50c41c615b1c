"""A provider that passes over a token limit writes for what the account has, and not for more."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import pytest

from tests.support.installation import MODEL, OUTPUT_MICROCREDITS, Installation
from tests.support.stepping_provider import LAST, SteppingProvider, chunk, chunked, head, repeat, send

WORD = b'data: {"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
MESSAGES = [{"role": "user", "content": "hi"}]


class OlderServer(BaseHTTPRequestHandler):
    """Knows `max_tokens`, passes over every other name of a limit, and writes 4,000 tokens where it has none."""

    bodies: list[dict[str, Any]] = []  # noqa: RUF012 - of all requests to it

    def do_POST(self) -> None:
        """Answers a chat completion; the prompt is nine tokens long, and every token is written."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.bodies.append(body)
        usage = {"prompt_tokens": 9, "completion_tokens": min(body.get("max_tokens", 4000), 4000)}
        data = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing to standard error."""


# Its name says what it obeys; of `local`, the same server, nothing is known.
KNOWN = """
[providers.ollama]
base_url = "{url}/v1"
models = ["older"]
[providers.unbounded]
base_url = "{url}/v1"
api_key = ""
models = ["unbounded"]
token_limits = []
[prices.older]
input = "1.00"
output = "2.00"
[prices.unbounded]
input = "1.00"
output = "2.00"
"""


@pytest.fixture(scope="module")
def older() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OlderServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


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


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, older: str) -> Iterator[Installation]:
    known = KNOWN.format(url=older)
    with Installation(tmp_path_factory.mktemp("strict"), older, credits='mode = "strict"', extra=known) as running:
        yield running


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory, older: str) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("normal"), older, extra=KNOWN.format(url=older)) as running:
        yield running


async def ask(farebox: Installation, key: str, model: str, **limit: int) -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session,
        session.post(
            f"{farebox.url}/v1/chat/completions", json={"model": model, "messages": MESSAGES, **limit}
        ) as answer,
    ):
        return answer.status, await answer.json()


@pytest.mark.parametrize("model", ["older", MODEL])
@pytest.mark.parametrize("limit", [{}, {"max_completion_tokens": 100}, {"n_predict": 9000}])
async def test_strict_never_goes_below_zero_where_a_server_passes_over_a_limit(
    strict: Installation, model: str, limit: dict[str, int]
) -> None:
    name = f"{model}-{'-'.join(limit) or 'none'}"
    key = strict.account(name, "1")
    status, answer = await ask(strict, key, model, **limit)
    assert status == 200, answer
    sent = OlderServer.bodies[-1]
    assert sent["max_tokens"] == answer["usage"]["completion_tokens"] <= 500
    if limit.get("max_completion_tokens"):
        assert sent["max_tokens"] == 100, "the client's own"
    assert ("max_completion_tokens" in sent) is (model == MODEL and "max_completion_tokens" in limit)
    [record] = strict.usage(name, 1)
    assert record["charge_microcredits"] <= record["hold_microcredits"] <= 1_000_000
    assert strict.balance(name)["microcredits"] >= 0


async def test_strict_refuses_a_server_that_no_limit_bounds(strict: Installation) -> None:
    key = strict.account("unbounded", "100")
    status, answer = await ask(strict, key, "unbounded", max_tokens=5)
    assert (status, answer["error"]["code"]) == (400, "token_limit_not_obeyed")
    assert strict.balance("unbounded")["microcredits"] == 100_000_000


@pytest.mark.parametrize(
    ("model", "name", "held"),
    [
        ("older", "max_completion_tokens", 4096),
        ("older", "max_tokens", 1),
        ("unbounded", "max_tokens", 4096),
        (MODEL, "max_completion_tokens", 1),  # nothing is known of this server
    ],
)
async def test_a_limit_that_is_known_to_be_passed_over_lowers_no_hold(
    normal: Installation, model: str, name: str, held: int
) -> None:
    account = f"{model}-{name}"
    status, _ = await ask(normal, normal.account(account, "9"), model, **{name: 1})
    assert status == 200
    assert name in OlderServer.bodies[-1], "sent as it came"
    [record] = normal.usage(account, 1)
    assert held * OUTPUT_MICROCREDITS <= record["hold_microcredits"] < held * OUTPUT_MICROCREDITS + 200_000
