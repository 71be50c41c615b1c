"""Holds, prices, reload, maintenance, limits and audits over HTTP, and the documents that describe all of it."""

import concurrent.futures
import json
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from proxy.core.clock import MAX_INSTANT_MS
from tests.support.admin_api import AdminApi
from tests.support.installation import MODEL, Installation
from tests.support.mock_provider import MockProvider
from tests.support.processes import until
from tests.support.small_call import call


def test_the_documents_are_served_to_administrators_without_a_script(api: AdminApi) -> None:
    page = api.get("reference")
    assert page.status == 200
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
    assert "<script" not in page.value
    assert "/admin/v1/accounts/{account}/keys" in page.value
    document = api.get("openapi.yaml")
    assert document.headers["content-type"].startswith("application/yaml")
    assert yaml.safe_load(document.value)["openapi"] == "3.1.0"
    for name in ("reference", "openapi.yaml"):
        assert api.acting_as(None).get(name).status == 401
        assert api.acting_as("sk-fb-" + "a" * 43).get(name).status == 403


def test_a_price_is_set_holds_for_the_next_call_and_is_removed(farebox: Installation, api: AdminApi) -> None:
    account = api.account("buys", credits="100")
    key = api.made("accounts", account, "keys", body={})["key"]
    assert api.get("prices", "quote", model=MODEL).value["items"][0]["usd"] == {"input": "1", "output": "2"}
    set_ = api.put("price-overrides", body={"name": MODEL, "usd": {"input": "100", "output": "200"}})
    assert (set_.status, set_.value["reloaded"], set_.value["settings"]["input"]) == (200, True, "100")
    until(lambda: api.get("prices", "quote", model=MODEL).value["items"][0]["usd"]["input"] == "100")

    def charged() -> int:
        assert call(farebox, key) == 200
        records = farebox.usage("buys")
        return int(records[0]["cost_nano_usd"]) if records else 0  # the newest; the first one may still be on its way

    until(lambda: charged() > 100_000, 30)
    for name, usd in (("a*b", {"input": "1"}), (MODEL, {"imput": "1"}), (MODEL, {"input": "-1"}), (MODEL, {})):
        assert api.put("price-overrides", body={"name": name, "usd": usd}).status == 400
    assert api.put("price-overrides", body={"name": MODEL, "usd": {"input": "1.00", "output": "2.00"}}).status == 200
    assert api.put("price-overrides", body={"name": "spare", "usd": {"input": "1", "output": "1"}}).status == 200
    until(lambda: "spare" in {one["name"] for one in api.get("price-overrides").value["items"]})
    assert api.send("DELETE", "price-overrides", query={"name": "spare"}).value["settings"] is None
    until(lambda: "spare" not in {one["name"] for one in api.get("price-overrides").value["items"]})
    assert api.send("DELETE", "price-overrides", query={"name": "spare"}).code == "override_not_found"
    assert [row["action"] for row in api.get("audit-log", subject="spare").value["items"]] == [
        "price.remove",
        "price.set",
    ]


def test_prices_are_listed_by_pages(api: AdminApi) -> None:
    seen: list[tuple[str, str]] = []
    cursor = None
    while True:
        more = {"cursor": cursor} if cursor else {}
        page = api.get("prices", q="gpt-4o", all="true", limit=5, **more).value
        seen += [(one["provider"], one["model"]) for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) > 5
    assert seen == sorted(set(seen))
    assert api.get("prices", "quote", model="no-such-model").code == "price_not_found"
    for at in (MAX_INSTANT_MS, MAX_INSTANT_MS - 86_400_000):
        assert api.get("prices", "quote", model="deepseek-chat", provider="deepseek", at=at).status == 200
    assert api.get("prices", "quote", model="deepseek-chat", at=MAX_INSTANT_MS + 1).value["error"]["param"] == "at"


def test_a_configuration_that_is_wrong_is_not_taken_up(farebox: Installation, api: AdminApi) -> None:
    good = farebox.config.read_text()
    try:
        farebox.config.write_text(good.replace("workers = 1", "wrokers = 1"))
        refused = api.post("reload")
        assert (refused.status, refused.code) == (400, "config_error")
        assert "server.wrokers" in refused.value["error"]["message"]
        assert api.put("price-overrides", body={"name": "m", "usd": {"input": "1"}}).code == "config_error"
        farebox.config.write_text(good + "[limits]\nconcurrent = 7\n")
        assert api.post("reload").value == {"providers": 1, "prices": 1}
        until(lambda: api.get("limits").value == {"concurrent": 7})
    finally:
        farebox.config.write_text(good)
        assert api.post("reload").status == 200


