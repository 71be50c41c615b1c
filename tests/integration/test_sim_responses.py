"""The simulated provider's responses, legacy completions and embeddings as the OpenAI SDK sees them, with nothing between."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from aiohttp.test_utils import TestServer
from openai import AsyncOpenAI

from proxy.providers.encodings import count_now
from proxy.providers.sim.app import make_app

ASKED = "Tell me about the sea and its ships."
TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    "strict": False,
}


@pytest.fixture
async def client() -> AsyncIterator[AsyncOpenAI]:
    server = TestServer(make_app())
    await server.start_server()
    async with AsyncOpenAI(base_url=str(server.make_url("/v1")), api_key="any", max_retries=0) as made:
        yield made
    await server.close()


async def test_a_plain_response_and_its_usage(client: AsyncOpenAI) -> None:
    answer = await client.responses.create(model="sim", input=ASKED)
    assert (answer.status, answer.error, answer.object) == ("completed", None, "response")
    assert answer.usage is not None
    assert 40 <= answer.usage.output_tokens == count_now(answer.output_text, "sim") <= 60
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    counted = await client.responses.input_tokens.count(model="sim", input=ASKED)
    assert counted.input_tokens == answer.usage.input_tokens > count_now(ASKED, "sim")
    limited = await client.responses.create(model="sim", input=ASKED, max_output_tokens=7)
    assert (limited.status, limited.usage and limited.usage.output_tokens) == ("incomplete", 7)
    assert limited.incomplete_details is not None
    assert limited.incomplete_details.reason == "max_output_tokens"


async def test_a_stream_has_the_events_of_the_api_and_ends_as_the_plain_response(client: AsyncOpenAI) -> None:
    plain = await client.responses.create(model="sim", input=ASKED, store=False)
    stream = await client.responses.create(model="sim", input=ASKED, stream=True, store=False)
    events: list[Any] = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == plain.output_text
    kinds = [event.type for event in events if event.type != "response.output_text.delta"]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert events[-1].response.to_dict() == plain.to_dict()
    async with client.responses.stream(model="sim", input=ASKED, store=False) as helped:
        assert (await helped.get_final_response()).output_text == plain.output_text


async def test_functions_are_called_and_their_results_answered(client: AsyncOpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": "Please use get_weather."}]
    answer = await client.responses.create(model="sim", input=asked, tools=[TOOL, {"type": "web_search"}], store=False)
    call: Any = answer.output[0]
    assert (call.type, call.name) == ("function_call", "get_weather")
    assert set(json.loads(call.arguments)) == {"city", "days"}
    async with client.responses.stream(model="sim", input=asked, tools=[TOOL], store=False) as stream:
        kinds = [event.type async for event in stream]
        streamed: Any = (await stream.get_final_response()).output[0]
    assert "response.function_call_arguments.done" in kinds
    assert streamed.arguments == call.arguments
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    after = await client.responses.create(model="sim", input=[*asked, call.to_dict(), result], tools=[TOOL])
    assert after.output_text


async def test_a_response_in_the_background_is_queued_fetched_and_charged_by_its_own_usage(client: AsyncOpenAI) -> None:
    queued = await client.responses.create(model="sim", input=ASKED, background=True)
    assert (queued.status, queued.usage, queued.output) == ("queued", None, [])
    for _ in range(100):
        fetched = await client.responses.retrieve(queued.id)
        if fetched.status != "queued":
            break
        await asyncio.sleep(0.02)
    assert fetched.status == "completed"
    assert fetched.usage is not None
    assert fetched.usage.output_tokens == count_now(fetched.output_text, "sim")
    slow: Any = {"sim": {"delay_ms": 60_000}}
    waiting = await client.responses.create(model="sim", input=ASKED, background=True, extra_body=slow)
    assert (await client.responses.cancel(waiting.id)).status == "cancelled"
    await client.responses.delete(waiting.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(waiting.id)


async def test_a_continued_conversation_costs_its_earlier_turns_again(client: AsyncOpenAI) -> None:
    first = await client.responses.create(model="sim", input=ASKED)
    alone = await client.responses.create(model="sim", input="And then?")
    second = await client.responses.create(model="sim", input="And then?", previous_response_id=first.id)
    assert first.usage is not None
    assert alone.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens == alone.usage.input_tokens + first.usage.total_tokens
    folded = await client.responses.compact(model="sim", input=ASKED)
    assert [item.type for item in folded.output] == ["message", "compaction"]
    assert folded.usage.total_tokens > 0


async def test_failures_are_the_sdks_own(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="gpt-5", input=ASKED)
    with pytest.raises(openai.BadRequestError):
        await client.responses.create(model="sim", input=ASKED, max_output_tokens=-1)
    with pytest.raises(openai.InternalServerError):
        await client.responses.create(model="sim-error", input=ASKED)
    steered: Any = {"sim": {"error_after": 3}}
    with pytest.raises(openai.APIError, match="told to fail"):
        async for _ in await client.responses.create(model="sim", input=ASKED, stream=True, extra_body=steered):
            pass
    with pytest.raises(openai.APIConnectionError):
        async for _ in await client.responses.create(model="sim-cut", input=ASKED, stream=True):
            pass


@pytest.mark.parametrize("asked", [True, False])
async def test_legacy_completions(client: AsyncOpenAI, asked: bool) -> None:
    plain = await client.completions.create(model="sim", prompt=["one", "two"], n=2, max_tokens=9)
    assert [choice.index for choice in plain.choices] == [0, 1, 2, 3]
    assert plain.usage is not None
    assert (plain.usage.prompt_tokens, plain.usage.completion_tokens) == (count_now("one\ntwo", "sim"), 36)
    assert (await client.completions.create(model="sim", prompt=[9906, 1917])).choices[0].finish_reason == "length"
    options: Any = {"include_usage": True} if asked else openai.omit
    stream = await client.completions.create(
        model="sim", prompt=["one", "two"], n=2, max_tokens=9, stream=True, stream_options=options
    )
    chunks = [chunk async for chunk in stream]
    first = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices and chunk.choices[0].index == 0)
    assert first == plain.choices[0].text
    assert [chunk.usage for chunk in chunks if chunk.usage] == ([plain.usage] if asked else [])


async def test_embeddings_are_the_same_as_floats_and_in_base64(client: AsyncOpenAI) -> None:
    packed = await client.embeddings.create(model="sim", input=["one", "two"], dimensions=8)
    floats = await client.embeddings.create(model="sim", input=["one", "two"], dimensions=8, encoding_format="float")
    assert packed.usage.prompt_tokens == packed.usage.total_tokens == 2
    assert len(packed.data) == 2
    assert packed.data[0].embedding == pytest.approx(floats.data[0].embedding, abs=1e-6)
    assert packed.data[0].embedding != packed.data[1].embedding
    assert sum(value * value for value in floats.data[0].embedding) == pytest.approx(1)
    assert len((await client.embeddings.create(model="sim", input="one")).data[0].embedding) == 256
    bad: list[Any] = [[], [None], {}]
    for given in bad:
        with pytest.raises(openai.BadRequestError):
            await client.embeddings.create(model="sim", input=given)
    assert (await client.models.retrieve("sim")).id == "sim"
