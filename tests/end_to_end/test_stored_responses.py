"""Responses that the provider keeps: charged once, under the call that made them, and nobody else's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.installation import MODEL, Installation
from tests.support.processes import until
from tests.support.stepping_provider import LAST, Step, SteppingProvider, chunk, chunked, head, send

USAGE = {"input_tokens": 70, "output_tokens": 30, "total_tokens": 100}
CHARGE = 70 * 1000 + 30 * 2000


@pytest.fixture(scope="module")
def provider() -> Iterator[SteppingProvider]:
    with SteppingProvider() as running:
        yield running


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: SteppingProvider) -> Iterator[Installation]:
    credits_ = "background_lease_s = 4\nsweep_s = 0.5"
    with Installation(tmp_path_factory.mktemp("farebox"), provider.url, credits=credits_) as running:
        yield running


def response(resource: str, status: str, **more: Any) -> dict[str, Any]:
    shape = {"id": resource, "object": "response", "status": status, "model": MODEL, "output": [], "error": None}
    return {**shape, "usage": USAGE if status == "completed" else None, **more}


def answer(body: dict[str, Any], status: str = "200 OK") -> list[Step]:
    data = json.dumps(body).encode()
    return [send(head("application/json", status=status, length=len(data)) + data)]


class Client:
    """One account that talks to Farebox."""

    def __init__(self, farebox: Installation, name: str) -> None:
        self.name = name
        self._farebox = farebox
        self._key = farebox.account(name, "1000")

    async def post(self, steps: list[Step], **body: Any) -> tuple[int, Any, Any]:
        return await self._call("POST", "/v1/responses", {"model": MODEL, "input": "hello", "mock": steps, **body})

    async def get(self, resource: str, query: str = "") -> tuple[int, Any, Any]:
        return await self._call("GET", f"/v1/responses/{resource}{query}", None)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any, Any]:
        headers = {"authorization": f"Bearer {self._key}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self._farebox.url + path, json=body, headers=headers) as answer,
        ):
            is_json = answer.content_type == "application/json"
            return answer.status, answer.headers, await (answer.json() if is_json else answer.read())

    def records(self, count: int) -> list[dict[str, Any]]:
        return self._farebox.usage(self.name, count)

    def balance(self) -> dict[str, Any]:
        return self._farebox.balance(self.name)


async def test_a_background_response_is_charged_once_under_the_call_that_made_it(
    farebox: Installation, provider: SteppingProvider
) -> None:
    client = Client(farebox, "background")
    status, headers, made = await client.post(answer(response("resp_b1", "queued", background=True)), background=True)
    assert (status, made["status"]) == (200, "queued")
    assert "x-farebox-charge" not in headers
    held = client.balance()["held"]
    assert held > 4096 * 2000

    provider.plays["/v1/responses/resp_b1"] = answer(response("resp_b1", "in_progress", background=True))
    assert (await client.get("resp_b1"))[0] == 200
    assert client.balance()["held"] == held  # still at work

    provider.plays["/v1/responses/resp_b1"] = answer(response("resp_b1", "completed", background=True))
    for _ in range(2):
        status, fetched, got = await client.get("resp_b1")
        assert (status, got["usage"], fetched["x-farebox-charge"]) == (200, USAGE, "0")
    records = {record["call_id"]: record for record in client.records(4)}
    first = records.pop(headers["x-farebox-call-id"])
    assert (first["outcome"], first["settlement_basis"], first["charge_microcredits"]) == (
        "completed",
        "reported",
        CHARGE,
    )
    assert (first["input_tokens"], first["output_tokens"], first["path"]) == (70, 30, "/v1/responses")
    assert {(r["settlement_basis"], r["charge_microcredits"], r["input_tokens"]) for r in records.values()} == {
        ("none", 0, 0)
    }
    balance = client.balance()
    assert (balance["microcredits"], balance["held"]) == (1_000_000_000 - CHARGE, 0)


async def test_one_that_nobody_fetches_costs_its_hold_and_a_late_fetch_corrects_that(
    farebox: Installation, provider: SteppingProvider
) -> None:
    client = Client(farebox, "never")
    await client.post(answer(response("resp_b2", "queued", background=True)), background=True, max_output_tokens=50)
    held = client.balance()["held"]
    until(lambda: client.balance()["held"] == 0, 20)
    [record] = client.records(1)
    assert (record["outcome"], record["settlement_basis"], record["charge_microcredits"]) == ("abandoned", "hold", held)

    provider.plays["/v1/responses/resp_b2"] = answer(response("resp_b2", "completed", background=True))
    await client.get("resp_b2")
    until(lambda: client.balance()["microcredits"] == 1_000_000_000 - CHARGE, 10)
    until(lambda: {r["settlement_basis"] for r in client.records(2)} == {"reported", "none"}, 10)
    assert farebox.audit()["ok"]


async def test_a_background_response_that_fails_costs_nothing(
    farebox: Installation, provider: SteppingProvider
) -> None:
    client = Client(farebox, "fails")
    await client.post(answer(response("resp_b3", "queued", background=True)), background=True)
    failed = response("resp_b3", "failed", background=True, error={"code": "server_error", "message": "no"})
    provider.plays["/v1/responses/resp_b3"] = answer(failed)
    await client.get("resp_b3")
    assert {(r["settlement_basis"], r["charge_microcredits"]) for r in client.records(2)} == {("none", 0)}
    assert client.balance()["held"] == 0


async def test_a_stored_response_is_its_accounts_alone(farebox: Installation, provider: SteppingProvider) -> None:
    owner, other = Client(farebox, "owner"), Client(farebox, "other")
    for resource, asked in (("resp_s1", {}), ("resp_s2", {"stream": True})):
        whole = response(resource, "completed")
        if asked:
            events = [{"type": "response.created", "response": response(resource, "in_progress")}]
            events.append({"type": "response.completed", "response": whole})
            stream = b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)
            steps = [send(chunked()), send(chunk(stream)), send(LAST)]
        else:
            steps = answer(whole)
        assert (await owner.post(steps, **asked))[0] == 200
        provider.plays[f"/v1/responses/{resource}"] = answer(whole)
        before = len(provider.bodies)
        for attempt in (other.get(resource), other.post(answer(whole), previous_response_id=resource)):
            status, _, refused = await attempt
            assert (status, refused["error"]["code"]) == (404, "resource_not_found")
        assert len(provider.bodies) == before
        assert (await owner.get(resource))[0] == 200
        assert (await owner.post(answer(response(resource + "n", "completed")), previous_response_id=resource))[
            0
        ] == 200
    charges = sorted(record["charge_microcredits"] for record in owner.records(6))
    assert charges == [0, 0, CHARGE, CHARGE, CHARGE, CHARGE]
    assert other.balance()["microcredits"] == 1_000_000_000


@pytest.mark.parametrize(("policy", "seen"), [("", 200), ('resources = "own"', 404), ('resources = "any"', 200)])
async def test_an_id_that_nobody_here_made_is_a_matter_of_policy(
    tmp_path: Path, provider: SteppingProvider, policy: str, seen: int
) -> None:
    provider.plays["/v1/responses/resp_elsewhere"] = answer(response("resp_elsewhere", "completed"))
    with Installation(tmp_path, provider.url, credits=policy) as farebox:
        client = Client(farebox, "client")
        before = len(provider.bodies)
        assert (await client.get("resp_elsewhere"))[0] == seen
        assert len(provider.bodies) - before == (seen == 200)
        assert client.balance()["microcredits"] == 1_000_000_000
