"""The simulated provider as the google-genai SDK sees it, and as bytes on the wire, with nothing between them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from proxy.providers.encodings import count_now
from proxy.providers.sim.app import make_app
from proxy.providers.sim.models import SIM_MODELS

# The SDK's own class, not ours.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

ASKED = "Tell me about the sea and its ships."


@pytest.fixture
async def origin() -> AsyncIterator[str]:
    server = TestServer(make_app())
    await server.start_server()
    yield str(server.make_url("")).rstrip("/")
    await server.close()


@pytest.fixture
async def models(origin: str) -> AsyncIterator[Any]:
    genai = pytest.importorskip("google.genai", reason="the google-genai SDK is not installed")
    client = genai.Client(api_key="any", http_options={"base_url": origin})
    yield client.aio.models
    await client.aio.aclose()
    client.close()


async def test_a_plain_answer_and_its_usage(models: Any) -> None:
    answer = await models.generate_content(model="sim", contents=ASKED)
    used = answer.usage_metadata
    assert 40 <= used.candidates_token_count == count_now(answer.text, "sim") <= 60
    assert used.total_token_count == used.prompt_token_count + used.candidates_token_count
    assert answer.candidates[0].finish_reason == "STOP"
    counted = await models.count_tokens(model="sim", contents=ASKED)
    assert counted.total_tokens == used.prompt_token_count
    config: Any = {"max_output_tokens": 5, "candidate_count": 2, "system_instruction": "Be brief."}
    short = await models.generate_content(model="sim", contents=ASKED, config=config)
    assert [candidate.finish_reason for candidate in short.candidates] == ["MAX_TOKENS"] * 2
    assert short.usage_metadata.candidates_token_count == 10
    assert short.usage_metadata.prompt_token_count > used.prompt_token_count


async def test_a_stream_ends_as_the_plain_answer(models: Any) -> None:
    plain = await models.generate_content(model="sim", contents=ASKED)
    chunks = [chunk async for chunk in await models.generate_content_stream(model="sim", contents=ASKED)]
    assert "".join(chunk.text or "" for chunk in chunks) == plain.text
    assert chunks[-1].usage_metadata == plain.usage_metadata
    counts = [chunk.usage_metadata.candidates_token_count for chunk in chunks]
    assert counts[:3] == [1, 2, 3]


async def test_functions(models: Any) -> None:
    schema = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}, "days": {"type": "INTEGER"}}}
    tools = [{"function_declarations": [{"name": "get_weather", "parameters": schema}]}]
    contents: list[Any] = [{"role": "user", "parts": [{"text": "Use get_weather."}]}]
    answer = await models.generate_content(model="sim", contents=contents, config={"tools": tools})
    call = answer.function_calls[0]
    assert call.name == "get_weather"
    assert isinstance(call.args["city"], str)
    assert isinstance(call.args["days"], int)
    chunks = await models.generate_content_stream(model="sim", contents=contents, config={"tools": tools})
    assert [chunk.function_calls[0] async for chunk in chunks if chunk.function_calls] == [call]
    result = {"function_response": {"name": "get_weather", "response": {"result": "get_weather says sunny"}}}
    contents += [answer.candidates[0].content, {"role": "user", "parts": [result]}]
    after = await models.generate_content(model="sim", contents=contents, config={"tools": tools})
    assert after.text
    for mode, called in (("ANY", True), ("NONE", False)):
        config = {"tools": tools, "tool_config": {"function_calling_config": {"mode": mode}}}
        answer = await models.generate_content(model="sim", contents=ASKED, config=config)
        assert bool(answer.function_calls) is called


async def test_embeddings_and_models(models: Any) -> None:
    made = await models.embed_content(model="sim", contents=["one", "two"], config={"output_dimensionality": 8})
    assert [len(row.values) for row in made.embeddings] == [8, 8]
    assert made.embeddings[0].values != made.embeddings[1].values
    assert [model.name async for model in await models.list()] == [f"models/{name}" for name in SIM_MODELS]
    assert (await models.get(model="sim")).name == "models/sim"


async def test_errors_are_the_sdks_own(models: Any) -> None:
    errors = pytest.importorskip("google.genai.errors")
    with pytest.raises(errors.ClientError) as unknown:
        await models.generate_content(model="gemini-none", contents=ASKED)
    assert (unknown.value.code, unknown.value.status) == (404, "NOT_FOUND")
    with pytest.raises(errors.ServerError):
        await models.generate_content(model="sim-error", contents=ASKED)
    config = {"http_options": {"extra_body": {"sim": {"error_after": 2}}}}
    with pytest.raises(errors.ServerError, match="told to fail"):
        async for _ in await models.generate_content_stream(model="sim", contents=ASKED, config=config):
            pass


async def test_a_stream_is_an_array_where_events_are_not_asked_for(origin: str) -> None:
    body = {"contents": [{"parts": [{"text": ASKED}]}], "generation_config": {"max_output_tokens": 4}}
    url = f"{origin}/v1/models/sim:streamGenerateContent"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, json=body) as answer:
            assert answer.content_type == "application/json"
            array = json.loads(await answer.read())
        async with session.post(f"{url}?alt=sse", json=body) as answer:
            assert answer.content_type == "text/event-stream"
            events = (await answer.text()).split("\r\n\r\n")
    assert [json.loads(event.removeprefix("data: ")) for event in events if event] == array
    assert len(array) == 5
    assert array[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"


async def test_embedding_one_and_many(origin: str) -> None:
    content = {"content": {"parts": [{"text": "one two"}]}, "outputDimensionality": 4}
    async with aiohttp.ClientSession(origin) as session:
        async with session.post("/v1beta/models/sim:embedContent", json=content) as answer:
            one = await answer.json()
        async with session.post("/v1beta/models/sim:batchEmbedContents", json={"requests": [content] * 2}) as answer:
            two = await answer.json()
        async with session.post("/v1beta/models/sim:batchEmbedContents", json={"requests": []}) as answer:
            assert answer.status == 400
            assert (await answer.json())["error"]["status"] == "INVALID_ARGUMENT"
        async with session.post("/v1beta/models/sim:predict", json={}) as answer:
            assert answer.status == 404
    assert two["embeddings"] == [one["embedding"]] * 2
    assert one["usageMetadata"]["promptTokenCount"] == 2
