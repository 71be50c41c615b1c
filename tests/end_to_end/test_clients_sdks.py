"""The SDKs of Google, Mistral and Cohere, and OpenAI's and Anthropic's for npm, through Farebox with only base URL and key changed.

What they return is what the provider itself makes them return (the simulated one; llmock for Cohere's chat), and each call is on
record with the usage that they were told. A few answers are scripted as their providers' references show them.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clients.llmock import Llmock
from tests.support.clients.runs import Client, Stage, check_record, in_order, staged
from tests.support.scripted_provider import Answer, ScriptedProvider
from tests.support.sdk import PRICE

ASKED_TOKENS = 9  # the text that drivers ask, without a message around it
OPENAI_CHAT = (16, 30)  # of the simulated model, as it says where a client is told
CLIENTS = {
    "google-genai": Client(
        driver="google_genai.py",
        family="sdks",
        modes=dict.fromkeys(
            ("plain", "stream", "plain async", "stream async", "tools", "embeddings", "free count"), "gemini"
        ),
        rejected={"plain": "ClientError"},
        unpaid={"plain": "ClientError"},
    ),
    "mistralai": Client(
        driver="mistral.py",
        family="sdks",
        modes=dict.fromkeys(
            ("plain", "stream", "plain async", "stream async", "tools", "embeddings", "stream of mistral"), "openai"
        ),
        rejected={"plain": "SDKError"},
        unpaid={"plain": "SDKError"},
        models={"chat": "sim", "embed": "mistral-embed", "mistral": "mistral-small-latest"},
        scripted=("embeddings", "stream of mistral"),
    ),
    "cohere": Client(
        driver="cohere_v2.py",
        family="sdks",
        modes=dict.fromkeys(
            ("plain", "stream", "plain async", "stream async", "tools", "embeddings", "rerank"), "cohere"
        ),
        rejected={"plain": "UnauthorizedError"},
        unpaid={"plain": "ApiError"},
        provider="cohere",
        models={"chat": "command-r", "embed": "embed-v4.0", "rerank": "rerank-v3.5"},
        scripted=("embeddings", "rerank"),
    ),
    "npm openai": Client(
        driver="openai.cjs",
        family="sdks",
        modes=dict.fromkeys(("plain", "stream", "tools", "responses", "responses stream", "embeddings"), "openai"),
        rejected={"plain": "AuthenticationError", "responses": "AuthenticationError"},
        unpaid={"plain": "APIError", "responses": "APIError"},
    ),
    "npm anthropic": Client(
        driver="anthropic.cjs",
        family="sdks",
        modes=dict.fromkeys(("plain", "stream", "stream of events", "tools", "free count"), "anthropic"),
        rejected={"plain": "AuthenticationError"},
        unpaid={"plain": "APIError"},
    ),
}
PROVIDERS = """
[providers.mistral]
base_url = "{scripted}/mistral/v1"
api_key = "upstream-key"
[providers.cohere]
dialect = "cohere"
base_url = "{llmock}/cohere"
api_key = "upstream-key"
models = ["command-*"]
[providers.cohere-search]
dialect = "cohere"
base_url = "{scripted}/cohere"
api_key = "upstream-key"
models = ["embed-*", "rerank-*"]
[prices."rerank-v3.5"]
search_units = "2000"
"""
PRICED = ("command-r", "embed-v4.0", "mistral-embed", "mistral-small-latest")

# https://docs.mistral.ai/api/#tag/embeddings and https://docs.mistral.ai/capabilities/completion/#streaming
MISTRAL_EMBEDDING = {
    "id": "d1",
    "object": "list",
    "model": "mistral-embed",
    "data": [{"object": "embedding", "embedding": [0.5, -0.25], "index": 0}],
    "usage": {"prompt_tokens": 11, "total_tokens": 11, "completion_tokens": 0},
}
MISTRAL_USAGE = {"prompt_tokens": 12, "total_tokens": 15, "completion_tokens": 3}
# https://docs.cohere.com/reference/embed and https://docs.cohere.com/reference/rerank
COHERE_EMBEDDING = {
    "id": "e1",
    "embeddings": {"float": [[0.5, -0.25]]},
    "texts": ["..."],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 13}},
    "response_type": "embeddings_by_type",
}
COHERE_ORDER = {
    "id": "r1",
    "results": [{"index": 0, "relevance_score": 0.98}],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
}
SCRIPTED: dict[tuple[str, str], dict[str, Any]] = {
    ("mistralai", "embeddings"): {"text": "[0.5, -0.25]", "input": 11, "output": 0},
    ("mistralai", "stream of mistral"): {"text": "Ships sail.", "input": 12, "output": 3},
    ("cohere", "embeddings"): {"text": "[[0.5, -0.25]]", "input": 13, "output": 0},
    ("cohere", "rerank"): {"text": "0", "input": None, "output": 0, "search_units": 1},
}


def mistral_stream() -> Answer:
    """Mistral tells the usage unasked, with the last piece of the answer."""
    base = {"id": "s1", "object": "chat.completion.chunk", "created": 1, "model": "mistral-small-latest"}
    pieces: list[dict[str, Any]] = [
        {**base, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        for text in ("Ships", " sail.")
    ]
    ending = {"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}
    pieces.append({**base, "choices": [ending], "usage": MISTRAL_USAGE})
    body = b"".join(b"data: %b\n\n" % json.dumps(piece).encode() for piece in pieces) + b"data: [DONE]\n\n"
    return Answer(body=body, headers={"content-type": "text/event-stream"})


pytestmark = pytest.mark.timeout(400)  # the first test of a client installs it


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as provider:
        provider.scripts["mistral"].extend((Answer(body=json.dumps(MISTRAL_EMBEDDING).encode()), mistral_stream()))
        provider.scripts["cohere"].extend(
            Answer(body=json.dumps(answer).encode()) for answer in (COHERE_EMBEDDING, COHERE_ORDER)
        )
        yield provider


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, scripted: ScriptedProvider) -> Iterator[Stage]:
    with Llmock(tmp_path_factory.mktemp("llmock")) as llmock:
        config = PROVIDERS.format(scripted=scripted.url("")[:-1], llmock=llmock.url)
        prices = "\n".join(PRICE.format(model=model) for model in PRICED)
        with staged(tmp_path_factory.mktemp("sdks"), config + prices, cohere=f"{llmock.url}/cohere") as stage:
            yield stage


@pytest.mark.parametrize(("name", "mode"), in_order(CLIENTS, "modes"))
def test_answers_are_the_providers_and_on_record(stage: Stage, name: str, mode: str) -> None:
    client = CLIENTS[name]
    run = stage.run(name, client)
    said = run.said(mode)
    assert said == (SCRIPTED[name, mode] if mode in client.scripted else run.said(mode, "direct"))
    record = run.records[mode]
    if mode == "rerank":
        assert (record["usage"], record["charge_microcredits"]) == ({"search_units": 1}, 2_000_000)
        assert (record["outcome"], record["settlement_basis"]) == ("completed", "reported")
        return
    check_record(record, client, mode, told(mode, said))
    assert record["settlement_basis"] == ("none" if "free" in mode else "reported")


def told(mode: str, said: dict[str, Any]) -> tuple[int, int]:
    """The usage of a call, by what its client was told."""
    if "free" in mode:
        assert said["input"] in {ASKED_TOKENS, OPENAI_CHAT[0]}
        return 0, 0
    if said["input"] is not None:
        return said["input"], said["output"]
    # Who did not ask for a stream's usage is not told, though Farebox is; google-genai does not show that of embeddings.
    return OPENAI_CHAT if "stream" in mode else (ASKED_TOKENS, 0)


@pytest.mark.parametrize(("name", "mode"), in_order(CLIENTS, "rejected"))
def test_a_wrong_key_is_their_error_of_authentication(stage: Stage, name: str, mode: str) -> None:
    error = stage.run(name, CLIENTS[name]).failed(mode, "bad")
    assert CLIENTS[name].rejected[mode] in error["classes"]
    assert error["status"] == 401
    assert "The API key is missing or not valid." in error["message"]


@pytest.mark.parametrize(("name", "mode"), in_order(CLIENTS, "unpaid"))
def test_too_few_credits_are_their_error_of_status_402(stage: Stage, name: str, mode: str) -> None:
    error = stage.run(name, CLIENTS[name]).failed(mode, "poor")
    assert CLIENTS[name].unpaid[mode] in error["classes"]
    assert error["status"] == 402
    assert "credits" in error["message"]


def test_mistral_is_not_asked_for_usage_and_gets_its_own_key(stage: Stage, scripted: ScriptedProvider) -> None:
    stage.run("mistralai", CLIENTS["mistralai"])
    asked = [one for one in scripted.asked if one.provider == "mistral"]
    assert [one.target for one in asked] == ["/v1/embeddings", "/v1/chat/completions"]
    assert "stream_options" not in asked[1].json
    assert {one.headers["authorization"] for one in asked} == {"Bearer upstream-key"}
