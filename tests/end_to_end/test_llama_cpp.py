"""The official SDKs through Farebox to a real llama.cpp server: its bytes, its usage (cached tokens too), an exact record.

Its answers differ each time in ids and timings, so a call is held against what a wire tap saw of that very call.
"""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from tests.support.llama_cpp import PARTS, LlamaCpp
from tests.support.processes import until
from tests.support.sdk import (
    PROVIDER,
    SPEAKERS,
    WEATHER_TOOLS,
    Scene,
    Speaker,
    as_json,
    check_record,
    done,
    each,
    opened,
    reported_usage,
    request_for,
)
from tests.support.tap import Tap

MISSING = [part for part in PARTS if find_spec(part) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"no wheel of {', '.join(MISSING)} for {sys.platform}: llama.cpp cannot run here"
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with LlamaCpp(tmp_path_factory.mktemp("llama")) as llama, Tap(llama.url) as tap:
        provider = PROVIDER.format(name="llama", url=tap.url, models=as_json(["tiny"]), more="")
        yield from opened(tmp_path_factory.mktemp("farebox"), tap, "tiny", provider)


@pytest.fixture(params=SPEAKERS)
async def speaker(request: pytest.FixtureRequest, scene: Scene) -> AsyncIterator[Speaker]:
    made = Speaker.of(request.param, scene.farebox.url, scene.key)
    yield made
    await made.close()


def small(scene: Scene, text: str = "Tell me about the sea and its ships.", **more: Any) -> dict[str, Any]:
    return request_for(scene, text, **{"max_tokens": 16, **more})


def sent_to(speaker: Speaker, scene: Scene, *, stream: bool) -> Any:
    """What the upstream sent of the newest call, without the one event that Farebox takes out."""
    upstream = scene.tap.calls[-1]
    if not stream:
        return upstream.document()
    return [event for event in upstream.events() if event.get("choices") != [] or speaker.dialect != "openai"]


@pytest.mark.parametrize("tools", [False, True], ids=["text", "tools"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_answers_and_usage_are_llama_cpps(scene: Scene, speaker: Speaker, *, stream: bool, tools: bool) -> None:
    more: dict[str, Any] = (
        {**WEATHER_TOOLS[speaker.dialect], "max_tokens": 200, "extra_body": {"temperature": 0}} if tools else {}
    )
    answer = await speaker.ask(**small(scene, stream=stream, **more))
    assert answer.content == sent_to(speaker, scene, stream=stream)
    upstream = scene.tap.calls[-1]
    usage = reported_usage(speaker.dialect, upstream.events() if stream else upstream.document())
    assert usage["output"] > 0
    check_record(scene, await scene.record(answer.call_id), answer, usage)
    if tools:
        assert "get_weather" in str(answer.content)
    received = json.loads(upstream.request)
    assert received["model"] == "tiny"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_bytes_are_llama_cpps(scene: Scene, speaker: Speaker, *, stream: bool) -> None:
    got = await speaker.raw(**small(scene, stream=stream))
    expected = scene.tap.calls[-1].answer
    if stream and speaker.dialect == "openai":
        events = expected.split(b"\n\n")
        expected = b"\n\n".join(event for event in events if b'"choices":[]' not in event)
        assert expected.count(b"\n\n") == len(events) - 2
    assert got == expected
    await scene.new_records()


async def test_cached_tokens_cost_their_own_price(scene: Scene, speaker: Speaker) -> None:
    text = f"{speaker.dialect} {type(speaker.client).__name__} " * 20
    first = await speaker.ask(**small(scene, text))
    second = await speaker.ask(**small(scene, text))
    fresh, cached = await scene.record(first.call_id), await scene.record(second.call_id)
    assert cached.usage["cache_read"] > fresh.usage.get("cache_read", 0)
    assert cached.usage["cache_read"] > 100
    assert cached.input_tokens == fresh.input_tokens
    assert cached.charge_microcredits < fresh.charge_microcredits
    check_record(scene, cached, second, reported_usage(speaker.dialect, second.content))


async def test_stream_that_its_client_closes_early(scene: Scene, speaker: Speaker) -> None:
    """The model writes on for seconds; Farebox stops it."""
    stream = await done(speaker.calls.create, **small(scene, stream=True, max_tokens=15_000))
    events = each(stream)
    for _ in range(6):
        await anext(events)
    await done(stream.close)
    [record] = await scene.new_records()
    assert (record.outcome, record.status, record.settlement_basis) == ("client_left", 200, "counted")
    assert record.output_tokens > 0
    assert record.charge_microcredits <= record.hold_microcredits
    until(lambda: scene.tap.calls[-1].dropped)


async def test_what_llama_cpp_refuses_is_passed_on(scene: Scene, speaker: Speaker) -> None:
    with pytest.raises(speaker.sdk.BadRequestError) as caught:  # a prompt above the context of a slot
        await speaker.ask(**small(scene, "sea " * 8000))
    assert caught.value.response.content == scene.tap.calls[-1].answer
    record = await scene.record(caught.value.response.headers["x-farebox-call-id"])
    assert (record.outcome, record.status, record.charge_microcredits) == ("upstream_failed", 400, 0)
