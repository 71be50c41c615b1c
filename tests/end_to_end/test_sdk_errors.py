"""Refusals, failures and time limits as users of the official SDKs meet them: the SDK's own exceptions, and exact records."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.processes import until
from tests.support.sdk import (
    LIMITED,
    POOR,
    PROVIDER,
    SPEAKERS,
    Scene,
    Sim,
    Speaker,
    as_json,
    done,
    drained,
    each,
    opened,
    request_for,
)
from tests.support.tap import Tap

REQUESTS_PER_MINUTE = 40  # so that the next one is 1.5 s away: longer than an SDK waits where nobody tells it
MESSAGE = "The simulated model was told to fail."


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Sim() as sim, Tap(sim.url) as tap:
        provider = PROVIDER.format(name="sim", url=tap.url, models=as_json(["sim", "sim-*"]), more="")
        limits = {"hasty": "first_byte_timeout_s = 0.4", "restless": "idle_timeout_s = 0.4"}
        others = [
            PROVIDER.format(name=name, url=tap.url, models=as_json(["sim*"]), more=more)
            for name, more in limits.items()
        ]
        yield from opened(tmp_path_factory.mktemp("farebox"), tap, "sim", provider, *others)


@pytest.fixture(scope="module")
def poor_key(scene: Scene) -> str:
    return scene.farebox.account(POOR, "0.002")


@pytest.fixture(scope="module")
def limited_key(scene: Scene) -> str:
    scene.farebox.command("account", "create", LIMITED, "--credits", "10000")
    made = scene.farebox.command("key", "create", LIMITED, "--requests-per-minute", str(REQUESTS_PER_MINUTE))
    return str(made["key"])


@pytest.fixture(params=SPEAKERS)
async def speaker(request: pytest.FixtureRequest, scene: Scene) -> AsyncIterator[Speaker]:
    made = Speaker.of(request.param, scene.farebox.url, scene.key)
    yield made
    await made.close()


def through(scene: Scene, speaker: Speaker, provider: str) -> Speaker:
    """The same client, at the paths of a provider by name."""
    path = f"/{provider}/v1" if speaker.dialect == "openai" else f"/{provider}"
    return speaker.options(base_url=scene.farebox.url + path, max_retries=0)


async def refused(speaker: Speaker, **request: Any) -> Any:
    """The exception of a call that must fail; its `retries` says how often the SDK had repeated it."""
    with pytest.raises(speaker.sdk.APIStatusError) as caught:
        await speaker.ask(**request)
    error = caught.value
    error.retries = int(error.response.request.headers["x-stainless-retry-count"])
    return error


async def first_refusal(speaker: Speaker, **request: Any) -> Any:
    """Calls until the rate limit refuses one; its exception."""
    for _ in range(REQUESTS_PER_MINUTE + 5):
        try:
            await speaker.ask(**request)
        except speaker.sdk.RateLimitError as error:
            return error
    raise AssertionError("no call was refused")


async def until_it_breaks(speaker: Speaker, stream: Any) -> list[Any]:
    """The events of a stream that has to end in a torn connection, and not as if it were whole."""
    got: list[Any] = []

    async def read() -> None:
        async for event in each(stream):
            got.append(event)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(Exception, match="incomplete chunked read|Connection error"):  # wrapped by some SDKs, not by all
        await read()
    return got


def shape_of(speaker: Speaker, error: Any) -> tuple[Any, Any]:
    """(kind, message) as the dialect puts them, after a look at the shape of the whole body."""
    if speaker.dialect == "openai":  # the SDK unwraps `error`
        assert {"message", "type", "param", "code"} <= set(error.body)
        return error.code, error.body["message"]
    assert error.body["type"] == "error"
    return error.body["error"]["type"], error.body["error"]["message"]


async def test_unknown_model(scene: Scene, speaker: Speaker) -> None:
    before = len(scene.tap.calls)
    error = await refused(speaker, **request_for(scene, model="gpt-nobody"))
    assert isinstance(error, speaker.sdk.NotFoundError)
    kind, message = shape_of(speaker, error)
    assert kind == ("model_not_found" if speaker.dialect == "openai" else "not_found_error")
    assert "gpt-nobody" in message
    assert error.retries == 0
    assert len(scene.tap.calls) == before


async def test_invalid_key(scene: Scene, speaker: Speaker) -> None:
    before = len(scene.tap.calls)
    error = await refused(speaker.options(api_key="sk-fb-" + "x" * 43), **request_for(scene, stream=True))
    assert isinstance(error, speaker.sdk.AuthenticationError)
    kind, _ = shape_of(speaker, error)
    assert kind == ("invalid_api_key" if speaker.dialect == "openai" else "authentication_error")
    assert (error.retries, len(scene.tap.calls)) == (0, before)


async def test_too_few_credits(scene: Scene, speaker: Speaker, poor_key: str) -> None:
    before = len(scene.tap.calls)
    error = await refused(speaker.options(api_key=poor_key), **request_for(scene))
    assert error.status_code == 402
    if speaker.dialect == "anthropic":
        assert isinstance(error, speaker.sdk.PaymentRequiredError)
    kind, message = shape_of(speaker, error)
    assert kind == ("insufficient_credits" if speaker.dialect == "openai" else "billing_error")
    assert "credits" in message
    details = error.body if speaker.dialect == "openai" else error.body["error"]
    assert details["metadata"]["limit_source"] == "balance"
    assert details["metadata"]["unit"] == "microcredits"
    assert details["metadata"]["available"] == 2000
    assert details["metadata"]["required"] > 30 * 2000
    assert error.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in error.response.headers
    assert (error.retries, len(scene.tap.calls)) == (0, before)


async def test_rate_limit_is_waited_for_as_told(scene: Scene, speaker: Speaker, limited_key: str) -> None:
    limited = speaker.options(api_key=limited_key)
    request = request_for(scene, max_tokens=1)
    for _ in range(20):
        refusal = await first_refusal(limited.options(max_retries=0), **request)  # the bucket runs dry
        started = time.monotonic()
        answer = await limited.ask(**request)
        if answer.retries:  # on a slow machine a request may have come free by itself
            break
    headers = refusal.response.headers
    wait_s = int(headers["retry-after-ms"]) / 1000
    assert 0 < wait_s <= 60 / REQUESTS_PER_MINUTE
    assert int(headers["retry-after"]) == -(-int(headers["retry-after-ms"]) // 1000)
    assert answer.retries == 1
    assert time.monotonic() - started >= 0.5 * wait_s
    kind, _ = shape_of(speaker, refusal)
    assert kind == ("rate_limit_exceeded" if speaker.dialect == "openai" else "rate_limit_error")


@pytest.mark.parametrize("status", [429, 500])
async def test_failures_of_the_provider_are_passed_on(scene: Scene, speaker: Speaker, status: int) -> None:
    request = request_for(scene, extra_body={"sim": {"status": status}})
    error = await refused(speaker.options(max_retries=0), **request)
    assert error.status_code == status
    assert isinstance(error, speaker.sdk.RateLimitError if status == 429 else speaker.sdk.APIStatusError)
    assert error.response.content == scene.tap.calls[-1].answer
    assert shape_of(speaker, error)[1] == MESSAGE
    record = await scene.record(error.response.headers["x-farebox-call-id"])
    assert (record.outcome, record.status) == ("upstream_failed", status)
    assert (record.settlement_basis, record.charge_microcredits) == ("none", 0)


async def test_each_attempt_of_an_sdk_is_a_call_of_its_own(scene: Scene, speaker: Speaker) -> None:
    before = len(scene.tap.calls)
    error = await refused(speaker.options(max_retries=1), **request_for(scene, extra_body={"sim": {"status": 500}}))
    assert error.retries == 1
    assert len(scene.tap.calls) == before + 2
    records = await scene.new_records(2)
    assert {(record.outcome, record.charge_microcredits) for record in records} == {("upstream_failed", 0)}


async def test_malformed_limit(scene: Scene, speaker: Speaker) -> None:
    before = len(scene.tap.calls)
    for max_tokens in ("many", -1, 1.5, 2**63):
        error = await refused(speaker, **request_for(scene, extra_body={"max_tokens": max_tokens}))
        assert isinstance(error, speaker.sdk.BadRequestError)
        kind, message = shape_of(speaker, error)
        assert kind == ("invalid_request" if speaker.dialect == "openai" else "invalid_request_error")
        assert "max_tokens" in message
        if speaker.dialect == "openai":
            assert error.param == "max_tokens"
        assert (error.retries, len(scene.tap.calls)) == (0, before)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_client_that_does_not_wait(scene: Scene, speaker: Speaker, *, stream: bool) -> None:
    request = request_for(scene, stream=stream, extra_body={"sim": {"delay_ms": 20_000}})
    with pytest.raises(speaker.sdk.APITimeoutError):
        await speaker.options(timeout=0.3, max_retries=0).ask(**request)
    [record] = await scene.new_records()
    assert (record.outcome, record.status, record.settlement_basis) == ("client_left", None, "counted")
    assert record.input_tokens > 0
    assert record.output_tokens == 0
    assert record.charge_microcredits == record.input_tokens * 1000
    assert 250 <= record.duration_ms < 5000
    until(lambda: scene.tap.calls[-1].dropped)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_provider_that_is_late(scene: Scene, speaker: Speaker, *, stream: bool) -> None:
    request = request_for(scene, stream=stream, extra_body={"sim": {"delay_ms": 20_000}})
    error = await refused(through(scene, speaker, "hasty"), **request)
    assert error.status_code == 504
    assert isinstance(error, speaker.sdk.APIStatusError)
    kind, _ = shape_of(speaker, error)
    assert kind == ("upstream_first_byte_timeout" if speaker.dialect == "openai" else "timeout_error")
    record = await scene.record(error.response.headers["x-farebox-call-id"])
    assert (record.outcome, record.provider, record.status) == ("timed_out", "hasty", None)
    assert (record.settlement_basis, record.charge_microcredits) == ("none", 0)
    until(lambda: scene.tap.calls[-1].dropped)


async def test_provider_that_falls_silent_in_a_stream(scene: Scene, speaker: Speaker) -> None:
    request = request_for(scene, stream=True, extra_body={"sim": {"pace_ms": 20_000}})
    restless = through(scene, speaker, "restless")
    await until_it_breaks(speaker, await done(restless.calls.create, **request))
    [record] = await scene.new_records()
    assert (record.outcome, record.status, record.settlement_basis) == ("timed_out", 200, "counted")
    assert record.input_tokens > 0
    assert record.charge_microcredits == record.input_tokens * 1000 + record.output_tokens * 2000


async def test_stream_that_its_client_closes_early(scene: Scene, speaker: Speaker) -> None:
    request = request_for(scene, stream=True, max_tokens=400)
    stream = await done(speaker.calls.create, **request, extra_body={"sim": {"tokens": 400, "pace_ms": 20}})
    events = each(stream)
    for _ in range(8):
        await anext(events)
    await done(stream.close)
    [record] = await scene.new_records()
    assert (record.outcome, record.status, record.settlement_basis) == ("client_left", 200, "counted")
    assert 3 <= record.output_tokens < 200
    assert record.charge_microcredits == record.input_tokens * 1000 + record.output_tokens * 2000
    until(lambda: scene.tap.calls[-1].dropped)


async def test_stream_that_the_provider_breaks_off(scene: Scene, speaker: Speaker) -> None:
    request = request_for(scene, stream=True, extra_body={"sim": {"fail_after": 9}})
    stream = await done(speaker.calls.create, **request)
    got = await until_it_breaks(speaker, stream)
    assert len(got) >= 9
    [record] = await scene.new_records()
    assert (record.outcome, record.status, record.settlement_basis) == ("upstream_failed", 200, "counted")
    assert record.output_tokens == 9
    assert record.charge_microcredits == record.input_tokens * 1000 + 9 * 2000


async def test_error_event_inside_a_stream(scene: Scene, speaker: Speaker) -> None:
    request = request_for(scene, stream=True, extra_body={"sim": {"error_after": 5}})
    with pytest.raises(speaker.sdk.APIError, match=MESSAGE):
        await drained(await done(speaker.calls.create, **request))
    [record] = await scene.new_records()
    assert (record.outcome, record.status) == ("upstream_failed", 200)
    if speaker.dialect == "openai":  # nothing was reported before the error
        assert (record.settlement_basis, record.charge_microcredits) == ("none", 0)
    else:  # the message's beginning had reported its input
        reported = scene.tap.calls[-1].events()[0]["message"]["usage"]["input_tokens"]
        assert (record.settlement_basis, record.charge_microcredits) == ("reported", reported * 1000)
