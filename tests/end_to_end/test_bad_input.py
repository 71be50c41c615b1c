"""Bad input gets a clear 4xx in the caller's dialect, reaches no provider, and changes nothing."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.support.installation import ADMIN_TOKEN, MODEL, PEPPER, Installation
from tests.support.mock_provider import PROVIDER_KEY, MockProvider

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
MESSAGE = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def provider() -> Iterator[MockProvider]:
    with MockProvider() as running:
        yield running


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: MockProvider) -> Iterator[Installation]:
    bounds = "max_body_bytes = 300000\nheader_timeout_s = 1.0\nbody_timeout_s = 1.0\nwrite_stall_s = 1.0"
    with Installation(tmp_path_factory.mktemp("farebox"), provider, server=bounds) as running:
        yield running


@pytest.fixture(scope="module")
def key(farebox: Installation) -> str:
    return farebox.account("tester", "1000")


def body(**members: Any) -> bytes:
    return json.dumps({"model": MODEL, "max_tokens": 20, "messages": MESSAGE, **members}).encode()


BODIES = {
    "empty": b"",
    "not json": b"hello",
    "half json": b'{"model": "test-model"',
    "not an object": b"[1, 2]",
    "a number": b"7",
    "nested 100,000 deep": b'{"model":"test-model","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a raw NUL": b'{"model":"test-model\x00","messages":[]}',
    "an escaped NUL in the model": b'{"model":"test-model\\u0000","messages":[]}',
    "a lone surrogate": b'{"model":"test-model","messages":[{"role":"user","content":"\\ud800"}]}',
    "invalid UTF-8": b'{"model":"test-model","messages":[{"role":"user","content":"\xff"}]}',
    "a negative limit": body(max_tokens=-1),
    "a huge limit": body(max_tokens=10**30),
    "a fractional limit": body(max_tokens=1.5),
    "a limit in a string": body(max_tokens="20"),
    "a boolean limit": body(max_tokens=True),
    "a model that is a number": body(model=5),
    "no model": b'{"messages":[]}',
    "an unknown model": body(model="no-such-model"),
    "a stream that is no boolean": body(stream="yes"),
    "two models": b'{"model":"test-model","model":"test-model","max_tokens":5,"messages":[]}',
    "an ambiguous name": b'{"model":"test-model","Max_Tokens":9999,"max_tokens":5,"messages":[]}',
    "a body above the bound": body(messages=[{"role": "user", "content": "x" * 300_001}]),
}


async def post(
    farebox: Installation, path: str, data: bytes, headers: Any, method: str = "POST"
) -> tuple[int, Any, dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, farebox.url + path, data=data, headers=headers) as answer,
    ):
        return answer.status, answer.headers, json.loads(await answer.read())


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def is_clear(path: str, status: int, answer: dict[str, Any]) -> bool:
    """Whether an error is in the dialect of its path, with words in it."""
    if path == MESSAGES:
        return answer["type"] == "error" and len(answer["error"]["message"]) > 10 and bool(answer["error"]["type"])
    return set(answer["error"]) >= {"message", "type", "param", "code"} and len(answer["error"]["message"]) > 10


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("name", BODIES)
async def test_bad_bodies(farebox: Installation, provider: MockProvider, key: str, path: str, name: str) -> None:
    before = len(provider.received)
    status, headers, answer = await post(farebox, path, BODIES[name], bearer(key))
    assert 400 <= status < 500, answer
    assert status not in {402, 408, 409, 429}, "an SDK would retry, or people would pay"
    assert headers["x-should-retry"] == "false"
    assert headers["x-farebox-call-id"]
    assert is_clear(path, status, answer), answer
    assert len(provider.received) == before
    expected = {"an unknown model": 404, "a body above the bound": 413}.get(name, 400)
    assert status == expected, answer


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_bad_credentials(farebox: Installation, provider: MockProvider, key: str, path: str) -> None:
    before = len(provider.received)
    bad: list[Any] = [
        {},
        {"authorization": "Bearer "},
        {"authorization": "Basic abc"},
        {"authorization": "Bearer sk-fb-nonsense"},
        {"x-api-key": "sk-fb-" + "a" * 43},
        {"authorization": f"Bearer {key}", "x-api-key": key},
        [("authorization", f"Bearer {key}"), ("authorization", f"Bearer {key}")],
        {"x-api-key": "\xff" * 20},
    ]
    for headers in bad:
        status, _, answer = await post(farebox, path, body(), headers)
        assert status == 401, (headers, answer)
        assert is_clear(path, status, answer)
    assert len(provider.received) == before
    for name in ("x-api-key", "api-key", "x-goog-api-key"):
        assert (await post(farebox, path, body(), {name: key}))[0] == 200


async def test_paths_and_methods(farebox: Installation, provider: MockProvider, key: str) -> None:
    before = len(provider.received)
    for path in ("/v1/chat", "/v1/files", "/v1/chat/completions/", "//v1/chat/completions", "/local/v2/chat/completions",
                 "/v1/chat%2Fcompletions", "/local/v1/../v1/chat/completions", "/local/%2e%2e/v1/messages", "/nobody/v1/messages"):  # fmt: skip
        reader, writer = await asyncio.open_connection("127.0.0.1", farebox.port)
        data = body()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {len(data)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + data)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 404 "), (path, answer)
        writer.close()
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        status, _, answer = await post(farebox, CHAT, b"", bearer(key), method)
        assert status == 405
        assert is_clear(CHAT, status, answer)
    assert len(provider.received) == before


async def raw(farebox: Installation, data: bytes, *, then_wait_s: float = 5) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", farebox.port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), then_wait_s)
    finally:
        writer.close()


async def test_what_is_not_http_is_refused(farebox: Installation, provider: MockProvider, key: str) -> None:
    before = len(provider.received)
    data = body()
    auth = f"authorization: Bearer {key}\r\n".encode()
    absolute = b"POST http://evil.example/v1/chat/completions HTTP/1.1\r\nhost: evil.example\r\n" + auth
    smuggled = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
        + auth
        + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    for request in (
        b"hello\r\n\r\n",
        absolute + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(data) + data,
        smuggled,
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + auth + b"content-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + b"x-long: " + b"a" * 100_000 + b"\r\n\r\n",
    ):
        answer = await raw(farebox, request)
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), (request[:60], answer[:100])
        assert answer.count(b"HTTP/1.") == 1
    assert len(provider.received) == before


async def test_compressed_bodies_are_refused(farebox: Installation, key: str) -> None:
    status, _, answer = await post(farebox, CHAT, body(), {**bearer(key), "content-encoding": "gzip"})
    assert (status, answer["error"]["code"]) == (400, "unsupported_content_encoding")


async def test_slow_clients_are_cut(farebox: Installation, provider: MockProvider, key: str) -> None:
    before = len(provider.received)
    started = asyncio.get_running_loop().time()
    assert await raw(farebox, b"POST /v1/chat/completions HTTP/1.1\r\nhost:") == b""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: 100\r\n\r\n"
    )
    answer = await raw(farebox, head.encode() + b'{"model"')
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert asyncio.get_running_loop().time() - started < 8
    assert len(provider.received) == before


async def test_client_that_never_reads_is_cut_and_charged(farebox: Installation, provider: MockProvider) -> None:
    name = "never-reads"
    key = farebox.account(name, "100000")
    data = body(stream=True, max_tokens=200_000, mock={"chunks": 60_000})
    _reader, writer = await asyncio.open_connection("127.0.0.1", farebox.port, limit=1)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    [record] = await asyncio.to_thread(farebox.usage, name, 1, timeout_s=30)
    writer.transport.abort()
    assert record["outcome"] == "client_left"
    assert record["settlement_basis"] == "counted"
    assert record["output_tokens"] > 0
    assert farebox.balance(name)["held"] == 0


async def test_expect_100_continue_comes_after_the_credential(farebox: Installation, key: str) -> None:
    data = body()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\n"
    refused = await raw(farebox, f"{head}authorization: Bearer no\r\ncontent-length: {len(data)}\r\n\r\n".encode())
    assert refused.startswith(b"HTTP/1.1 401 ")
    reader, writer = await asyncio.open_connection("127.0.0.1", farebox.port)
    writer.write(f"{head}authorization: Bearer {key}\r\ncontent-length: {len(data)}\r\n\r\n".encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(data)
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()


@pytest.mark.parametrize("amount", ["-5", "0", "9007199254740992", "1.0000001", "NaN", "1e3", ""])
def test_bad_top_ups(farebox: Installation, key: str, amount: str) -> None:
    before = farebox.balance("tester")
    farebox.command("topup", "tester", "--key", f"bad-{amount}", "--", amount, code=None)
    assert farebox.balance("tester")["microcredits"] == before["microcredits"]


def test_a_key_bound_to_models_and_an_unpriced_model(farebox: Installation) -> None:
    farebox.command("account", "create", "bound", "--credits", "10")
    bound = farebox.command("key", "create", "bound", "--model", "other-*")["key"]
    status, _, answer = asyncio.run(post(farebox, CHAT, body(), bearer(bound)))
    assert (status, answer["error"]["code"]) == (403, "model_not_allowed")
    free = farebox.command("key", "create", "bound")["key"]
    status, _, answer = asyncio.run(post(farebox, CHAT, body(model="unpriced-model"), bearer(free)))
    assert (status, answer["error"]["code"]) == (402, "model_not_priced")


async def test_no_secret_is_written_anywhere(farebox: Installation, provider: MockProvider, key: str) -> None:
    """After everything above: keys and prompts are in no log, metric, Redis key, SQL row or file but the configuration."""
    prompt = "prompt-canary-c0ffee-9d1"
    asking = body(messages=[{"role": "user", "content": prompt}], mock={"status": 500})
    _, _, answer = await post(farebox, CHAT, asking, bearer(key))
    assert PROVIDER_KEY not in json.dumps(answer)
    await post(farebox, CHAT, body(messages=[{"role": "user", "content": prompt}], stream="x"), bearer(key))
    await post(farebox, f"{CHAT}?key={key}", body(messages=[{"role": "user", "content": prompt}]), bearer(key))
    await post(farebox, f"/v1/{key}", b"", bearer(key))
    await asyncio.sleep(2)
    metrics = await asyncio.to_thread(farebox.metrics)
    canaries = {
        "client key": key,
        "provider key": PROVIDER_KEY,
        "prompt": prompt,
        "admin token": ADMIN_TOKEN,
        "pepper": PEPPER,
    }
    places = {
        str(path): path.read_bytes()
        for path in farebox.directory.rglob("*")
        if path.is_file() and path != farebox.config
    }
    places["metrics"] = metrics.encode()
    assert any(name.endswith(".aof") for name in places), "the append-only file holds every Redis key and value"
    assert any(name.endswith(".db") for name in places)
    for name, content in places.items():
        for what, canary in canaries.items():
            assert canary.encode() not in content, f"the {what} stands in {name}"


async def test_who_waits_to_send_a_body_and_is_refused_is_not_waited_for(farebox: Installation, key: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", farebox.port)
    lines = [
        f"POST {CHAT} HTTP/1.1",
        "host: x",
        "content-length: 500",
        "expect: 100-continue",
        "authorization: Bearer no",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer
    # The next request would be taken for the body that was announced.
    writer.write(f"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n".encode())
    assert b"HTTP/1.1" not in await asyncio.wait_for(reader.read(), 10)
    writer.close()
