"""Answers of every shape through the real process: the bytes are the provider's, the usage is its own, memory is bounded."""

import gzip
import json
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import brotli
import pytest

from tests.support.installation import MODEL, Installation
from tests.support.mock_provider import PROVIDER_KEY
from tests.support.processes import until
from tests.support.stepping_provider import (
    HANG,
    LAST,
    Step,
    SteppingProvider,
    chunk,
    chunked,
    head,
    repeat,
    send,
    sleep,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

USAGE = {"prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100}
CHARGE = 70 * 1000 + 30 * 2000
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
REPORT = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
DONE = b"data: [DONE]\n\n"
STREAM = WORD * 3 + STOP + REPORT + DONE
TAKEN_OUT = STREAM.replace(REPORT, b"")
PLAIN = json.dumps({"choices": [{"message": {"content": "word " * 30}}], "usage": USAGE}).encode()
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "deflate": zlib.compress,
}


@pytest.fixture(scope="module")
def provider() -> Iterator[SteppingProvider]:
    with SteppingProvider() as running:
        yield running


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: SteppingProvider) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("farebox"), provider.url) as running:
        yield running


@asynccontextmanager
async def call(
    farebox: Installation, key: str, steps: list[Step] | str, path: str = "/v1/chat/completions", **more: Any
) -> AsyncIterator[aiohttp.ClientResponse]:
    body = {
        "model": MODEL,
        "stream": True,
        "messages": [{"role": "user", "content": "say words"}],
        "mock": steps,
        **more,
    }
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(farebox.url + path, json=body, headers={"authorization": f"Bearer {key}"}) as answer,
    ):
        yield answer


async def exchanged(farebox: Installation, name: str, steps: list[Step], **more: Any) -> tuple[bytes, dict[str, Any]]:
    """What the client received, and the record of it."""
    async with call(farebox, farebox.account(name, "1000"), steps, **more) as answer:
        assert answer.status == 200
        received = await answer.read()
    [record] = farebox.usage(name, 1)
    return received, record


def basis(record: dict[str, Any]) -> tuple[str, str, int]:
    return record["outcome"], record["settlement_basis"], record["charge_microcredits"]


def sized(content_type: str | None, body: bytes, *more: str) -> list[Step]:
    return [send(head(content_type, *more, length=len(body)) + body)]


REPORTED = ("completed", "reported", CHARGE)


@pytest.mark.parametrize("coding", PACKERS)
@pytest.mark.parametrize("stream", [True, False])
async def test_compressed_answers_pass_as_they_came_and_are_metered(
    farebox: Installation, coding: str, *, stream: bool
) -> None:
    packed = PACKERS[coding](STREAM if stream else PLAIN)
    kind = "text/event-stream" if stream else "application/json"
    steps: list[Step] = [send(chunked(f"Content-Encoding: {coding}", content_type=kind))]
    steps += [send(chunk(packed[at : at + 40])) for at in range(0, len(packed), 40)]
    received, record = await exchanged(farebox, f"{coding}-{stream}", [*steps, send(LAST)], stream=stream)
    assert received == packed
    assert basis(record) == REPORTED


async def test_a_compressed_error_is_scrubbed_all_the_same(farebox: Installation) -> None:
    body = gzip.compress(json.dumps({"error": {"message": f"bad key {PROVIDER_KEY}"}}).encode())
    steps = [send(head("application/json", "content-encoding: gzip", status="400 Bad", length=len(body)) + body)]
    async with call(farebox, farebox.account("packed-error", "10"), steps) as answer:
        assert (answer.status, "content-encoding" in answer.headers) == (400, False)
        assert await answer.json() == {"error": {"message": "bad key [removed]"}}
    assert basis(farebox.usage("packed-error", 1)[0]) == ("upstream_failed", "none", 0)


