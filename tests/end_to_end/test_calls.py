"""The main job through the real process: a call is metered, charged once and recorded, and the bytes are the provider's."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from proxy.pipeline.turnstile import CROWD
from tests.support.installation import MODEL, Installation, charge_of
from tests.support.mock_provider import MockProvider, expected_usage


@pytest.fixture(scope="module")
def provider() -> Iterator[MockProvider]:
    with MockProvider() as running:
        yield running


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: MockProvider) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("farebox"), provider, workers=2) as running:
        yield running


def chat(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}], **more}


async def post(
    farebox: Installation, key: str, body: Any, path: str = "/v1/chat/completions", **headers: str
) -> tuple[int, Any, bytes]:
    async with aiohttp.ClientSession() as session:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        auth = {"authorization": f"Bearer {key}"} if key else {}
        async with session.post(farebox.url + path, data=data, headers={**auth, **headers}) as answer:
            return answer.status, answer.headers, await answer.read()


async def direct(provider: MockProvider, body: Any, path: str) -> bytes:
    async with aiohttp.ClientSession() as session, session.post(provider.url + path, json=body) as answer:
        return await answer.read()


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/messages", "/local/v1/chat/completions", "/local/v1/messages"]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_bytes_are_the_providers_and_the_record_has_its_usage(
    farebox: Installation, provider: MockProvider, path: str, *, stream: bool
) -> None:
    name = f"bytes-{path.replace('/', '-')}-{stream}"
    key = farebox.account(name, "100")
    body = chat(stream=stream)
    status, headers, answer = await post(farebox, key, body, path)
    assert status == 200, answer
    expected = await direct(provider, body, path.removeprefix("/local"))
    if stream and path.endswith("completions"):
        # Usage is asked for on the client's behalf; the chunk that brings it is the one thing that is taken out.
        asked = await direct(provider, {**body, "stream_options": {"include_usage": True}}, "/v1/chat/completions")
        expected = b"\n\n".join(event for event in asked.split(b"\n\n") if b'"choices": []' not in event)
    assert answer == expected
    [record] = farebox.usage(name, 1)
    usage = expected_usage(body)
    assert (record["input_tokens"], record["output_tokens"]) == usage
    assert record["charge_microcredits"] == charge_of(usage)
    assert record["cost_nano_usd"] == charge_of(usage)
    assert record["call_id"] == headers["x-farebox-call-id"]
    assert record["settlement_basis"] == "reported"
    assert record["outcome"] == "completed"
    assert farebox.balance(name)["microcredits"] == 100_000_000 - charge_of(usage)
    if not stream:
        assert headers["x-farebox-charge"] == "0.017"
        assert headers["x-farebox-balance"] == "99.983"


async def test_credit_for_one_call_admits_exactly_one_of_sixty_four(
    farebox: Installation, provider: MockProvider
) -> None:
    body = chat(mock={"delay_ms": 1500})
    probe = farebox.account("probe", "100")
    await post(farebox, probe, body)
    hold = farebox.usage("probe", 1)[0]["hold_microcredits"]
    key = farebox.account("one-call", f"{hold / 1_000_000:.6f}")
    before = len(provider.received)
    answers = await asyncio.gather(*(post(farebox, key, body) for _ in range(64)))
    statuses = [status for status, _, _ in answers]
    assert sorted(statuses) == [200] + [402] * 63
    assert len(provider.received) - before == 1
    refused = next(json.loads(body) for status, _, body in answers if status == 402)
    assert refused["error"]["code"] == "insufficient_credits"
    assert refused["error"]["metadata"]["limit_source"] in {"balance", "in_flight"}
    farebox.usage("one-call", 1)  # its entry comes with it
    entries = farebox.lines("ledger", "one-call", "--limit", "100")
    assert [entry["kind"] for entry in entries if entry["kind"] == "charge"] == ["charge"]
    assert farebox.balance("one-call")["held"] == 0
    farebox.audit()


async def test_a_crowd_takes_turns_and_everybody_is_answered_and_charged_once(
    farebox: Installation, provider: MockProvider
) -> None:
    crowd = 3 * CROWD  # which two workers share
    key = farebox.account("crowd", "100")
    body, before = chat(mock={"delay_ms": 700}), len(provider.received)
    answers = await asyncio.gather(*(post(farebox, key, body) for _ in range(crowd)))
    assert {status for status, _, _ in answers} == {200}
    assert len(provider.received) - before == crowd
    records = farebox.usage("crowd", crowd)
    assert {record["call_id"] for record in records} == {headers["x-farebox-call-id"] for _, headers, _ in answers}
    assert farebox.balance("crowd")["microcredits"] == 100_000_000 - crowd * charge_of(expected_usage(body))
    assert farebox.balance("crowd")["held"] == 0


async def test_client_that_leaves_is_counted_and_the_provider_is_stopped(
    farebox: Installation, provider: MockProvider
) -> None:
    key = farebox.account("leaver", "100")
    dropped = provider.dropped
    body = chat(stream=True, mock={"chunks": 200, "pace_ms": 20}, max_tokens=500)
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            farebox.url + "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
        ) as answer,
    ):
        await answer.content.readuntil(b"\n\n")
        await answer.content.readuntil(b"\n\n")
        answer.close()
    [record] = farebox.usage("leaver", 1)
    assert record["outcome"] == "client_left"
    assert record["settlement_basis"] == "counted"
    assert record["input_tokens"] > 0
    assert 1 <= record["output_tokens"] <= 60
    assert provider.dropped == dropped + 1
    assert farebox.balance("leaver")["held"] == 0


@pytest.mark.parametrize(
    ("mock", "status", "outcome", "charged"),
    [
        ({"status": 500}, 500, "upstream_failed", 0),
        ({"status": 429}, 429, "upstream_failed", 0),
        ({"omit_usage": True}, 200, "completed", None),
        ({"usage": {"prompt_tokens": -5, "completion_tokens": 5}}, 200, "completed", "hold"),
        ({"usage": {"prompt_tokens": 10**30, "completion_tokens": 5}}, 200, "completed", "hold"),
        ({"usage": {"prompt_tokens": "7", "completion_tokens": 5}}, 200, "completed", "hold"),
    ],
)
async def test_what_is_charged_when_the_answer_is_not_as_it_should_be(
    farebox: Installation, mock: dict[str, Any], status: int, outcome: str, charged: Any
) -> None:
    name = f"odd-{abs(hash(str(mock)))}"
    key = farebox.account(name, "100")
    got, headers, answer = await post(farebox, key, chat(mock=mock))
    assert got == status
    [record] = farebox.usage(name, 1)
    assert record["outcome"] == outcome
    if charged == "hold":
        assert record["charge_microcredits"] == record["hold_microcredits"]
        assert record["settlement_basis"] == "hold"
    elif charged is None:
        assert record["settlement_basis"] == "counted"
        assert record["charge_microcredits"] > 0
    else:
        assert record["charge_microcredits"] == charged
    assert b"provider-key-canary" not in answer
    assert "set-cookie" not in headers
    assert "openai-organization" not in headers


async def test_truncated_stream_is_visibly_truncated_and_counted(farebox: Installation) -> None:
    key = farebox.account("truncated", "100")
    with pytest.raises(aiohttp.ClientPayloadError):
        await post(farebox, key, chat(stream=True, mock={"chunks": 10, "break_after": 4}))
    [record] = farebox.usage("truncated", 1)
    assert record["outcome"] == "upstream_failed"
    assert record["settlement_basis"] == "counted"
    assert record["output_tokens"] > 0


async def test_provider_gets_only_what_it_should(farebox: Installation, provider: MockProvider) -> None:
    key = farebox.account("headers", "100")
    body = json.dumps(chat(), separators=(" ,", " : ")).encode()
    await post(
        farebox, key, body, "/v1/chat/completions?key=secret&x=1", cookie="a=b", **{
            "x-forwarded-host": "evil", "connection": "x-drop", "x-drop": "1", "x-stainless-os": "y", "openai-organization": "org-evil",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-farebox-tags": "team=a,env=prod",
        }
    )  # fmt: skip
    seen = provider.received[-1]
    assert seen.raw == body
    assert seen.query == ""
    assert seen.headers["authorization"] == "Bearer provider-key-canary-5f1d"
    assert key not in str(seen.headers)
    forbidden = {"cookie", "x-forwarded-host", "x-drop", "openai-organization", "x-farebox-tags", "x-api-key"}
    assert not forbidden & set(seen.headers)
    assert seen.headers["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c")
    [record] = farebox.usage("headers", 1)
    assert record["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert record["tags"] == {"team": "a", "env": "prod"}


async def test_rate_limit_refuses_with_the_time_to_wait(farebox: Installation) -> None:
    farebox.command("account", "create", "limited", "--credits", "100")
    key = farebox.command("key", "create", "limited", "--requests-per-minute", "2")["key"]
    answers = [await post(farebox, key, chat()) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    assert answers[0][1]["x-ratelimit-limit-requests"] == "2"
    assert answers[0][1]["x-ratelimit-remaining-requests"] == "1"
    refused = answers[2]
    assert 1 <= int(refused[1]["retry-after"]) <= 60
    assert int(refused[1]["retry-after-ms"]) <= 60_000
    assert json.loads(refused[2])["error"]["code"] == "rate_limit_exceeded"


async def test_revoked_key_is_refused_on_its_next_call(farebox: Installation) -> None:
    farebox.command("account", "create", "revoked", "--credits", "100")
    made = farebox.command("key", "create", "revoked")
    assert (await post(farebox, made["key"], chat()))[0] == 200
    farebox.command("key", "revoke", made["id"], "--yes")
    assert (await post(farebox, made["key"], chat()))[0] == 401


def test_metrics_add_up_over_both_workers(farebox: Installation) -> None:
    time.sleep(1.5)  # one flush
    text = farebox.metrics()
    calls = sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("farebox_calls_total{"))
    accounts = farebox.lines("account", "list")
    records = sum(len(farebox.lines("usage", account["id"], "--limit", "1000")) for account in accounts)
    assert calls == records
    for name in ("farebox_tokens_total", "farebox_charged_credits_total", "farebox_refused_total", "farebox_overhead_seconds_bucket",
                 "farebox_upstream_seconds_bucket", "farebox_time_to_first_byte_seconds_bucket", "farebox_open_holds",
                 "farebox_oldest_hold_seconds", "farebox_recorder_lag_records", "farebox_spool_records",
                 "farebox_settlement_basis_total"):  # fmt: skip
        assert name in text, name


async def test_reload_takes_up_prices_and_drops_no_call(farebox: Installation, provider: MockProvider) -> None:
    key = farebox.account("reloader", "100")
    before = farebox.config.read_text()
    try:
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(post(farebox, key, chat(stream=True, mock={"chunks": 20, "pace_ms": 100})))
            await asyncio.sleep(0.5)
            farebox.config.write_text(before.replace('output = "2.00"', 'output = "20.00"'))
            os.kill(farebox.pid, signal.SIGHUP)
            async with asyncio.timeout(10):
                while (await post(farebox, key, chat()))[1]["x-farebox-charge"] != "0.107":  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.1)
        status, _, answer = slow.result()
        assert (status, answer.count(b"word")) == (200, 20)
    finally:
        farebox.config.write_text(before)
        os.kill(farebox.pid, signal.SIGHUP)
        await asyncio.sleep(1)
    assert max(record["output_tokens"] for record in farebox.usage("reloader")) == 20


async def test_calls_under_a_rain_of_reloads_are_all_answered(farebox: Installation) -> None:
    key = farebox.account("rained on", "100")
    stop = asyncio.Event()

    async def calls() -> list[int]:
        statuses = []
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
            while not stop.is_set():
                async with session.post(f"{farebox.url}/v1/chat/completions", json=chat()) as answer:
                    await answer.read()
                    statuses.append(answer.status)
        return statuses

    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(calls()) for _ in range(8)]
        for _ in range(30):
            os.kill(farebox.pid, signal.SIGHUP)
            await asyncio.sleep(0.05)
        stop.set()
    statuses = [status for caller in callers for status in caller.result()]
    assert len(statuses) > 100
    assert set(statuses) == {200}
