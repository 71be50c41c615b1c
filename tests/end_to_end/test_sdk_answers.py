"""The official SDKs through Farebox get what they get from the provider itself, and every call is on record with its usage."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.sdk import (
    PROVIDER,
    SPEAKERS,
    WEATHER_TOOLS,
    Scene,
    Sim,
    Speaker,
    as_json,
    check_record,
    done,
    drained,
    each,
    opened,
    reported_usage,
    request_for,
)
from tests.support.tap import Tap


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Sim() as sim, Tap(sim.url) as tap:
        provider = PROVIDER.format(name="sim", url=tap.url, models=as_json(["sim", "sim-*"]), more="")
        yield from opened(tmp_path_factory.mktemp("farebox"), tap, "sim", provider)


@pytest.fixture(params=SPEAKERS)
async def speaker(request: pytest.FixtureRequest, scene: Scene) -> AsyncIterator[Speaker]:
    made = Speaker.of(request.param, scene.farebox.url, scene.key)
    yield made
    await made.close()


@pytest.fixture
async def direct(request: pytest.FixtureRequest, scene: Scene, speaker: Speaker) -> AsyncIterator[Speaker]:
    """The same client, of the provider itself."""
    made = Speaker.of(request.node.callspec.params["speaker"], scene.tap.url, "any")
    yield made
    await made.close()


def tools_of(speaker: Speaker, *, wanted: bool) -> dict[str, Any]:
    return WEATHER_TOOLS[speaker.dialect] if wanted else {}


def without_null_usage(content: Any) -> Any:
    """Chunks of a stream whose usage Farebox asked for say `"usage": null`, as OpenAI documents; those bytes stay."""
    if not isinstance(content, list):
        return content
    return [{name: value for name, value in event.items() if (name, value) != ("usage", None)} for event in content]


@pytest.mark.parametrize("tools", [False, True], ids=["text", "tools"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_answers_are_the_providers(
    scene: Scene, speaker: Speaker, direct: Speaker, *, stream: bool, tools: bool
) -> None:
    request = request_for(scene, stream=stream, **tools_of(speaker, wanted=tools))
    through = await speaker.ask(**request)
    upstream = scene.tap.calls[-1]
    assert without_null_usage(through.content) == (await direct.ask(**request)).content
    record = await scene.record(through.call_id)
    check_record(
        scene, record, through, reported_usage(speaker.dialect, upstream.events() if stream else upstream.document())
    )
    assert (record.dialect, record.stream, record.provider) == (speaker.dialect, stream, "sim")
    assert through.retries == 0


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_bytes_are_the_providers(scene: Scene, speaker: Speaker, *, stream: bool) -> None:
    request = request_for(scene, "Bytes, please.", stream=stream)
    got = await speaker.raw(**request)
    expected = scene.tap.calls[-1].answer
    if stream and speaker.dialect == "openai":  # the chunk that Farebox asked for is the one thing that it takes out
        events = expected.split(b"\n\n")
        kept = [event for event in events if b'"choices":[]' not in event]
        assert len(kept) == len(events) - 1
        expected = b"\n\n".join(kept)
    assert got == expected
    await scene.new_records()


@pytest.mark.parametrize("name", ["openai-sync", "openai-async"])
async def test_usage_chunk_reaches_a_client_that_asks_for_it(scene: Scene, name: str) -> None:
    speaker = Speaker.of(name, scene.farebox.url, scene.key)
    request = request_for(scene, "With usage.", stream=True, stream_options={"include_usage": True})
    got = await speaker.raw(**request)
    assert got == scene.tap.calls[-1].answer
    await scene.new_records()
    answer = await speaker.ask(**request)
    check_record(scene, await scene.record(answer.call_id), answer, reported_usage("openai", answer.content))
    await speaker.close()


async def test_tool_calls_are_whole(scene: Scene, speaker: Speaker) -> None:
    answer = await speaker.ask(**request_for(scene, **tools_of(speaker, wanted=True)))
    if speaker.dialect == "openai":
        [choice] = answer.content["choices"]
        [call] = choice["message"]["tool_calls"]
        assert choice["finish_reason"] == "tool_calls"
        assert (call["function"]["name"], call["function"]["arguments"]) == ("get_weather", '{"city":"Oslo","days":3}')
    else:
        [block] = answer.content["content"]
        assert answer.content["stop_reason"] == "tool_use"
        assert (block["name"], block["input"]) == ("get_weather", {"city": "Oslo", "days": 3})
    await scene.record(answer.call_id)


async def test_stream_helpers_put_the_same_answer_together(scene: Scene, speaker: Speaker, direct: Speaker) -> None:
    """`client.chat.completions.stream(...)` and `client.messages.stream(...)`, as the SDKs' own guides show them."""

    async def final(one: Speaker) -> Any:
        manager = one.calls.stream(**request_for(scene, "Together.", **tools_of(one, wanted=True)))
        is_async = hasattr(manager, "__aenter__")
        stream = await manager.__aenter__() if is_async else await done(manager.__enter__)
        try:
            await drained(stream) if one.dialect == "anthropic" else [event async for event in each(stream)]
            whole = await done(stream.get_final_completion if one.dialect == "openai" else stream.get_final_message)
        finally:
            await (manager.__aexit__(None, None, None) if is_async else done(manager.__exit__, None, None, None))
        return whole.to_dict()

    assert await final(speaker) == await final(direct)
    await scene.new_records()


async def test_a_stream_is_not_held_back(scene: Scene, speaker: Speaker) -> None:
    request = request_for(scene, stream=True, extra_body={"sim": {"tokens": 12, "pace_ms": 60}})
    stream = await done(speaker.calls.create, **request)
    events = each(stream)
    for _ in range(4):  # beginnings, and a first token
        await anext(events)
    assert not scene.tap.calls[-1].ended
    rest = [event async for event in events]
    assert len(rest) >= 10
    [record] = await scene.new_records()
    assert (record.outcome, record.output_tokens) == ("completed", 12)
    assert record.time_to_first_byte_ms is not None
    assert record.time_to_first_byte_ms < record.duration_ms - 300


async def test_usage_that_the_provider_leaves_out_is_counted(scene: Scene, speaker: Speaker) -> None:
    for stream in (False, True):
        request = request_for(scene, "Silently.", stream=stream)
        told = await speaker.ask(**request)
        silent = await speaker.ask(**request, extra_body={"sim": {"omit_usage": True}})
        reported, counted = await scene.record(told.call_id), await scene.record(silent.call_id)
        assert (counted.outcome, counted.settlement_basis) == ("completed", "counted")
        assert counted.output_tokens == reported.output_tokens == 30
        assert 0 < counted.input_tokens <= reported.input_tokens
        assert counted.charge_microcredits == counted.input_tokens * 1000 + counted.output_tokens * 2000


async def test_many_calls_of_one_client_at_once(scene: Scene, speaker: Speaker) -> None:
    answers = await asyncio.gather(
        *(speaker.ask(**request_for(scene, f"Number {number}", stream=bool(number % 2))) for number in range(12))
    )
    assert len({answer.call_id for answer in answers}) == 12
    for answer in answers:
        assert (await scene.record(answer.call_id)).output_tokens == 30