@pytest.mark.parametrize(
    ("name", "steps", "stream"),
    [
        ("plain-for-stream", sized("application/json", PLAIN), True),
        ("stream-for-plain", sized("text/event-stream; charset=utf-8", STREAM), False),
        ("nameless-plain", sized(None, b"\n" + PLAIN), False),
        ("nameless-plain-for-stream", sized(None, PLAIN), True),
        ("nameless-stream-for-plain", sized(None, b"\xef\xbb\xbf: hello\n\n" + STREAM), False),
    ],
)
async def test_the_answers_own_shape_decides_how_it_is_metered(
    farebox: Installation, name: str, steps: list[Step], *, stream: bool
) -> None:
    received, record = await exchanged(farebox, name, steps, stream=stream)
    assert received in {PLAIN, b"\n" + PLAIN, STREAM, b"\xef\xbb\xbf: hello\n\n" + STREAM}
    assert basis(record) == REPORTED


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        ("usage-after-done", WORD + STOP + DONE + REPORT),
        ("crlf", STREAM.replace(b"\n", b"\r\n")),
        ("cr", STREAM.replace(b"\n", b"\r")),
        ("bom-and-comments", b"\xef\xbb\xbf: hello\n\n" + STREAM.replace(b"\n\n", b"\n: still here\n\n")),
        ("no-final-blank-line", (WORD + STOP + DONE + REPORT).rstrip(b"\n")),
        ("data-in-two-lines", WORD + STOP + REPORT.replace(b', "usage"', b',\ndata: "usage"') + DONE),
        ("an-id-and-a-retry", b"id: 1\nretry: 10\n" + STREAM),
    ],
)
async def test_streams_as_they_come_in_the_wild(farebox: Installation, name: str, stream: bytes) -> None:
    steps: list[Step] = [send(chunked())]
    for at in range(0, len(stream), 37):
        steps += [send(chunk(stream[at : at + 37])), sleep(1)]
    options = {"stream_options": {"include_usage": True}}
    received, record = await exchanged(farebox, name, [*steps, send(LAST)], **options)
    assert received == stream
    assert basis(record) == REPORTED


async def test_an_error_inside_a_200_is_passed_on_and_what_was_reported_before_it_is_charged(
    farebox: Installation,
) -> None:
    error = b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
    for name, stream, expected in (
        ("error-first", WORD + error, ("upstream_failed", "none", 0)),
        ("error-after-usage", WORD + STOP + REPORT + error, ("upstream_failed", "reported", CHARGE)),
    ):
        received, record = await exchanged(farebox, name, [send(chunked()), send(chunk(stream)), send(LAST)])
        assert received == stream.replace(REPORT, b"")
        assert basis(record) == expected


async def test_a_line_of_100_megabytes_passes_with_bounded_memory(
    farebox: Installation, provider: SteppingProvider
) -> None:
    block = b"a" * (1 << 20)
    steps: list[Step] = [
        send(chunked()),
        send(chunk(b'data: {"x":"')),
        repeat(chunk(block), 100),
        send(chunk(b'"}\n\n')),
    ]
    provider.plays["line"] = [*steps, send(chunk(STREAM)), send(LAST)]
    key = farebox.account("long-line", "1000")
    before = rss_mb(farebox)
    peak = size = 0
    async with call(farebox, key, "line") as answer:
        while piece := await answer.content.read(1 << 20):
            size += len(piece)
            if size // (8 << 20) != (size - len(piece)) // (8 << 20):
                peak = max(peak, rss_mb(farebox))
    assert size == len(b'data: {"x":""}\n\n') + 100 * (1 << 20) + len(TAKEN_OUT)
    assert peak - before < 24
    assert basis(farebox.usage("long-line", 1)[0]) == REPORTED


def rss_mb(farebox: Installation) -> int:
    [pid] = farebox.pids("worker")
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


