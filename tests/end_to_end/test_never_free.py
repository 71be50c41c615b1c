"""An answer that tells no usage, or none that can be read, is charged all the same, in every dialect; a refusal is not."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.support.installation import MODEL, Installation
from tests.support.stepping_provider import RESET, Step, SteppingProvider, head, send

_EXTRA = """
[providers.google]
dialect = "gemini"
base_url = "{url}"
api_key = "google-key-canary"
models = ["test-model"]
[providers.co]
dialect = "cohere"
base_url = "{url}"
api_key = "cohere-key-canary"
models = ["test-model"]
[providers.aws]
dialect = "bedrock"
base_url = "{url}"
api_key = "bedrock-key-canary"
models = ["test-model"]
"""
WORDS = "some words that a provider reads, and bills"
TURN = [{"role": "user", "content": WORDS}]
CONTENTS = [{"role": "user", "parts": [{"text": WORDS}]}]
BLOCKS = [{"role": "user", "content": [{"text": WORDS}]}]

OPERATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"model": MODEL, "messages": TURN, "max_tokens": 20}),
    "chat stream": ("/v1/chat/completions", {"model": MODEL, "messages": TURN, "stream": True}),
    "completions": ("/v1/completions", {"model": MODEL, "prompt": WORDS}),
    "responses": ("/v1/responses", {"model": MODEL, "input": WORDS}),
    "responses stream": ("/v1/responses", {"model": MODEL, "input": WORDS, "stream": True}),
    "compact": ("/v1/responses/compact", {"model": MODEL, "input": WORDS}),
    "embeddings": ("/v1/embeddings", {"model": MODEL, "input": WORDS}),
    "images": ("/v1/images/generations", {"model": MODEL, "prompt": WORDS}),
    "speech": ("/v1/audio/speech", {"model": MODEL, "input": WORDS, "voice": "alloy"}),
    "rerank": ("/v1/rerank", {"model": MODEL, "query": WORDS, "documents": [WORDS]}),
    "messages": ("/v1/messages", {"model": MODEL, "messages": TURN, "max_tokens": 20}),
    "messages stream": ("/v1/messages", {"model": MODEL, "messages": TURN, "max_tokens": 20, "stream": True}),
    "gemini": (f"/v1beta/models/{MODEL}:generateContent", {"contents": CONTENTS}),
    "gemini array": (f"/v1beta/models/{MODEL}:streamGenerateContent", {"contents": CONTENTS}),
    "gemini events": (f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse", {"contents": CONTENTS}),
    "gemini embeds": (f"/v1beta/models/{MODEL}:embedContent", {"content": CONTENTS[0]}),
    "cohere chat": ("/co/v2/chat", {"model": MODEL, "messages": TURN}),
    "cohere embeds": (
        "/co/v2/embed",
        {"model": MODEL, "texts": [WORDS], "input_type": "search_query", "embedding_types": ["float"]},
    ),
    "cohere reranks": ("/co/v2/rerank", {"model": MODEL, "query": WORDS, "documents": [WORDS]}),
    "converse": (f"/aws/model/{MODEL}/converse", {"messages": BLOCKS}),
    "converse stream": (f"/aws/model/{MODEL}/converse-stream", {"messages": BLOCKS}),
    "invoke": (f"/aws/model/{MODEL}/invoke", {"prompt": WORDS, "max_tokens": 20}),
    "invoke stream": (f"/aws/model/{MODEL}/invoke-with-response-stream", {"prompt": WORDS, "max_tokens": 20}),
}
JSON, EVENTS = "application/json", "text/event-stream"


def whole(body: bytes, content_type: str | None = JSON, *more: str, status: str = "200 OK") -> list[Step]:
    return [send(head(content_type, "connection: close", *more, status=status, length=len(body)) + body)]


UNTOLD: dict[str, list[Step]] = {
    "nothing at all": whole(b""),
    "an empty stream": whole(b"", EVENTS),
    "204": [send(head(JSON, "connection: close", status="204 No Content", length=0))],
    "204 that says it is a stream": [send(head(EVENTS, "connection: close", status="204 No Content", length=0))],
    "an empty object": whole(b"{}"),
    "null": whole(b"null"),
    "usage null": whole(b'{"usage":null,"usageMetadata":null,"meta":null}'),
    "usage empty": whole(b'{"usage":{},"usageMetadata":{},"meta":{}}'),
    "usage of the wrong kind": whole(b'{"usage":"7","usageMetadata":[],"meta":3}'),
    "usage below zero": whole(b'{"usage":{"prompt_tokens":-7,"completion_tokens":-1,"input_tokens":-9,"output_tokens":-1}}'),
    "no JSON": whole(b"words"),
    "half of the JSON": whole(b'{"usage":{"prompt_tok'),
    "JSON without a type": whole(b'{"choices":[]}', None),
    "JSON called text": whole(b'{"choices":[]}', "text/plain"),
    "JSON called a stream": whole(b'{"choices":[]}', EVENTS),
    "events called JSON": whole(b"data: {}\n\n", JSON),
    "an end mark alone": whole(b"data: [DONE]\n\n", EVENTS),
    "another coding": whole(b"words", JSON, "content-encoding: snappy"),
    "a broken coding": whole(b"words", JSON, "content-encoding: gzip"),
    "a broken coding of a stream": whole(b"words", EVENTS, "content-encoding: gzip, gzip"),
    "a body that breaks off": [send(head(JSON, "connection: close", length=500) + b'{"id":"x",'), RESET],
    "a redirect": whole(b"", None, "location: http://127.0.0.1:1/", status="302 Found"),
}  # fmt: skip
REFUSED: dict[str, list[Step]] = {
    f"{status}": whole(b'{"error":{"message":"no"},"usage":{"prompt_tokens":5}}', status=f"{status} Odd")
    for status in (400, 404, 429, 500, 503)
}


@pytest.fixture(scope="module")
def provider() -> Iterator[SteppingProvider]:
    with SteppingProvider() as running:
        yield running


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: SteppingProvider) -> Iterator[Installation]:
    extra = _EXTRA.format(url=provider.url)
    with Installation(
        tmp_path_factory.mktemp("farebox"), provider.url, extra=extra, upstream="rest_after_failures = 1000000"
    ) as running:
        yield running


async def calls(farebox: Installation, key: str, answers: dict[str, list[Step]]) -> dict[tuple[str, str], str]:
    """Makes every call with every answer; (operation, answer) -> the call's id."""
    limit = asyncio.Semaphore(8)
    ids: dict[tuple[str, str], str] = {}

    async def one(session: aiohttp.ClientSession, operation: str, answer: str) -> None:
        path, body = OPERATIONS[operation]
        async with limit:
            try:
                async with session.post(farebox.url + path, json={**body, "mock": answers[answer]}) as got:
                    ids[operation, answer] = got.headers["x-farebox-call-id"]
                    await got.read()
            except aiohttp.ClientPayloadError:
                pass  # the provider's answer was broken off, and so is ours

    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(
        headers={"authorization": f"Bearer {key}"}, timeout=timeout, auto_decompress=False
    ) as session:
        await asyncio.gather(*[one(session, operation, answer) for operation in OPERATIONS for answer in answers])
    return ids


async def test_an_answer_without_usage_is_charged(farebox: Installation) -> None:
    key = farebox.account("untold", "100000")
    ids = await calls(farebox, key, UNTOLD)
    assert len(ids) == len(OPERATIONS) * len(UNTOLD)
    records = {one["call_id"]: one for one in farebox.usage("untold", len(ids))}
    free = {
        what: (records[one]["settlement_basis"], records[one]["status"])
        for what, one in ids.items()
        if records[one]["charge_microcredits"] <= 0
    }
    assert not free, free
    above = [
        (what, record["charge_microcredits"], record["hold_microcredits"])
        for what, one in ids.items()
        if (record := records[one])["charge_microcredits"] > record["hold_microcredits"]
    ]
    assert not above, above
    assert farebox.balance("untold")["held"] == 0
    farebox.audit()


async def test_a_refusal_costs_nothing_whatever_it_says(farebox: Installation) -> None:
    key = farebox.account("refused", "1000")
    ids = await calls(farebox, key, REFUSED)
    records = farebox.usage("refused", len(ids))
    assert {(one["settlement_basis"], one["charge_microcredits"]) for one in records} == {("none", 0)}
    assert json.dumps(farebox.balance("refused")["credits"]) == '"1000"'
