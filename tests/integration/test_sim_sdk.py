"""The simulated provider as the official SDKs see it, with nothing between them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
from aiohttp.test_utils import TestServer
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from proxy.providers.encodings import count_now
from proxy.providers.sim.app import make_app
from proxy.providers.sim.models import SIM_MODELS

HELLO: list[Any] = [{"role": "user", "content": "Tell me about the sea and its ships."}]
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
}
CHAT_TOOL: Any = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
MESSAGES_TOOL: Any = {"name": "get_weather", "input_schema": WEATHER}


@pytest.fixture
async def origin() -> AsyncIterator[str]:
    server = TestServer(make_app())
    await server.start_server()
    yield str(server.make_url("")).rstrip("/")
    await server.close()


@pytest.fixture
async def chat(origin: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{origin}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(origin: str) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=origin, api_key="any", max_retries=0) as client:
        yield client


async def test_openai_plain(chat: AsyncOpenAI) -> None:
    answer = await chat.chat.completions.create(model="sim", messages=HELLO)
    again = await chat.chat.completions.create(model="sim", messages=HELLO)
    assert answer.to_json() == again.to_json()
    assert answer.usage is not None
    content = answer.choices[0].message.content or ""
    assert answer.choices[0].finish_reason == "stop"
    assert 40 <= answer.usage.completion_tokens == count_now(content, "sim") <= 60
    assert answer.usage.prompt_tokens == count_now("Tell me about the sea and its ships.", "sim") + 7
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_openai_limits_choices_and_stop_sequences(chat: AsyncOpenAI) -> None:
    answer = await chat.chat.completions.create(model="sim", messages=HELLO, max_completion_tokens=7, n=3)
    assert answer.usage is not None
    assert [choice.finish_reason for choice in answer.choices] == ["length"] * 3
    assert answer.usage.completion_tokens == 21
    assert len({choice.message.content for choice in answer.choices}) == 3
    stopped = await chat.chat.completions.create(model="sim", messages=HELLO, stop=["."])
    assert stopped.choices[0].finish_reason == "stop"
    assert "." not in (stopped.choices[0].message.content or "")


@pytest.mark.parametrize("asked", [True, False])
async def test_openai_stream_has_usage_only_where_it_is_asked_for(chat: AsyncOpenAI, asked: bool) -> None:
    plain = await chat.chat.completions.create(model="sim", messages=HELLO)
    options: Any = {"include_usage": True} if asked else openai.omit
    stream = await chat.chat.completions.create(model="sim", messages=HELLO, stream=True, stream_options=options)
    chunks = [chunk async for chunk in stream]
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert usages == ([plain.usage] if asked else [])
    assert [chunk.choices for chunk in chunks[-1:]] == ([[]] if asked else [chunks[-1].choices])
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


async def test_openai_tools(chat: AsyncOpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": "Please use get_weather for me."}]
    answer = await chat.chat.completions.create(model="sim", messages=asked, tools=[CHAT_TOOL])
    call: Any = (answer.choices[0].message.tool_calls or [])[0]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "get_weather"
    assert set(json.loads(call.function.arguments)) == {"city", "days", "unit"}
    stream = await chat.chat.completions.create(model="sim", messages=asked, tools=[CHAT_TOOL], stream=True)
    parts = [chunk.choices[0].delta.tool_calls async for chunk in stream]
    arguments = "".join(part[0].function.arguments or "" for part in parts if part and part[0].function)
    assert arguments == call.function.arguments
    said: Any = answer.choices[0].message.model_dump()
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny, get_weather"}
    after = await chat.chat.completions.create(model="sim", messages=[*asked, said, result], tools=[CHAT_TOOL])
    assert after.choices[0].message.content
    for choice, reason in (("required", "tool_calls"), ("none", "stop"), ("auto", "stop")):
        chosen: Any = choice
        answer = await chat.chat.completions.create(model="sim", messages=HELLO, tools=[CHAT_TOOL], tool_choice=chosen)
        assert answer.choices[0].finish_reason == reason


async def test_openai_errors_are_the_sdks_own(chat: AsyncOpenAI) -> None:
    create = chat.chat.completions.create
    with pytest.raises(openai.NotFoundError) as unknown:
        await create(model="gpt-4o", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        await create(model="sim", messages=HELLO, max_tokens=-1)
    assert bad.value.param == "max_tokens"
    with pytest.raises(openai.InternalServerError):
        await create(model="sim-error", messages=HELLO)
    with pytest.raises(openai.RateLimitError):
        await create(model="sim", messages=HELLO, extra_body={"sim": {"status": 429}})
    with pytest.raises(openai.BadRequestError, match="unknown field"):
        await create(model="sim", messages=HELLO, extra_body={"sim": {"speed": 1}})
    with pytest.raises(openai.APIConnectionError):
        await create(model="sim-cut", messages=HELLO)


async def test_openai_stream_failures(chat: AsyncOpenAI) -> None:
    seen: list[Any] = []

    async def read(**steered: Any) -> None:
        async for chunk in await chat.chat.completions.create(messages=HELLO, stream=True, **steered):
            seen.append(chunk)  # noqa: PERF401 - what came before the error is looked at

    with pytest.raises(openai.APIConnectionError):
        await read(model="sim-cut")
    assert len(seen) == 11
    with pytest.raises(openai.APIError, match="told to fail"):
        await read(model="sim", extra_body={"sim": {"error_after": 3}})


async def test_a_slow_model_times_out(chat: AsyncOpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        await chat.chat.completions.create(
            model="sim", messages=HELLO, extra_body={"sim": {"delay_ms": 5000}}, timeout=0.2
        )


async def test_length_and_usage_as_asked(chat: AsyncOpenAI) -> None:
    steered = {"sim": {"tokens": 300, "omit_usage": True, "pace_ms": 1}}
    answer = await chat.chat.completions.create(model="sim", messages=HELLO, extra_body=steered)
    assert answer.usage is None
    assert count_now(answer.choices[0].message.content or "", "sim") == 300


async def test_anthropic_plain(claude: AsyncAnthropic) -> None:
    answer = await claude.messages.create(model="sim", max_tokens=1000, messages=HELLO, system="Be brief.")
    assert answer.stop_reason == "end_turn"
    block: Any = answer.content[0]
    assert 40 <= answer.usage.output_tokens == count_now(block.text, "sim") <= 60
    short = await claude.messages.create(model="sim", max_tokens=5, messages=HELLO)
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 5)
    stopped = await claude.messages.create(model="sim", max_tokens=500, messages=HELLO, stop_sequences=["."])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", ".")


async def test_anthropic_stream_ends_as_the_plain_answer(claude: AsyncAnthropic) -> None:
    plain = await claude.messages.create(model="sim", max_tokens=1000, messages=HELLO)
    async with claude.messages.stream(model="sim", max_tokens=1000, messages=HELLO) as stream:
        kinds = [event.type async for event in stream]
        message = await stream.get_final_message()
    assert message.content[0].model_dump()["text"] == plain.content[0].model_dump()["text"]
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", plain.usage.output_tokens)
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"


async def test_anthropic_tools(claude: AsyncAnthropic) -> None:
    asked: list[Any] = [{"role": "user", "content": "Which tool fits?"}]
    answer = await claude.messages.create(model="sim", max_tokens=100, messages=asked, tools=[MESSAGES_TOOL])
    call: Any = answer.content[0]
    assert (answer.stop_reason, call.type, call.name) == ("tool_use", "tool_use", "get_weather")
    assert set(call.input) == {"city", "days", "unit"}
    async with claude.messages.stream(model="sim", max_tokens=100, messages=asked, tools=[MESSAGES_TOOL]) as stream:
        streamed: Any = (await stream.get_final_message()).content[0]
    assert streamed.input == call.input
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny tool"}]}
    history = [*asked, {"role": "assistant", "content": [call.model_dump()]}, result]
    after = await claude.messages.create(model="sim", max_tokens=100, messages=history, tools=[MESSAGES_TOOL])
    assert after.stop_reason == "end_turn"


async def test_anthropic_counts_and_models_and_errors(claude: AsyncAnthropic, chat: AsyncOpenAI) -> None:
    counted = await claude.messages.count_tokens(model="sim", messages=HELLO)
    answer = await claude.messages.create(model="sim", max_tokens=5, messages=HELLO)
    assert counted.input_tokens == answer.usage.input_tokens
    assert [model.id async for model in claude.models.list()] == list(SIM_MODELS)
    assert [model.id async for model in chat.models.list()] == list(SIM_MODELS)
    with pytest.raises(anthropic.NotFoundError):
        await claude.messages.create(model="claude", max_tokens=5, messages=HELLO)
    with pytest.raises(anthropic.BadRequestError):
        await claude.messages.create(model="sim", max_tokens=-5, messages=HELLO)
    with pytest.raises(anthropic.APIStatusError, match="told to fail"):
        async with claude.messages.stream(
            model="sim", max_tokens=50, messages=HELLO, extra_body={"sim": {"error_after": 3}}
        ) as stream:
            await stream.get_final_message()