def test_an_audit_of_one_account_and_of_everything(api: AdminApi) -> None:
    account = api.account("audited", credits="3")
    report = api.post("audit", account="audited").value["report"]
    assert (report["ok"], report["accounts"], report["posted_microcredits"]) == (True, 1, 3_000_000)
    before = api.get("audit").value["finished_at"] or 0
    assert api.post("audit").value["running"] is True
    until(lambda: (api.get("audit").value["finished_at"] or 0) > before)
    last = api.get("audit").value
    assert (last["report"]["ok"], last["report"]["difference_count"]) == (True, 0)
    assert last["report"]["accounts"] >= 1
    assert api.post("audit", account="nobody").code == "account_not_found"
    assert api.post("accounts", account, "close", body={"forfeit": True}).status == 200
    assert api.post("audit", account=account).value["report"]["ok"] is True


@pytest.fixture
def held(farebox: Installation, api: AdminApi, provider: MockProvider) -> Iterator[tuple[str, list[int]]]:
    """An account with three calls that wait at the provider's gate; the statuses that they end with."""
    account = api.account("holds", credits="1000") if api.get("accounts", "holds").status == 404 else "holds"
    account = api.get("accounts", account).value["id"]
    key = api.made("accounts", account, "keys", body={})["key"]
    statuses: list[int] = []
    body = {
        "model": MODEL,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "hi"}],
        "mock": {"gated": True},
    }

    def ask() -> None:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        request = urllib.request.Request(f"{farebox.url}/v1/chat/completions", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            statuses.append(answer.status)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield account, statuses
    provider.gate.set()
    for thread in threads:
        thread.join()


def test_open_holds_are_listed_and_released(
    farebox: Installation, api: AdminApi, provider: MockProvider, held: tuple[str, list[int]]
) -> None:
    account, statuses = held

    def holds(**query: Any) -> list[dict[str, Any]]:
        return list(api.get("holds", **query).value["items"])

    until(lambda: len(holds(account=account)) == 3)
    assert {one["model"] for one in holds(account="holds")} == {MODEL}
    first = api.get("holds", account=account, limit=2).value
    rest = api.get("holds", account=account, limit=2, cursor=first["next_cursor"]).value
    assert len({one["call_id"] for one in first["items"] + rest["items"]}) == 3
    partition = first["items"][0]["partition"]
    assert len(holds(partition=partition)) == 3
    assert holds(partition=(partition + 1) % 4) == []
    assert len(holds()) == 3
    hold = first["items"][0]
    other = api.account("no holds")
    refused = api.post("accounts", other, "holds", hold["call_id"], "release", body={})
    assert (refused.status, refused.code) == (404, "hold_not_found")
    assert api.post("accounts", account, "close", body={"forfeit": True}).code == "calls_in_progress"
    released = api.post("accounts", account, "holds", hold["call_id"], "release", body={"charge": "free"}).value
    assert (released["state"], released["charge_microcredits"]) == ("expired", 0)
    assert len(holds(account=account)) == 2
    assert api.post("accounts", account, "holds", hold["call_id"], "release", body={}).code == "hold_not_found"
    listed = farebox.lines("holds", "list", "--account", "holds")
    assert {one["call_id"] for one in listed} == {one["call_id"] for one in holds(account=account)}
    assert listed[0]["draft"]["model"] == MODEL
    farebox.command("holds", "release", account, listed[0]["call_id"], code=2)
    ended = farebox.command("holds", "release", account, listed[0]["call_id"], "--charge", "hold", "--yes")
    assert ended["charge_microcredits"] == listed[0]["amount_microcredits"]
    provider.gate.set()
    until(lambda: len(statuses) == 3, 30)
    until(lambda: not holds(account=account))
    farebox.usage("holds", 3)
    # The call that came to its end after all is charged what it cost.
    until(lambda: len({row["charge_microcredits"] for row in farebox.usage("holds")}) == 1)
    assert farebox.command("audit")["ok"] is True
    (row,) = api.get("audit-log", subject=hold["call_id"], action="hold.release").value["items"]
    assert (row["actor"], row["after"]) == ("root", {"charge": "free"})


def test_requests_beside_each_other_are_answered(api: AdminApi) -> None:
    """Nothing blocks the event loop: a hundred requests of all kinds, twenty at once."""
    kinds = [("accounts",), ("audit-log",), ("holds",), ("prices",), ("whoami",)]
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: api.get(*kinds[number % len(kinds)]), range(100)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.headers["x-request-id"] for answer in answers}) == 100