async def test_a_bomb_is_relayed_and_charged_at_the_hold(farebox: Installation) -> None:
    bomb = gzip.compress(b"data: " + b"\0" * 200_000_000)
    before = rss_mb(farebox)
    received, record = await exchanged(
        farebox, "bomb", sized("text/event-stream", bomb, "content-encoding: gzip"), max_tokens=10
    )
    assert received == bomb
    assert basis(record) == ("completed", "hold", record["hold_microcredits"])
    assert rss_mb(farebox) - before < 24


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, provider: SteppingProvider) -> Iterator[Installation]:
    with Installation(
        tmp_path_factory.mktemp("small"),
        provider.url,
        credits="assumed_output_tokens = 20",
        upstream="idle_timeout_s = 20",
    ) as running:
        yield running


async def test_a_compressed_stream_whose_credits_run_out_ends_visibly_torn(
    small: Installation, provider: SteppingProvider
) -> None:
    packer = zlib.compressobj(wbits=31)
    pieces = [packer.compress(WORD) + packer.flush(zlib.Z_SYNC_FLUSH) for _ in range(200)]
    steps: list[Step] = [send(chunked("content-encoding: gzip"))]
    for piece in pieces:
        steps += [send(chunk(piece)), sleep(2)]
    key = small.account("cut", "0.3")
    provider.plays["cut"] = [*steps, HANG]
    async with call(small, key, "cut") as answer:
        assert answer.status == 200, await answer.read()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    until(lambda: provider.open == 0, 5)
    [record] = small.usage("cut", 1)
    assert (record["outcome"], record["settlement_basis"]) == ("cut", "counted")
    assert small.balance("cut")["held"] == 0


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, provider: SteppingProvider) -> Iterator[Installation]:
    with Installation(
        tmp_path_factory.mktemp("strict"), provider.url, credits='mode = "strict"\nassumed_output_tokens = 500'
    ) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "asked", "sent"),
    [
        ("/v1/chat/completions", {}, {"max_tokens": 500}),
        (
            "/v1/chat/completions",
            {"max_completion_tokens": 100_000},
            {"max_completion_tokens": None, "max_tokens": None},
        ),
        ("/v1/chat/completions", {"max_tokens": 100_000, "n": 2}, {"max_tokens": None}),
        ("/v1/chat/completions", {"max_tokens": 30}, {"max_tokens": 30}),
        ("/v1/messages", {"max_tokens": 100_000}, {"max_tokens": None}),
    ],
)
async def test_strict_sends_the_limit_that_is_held(
    strict: Installation, provider: SteppingProvider, path: str, asked: dict[str, int], sent: dict[str, int | None]
) -> None:
    name = f"strict-{path[4:8]}-{'-'.join(f'{key}{value}' for key, value in asked.items())}"
    key = strict.account(name, "3")
    before = len(provider.bodies)
    async with call(strict, key, sized("application/json", PLAIN), path, stream=False, **asked) as answer:
        assert answer.status == 200, await answer.read()
        told = answer.headers.get("x-farebox-token-limit")
    [body] = provider.bodies[before:]
    member, expected = next(iter(sent.items()))
    limit = body[member]
    if expected is not None:
        assert limit == expected
    else:
        # What is left of three credits when every byte of the prompt is paid for as a token, or a little less.
        assert 900 / body.get("n", 1) < 2 * limit < 3000 / body.get("n", 1)
    assert told == (None if asked == {"max_tokens": 30} else str(limit))
    assert {name: body[name] for name in body if "max" in name} == dict.fromkeys(sent, limit)
    [record] = strict.usage(name, 1)
    assert record["hold_microcredits"] <= 3_000_000
    assert record["hold_microcredits"] > 2_950_000 or expected is not None


async def test_strict_refuses_what_not_even_a_short_answer_can_be_paid_from(strict: Installation) -> None:
    async with call(
        strict, strict.account("strict-poor", "0.02"), sized("application/json", PLAIN), stream=False
    ) as answer:
        assert answer.status == 402
        assert (await answer.json())["error"]["code"] == "insufficient_credits"
