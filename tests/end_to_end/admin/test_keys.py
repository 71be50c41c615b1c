"""API keys over HTTP: shown once, changed, rotated with an overlap, revoked, and bounded."""

import concurrent.futures
import json
import time
import urllib.request
from typing import Any

import pytest

from proxy.core.clock import MAX_INSTANT_MS
from tests.support.admin_api import AdminApi
from tests.support.installation import MODEL, Installation
from tests.support.small_call import call


@pytest.fixture
def account(api: AdminApi, request: pytest.FixtureRequest) -> str:
    return api.account(request.node.name[:150].replace("[", " ").strip("]"), credits="10")


def test_a_key_as_it_was_asked_for_is_shown_once(farebox: Installation, api: AdminApi, account: str) -> None:
    later = time.time_ns() // 1_000_000 + 3_600_000
    wanted = {
        "name": "for the shop",
        "limits": {"requests_per_minute": 100, "budget_day": "2.5"},
        "models": [MODEL, "other-*"],
        "paths": ["/v1/chat/*"],
        "networks": ["127.0.0.0/8", "::1/128", "2001:db8::/32"],
        "expires_at": later,
    }
    made = api.made("accounts", account, "keys", body=wanted)
    shown = api.get("keys", made["id"]).value
    assert {name: shown[name] for name in wanted} == wanted
    assert (shown["account_id"], shown["kind"], shown["status"], shown["scopes"]) == (account, "user", "active", [])
    assert made["key"].startswith(shown["prefix"])
    assert "key" not in shown
    assert call(farebox, made["key"]) == 200
    stored = b"".join(path.read_bytes() for path in (farebox.directory / "state").glob("farebox.db*"))
    assert made["key"].encode() not in stored
    assert made["key"] not in farebox.log.read_text()


def test_a_repeated_request_makes_one_key_and_shows_it_once(api: AdminApi, account: str) -> None:
    def ask(_: int) -> dict[str, Any]:
        return dict(api.made("accounts", account, "keys", body={"name": "once"}, key=f"k-{account}"))

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        made = list(pool.map(ask, range(20)))
    assert len({one["id"] for one in made}) == 1
    assert sum(one["key"] is not None for one in made) == 1
    assert len(api.get("accounts", account, "keys").value["items"]) == 1
    body = {"name": "another"}
    assert api.post("accounts", account, "keys", body=body, key=f"k-{account}").code == "idempotency_conflict"


def test_a_change_is_heard_by_the_next_call(farebox: Installation, api: AdminApi, account: str) -> None:
    made = api.made("accounts", account, "keys", body={"name": "before"})
    assert call(farebox, made["key"]) == 200
    tiny = {"budget_total": "0.000001"}
    assert api.put("keys", made["id"], "limits", body=tiny).value == tiny
    assert call(farebox, made["key"]) == 402
    changed = api.patch(
        "keys", made["id"], body={"name": "after", "models": ["nothing-else"], "limits": {"concurrent": 1}}
    )
    assert changed.value["name"] == "after"
    assert (changed.value["models"], changed.value["limits"]) == (["nothing-else"], {"concurrent": 1})
    assert call(farebox, made["key"]) == 403
    assert api.get("keys", made["id"], "limits").value == {"concurrent": 1}
    rows = api.get("audit-log", subject=made["id"]).value["items"]
    assert [row["action"] for row in rows] == ["key.update", "key.update", "key.create"]
    assert rows[0]["after"] == {"name": "after", "models": ["nothing-else"], "limits": {"concurrent": 1}}


def test_rotation_at_once_and_with_an_overlap(farebox: Installation, api: AdminApi, account: str) -> None:
    first = api.made("accounts", account, "keys", body={"name": "rotated", "limits": {"concurrent": 9}})
    second = api.made("keys", first["id"], "rotate", body={})
    assert (second["name"], second["limits"], second["status"]) == ("rotated", {"concurrent": 9}, "active")
    assert call(farebox, first["key"]) == 401
    assert call(farebox, second["key"]) == 200
    assert api.post("keys", first["id"], "rotate", body={}).code == "key_revoked"
    third = api.made("keys", second["id"], "rotate", body={"overlap_s": 2})
    ends_at = api.get("keys", second["id"]).value["expires_at"]
    assert [call(farebox, one["key"]) for one in (second, third)] == [200, 200]
    assert third["expires_at"] is None
    while time.time_ns() // 1_000_000 <= ends_at:
        time.sleep(0.05)
    assert [call(farebox, one["key"]) for one in (second, third)] == [401, 200]
    assert api.post("keys", second["id"], "rotate", body={}).code == "key_expired"


def test_a_rotation_that_is_repeated_makes_one_key(api: AdminApi, account: str) -> None:
    first = api.made("accounts", account, "keys", body={})
    once = api.made("keys", first["id"], "rotate", body={}, key=f"r-{account}")
    again = api.made("keys", first["id"], "rotate", body={}, key=f"r-{account}")
    assert again == {**once, "key": None}
    assert len(api.get("accounts", account, "keys").value["items"]) == 2


def test_revocation(farebox: Installation, api: AdminApi, account: str) -> None:
    made = api.made("accounts", account, "keys", body={})
    assert call(farebox, made["key"]) == 200
    ended = api.post("keys", made["id"], "revoke").value
    assert (ended["status"], ended["revoked_at"] is not None) == ("revoked", True)
    assert call(farebox, made["key"]) == 401
    assert api.post("keys", made["id"], "revoke").value == ended
    assert api.patch("keys", made["id"], body={"name": "again"}).code == "key_revoked"
    assert [one["id"] for one in api.get("accounts", account, "keys", status="revoked").value["items"]] == [made["id"]]
    assert api.get("accounts", account, "keys", status="active").value["items"] == []


def test_ten_active_manager_keys_also_when_twenty_are_asked_for_at_once(api: AdminApi, account: str) -> None:
    def ask(_: int) -> int:
        return api.post("accounts", account, "keys", body={"kind": "manager", "scopes": ["usage:read"]}).status

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert sorted(pool.map(ask, range(20))) == [201] * 10 + [409] * 10
    keys = api.get("accounts", account, "keys").value["items"]
    assert {one["prefix"][:6] for one in keys} == {"sk_mg_"}
    assert api.post("keys", keys[0]["id"], "rotate", body={"overlap_s": 60}).code == "too_many_manager_keys"
    assert api.get("keys", keys[0]["id"]).value["expires_at"] is None  # nothing of a refused rotation stays
    assert api.post("keys", keys[0]["id"], "rotate", body={}).status == 201
    assert api.post("accounts", account, "keys", body={"kind": "manager"}).code == "too_many_manager_keys"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"kind": "root"}, "kind"),
        ({"paths": []}, "paths"),
        ({"paths": ["v1"]}, "paths[0]"),
        ({"paths": ["/v1/*/x"]}, "paths"),
        ({"paths": ["/v1?x=1"]}, "paths"),
        ({"networks": ["10.0.0.1/8"]}, "networks"),
        ({"networks": ["localhost"]}, "networks"),
        ({"networks": "10.0.0.0/8"}, "networks"),
        ({"models": [""]}, "models[0]"),
        ({"expires_at": 1}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": MAX_INSTANT_MS + 1}, "expires_at"),
        ({"limits": {"models": {}}}, "limits.models"),
        ({"key": "sk-fb-mine"}, "key"),
    ],
)
def test_keys_that_are_refused(api: AdminApi, account: str, body: dict[str, Any], param: str) -> None:
    answer = api.post("accounts", account, "keys", body=body)
    assert (answer.status, answer.value["error"]["param"]) == (400, param), answer
    assert api.get("accounts", account, "keys").value["items"] == []


def test_an_expiry_at_the_end_of_the_calendar_is_shown_everywhere(
    farebox: Installation, api: AdminApi, account: str
) -> None:
    key = api.made("accounts", account, "keys", body={"expires_at": MAX_INSTANT_MS})["key"]
    for path, name in (("/key/info", "info"), ("/v1/auth/key", "data")):
        request = urllib.request.Request(farebox.url + path, headers={"authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert "9999-12-31T23:59:59.999Z" in json.loads(answer.read())[name].values()
    assert farebox.command("key", "list", account)["expires_at"] == MAX_INSTANT_MS


def test_keys_that_are_not_there(api: AdminApi) -> None:
    for answer in (
        api.get("keys", "key_none"),
        api.patch("keys", "key_none", body={"name": "x"}),
        api.post("keys", "key_none", "revoke"),
        api.post("keys", "key_none", "rotate", body={}),
        api.put("keys", "key_none", "limits", body={}),
    ):
        assert (answer.status, answer.code) == (404, "key_not_found")


def test_the_same_by_command(farebox: Installation, api: AdminApi, account: str) -> None:
    made = farebox.command(
        "key",
        "create",
        account,
        "--path",
        "/v1/*",
        "--network",
        "127.0.0.0/8",
        "--expires",
        "1d",
        "--scope",
        "usage:read",
    )
    assert (made["paths"], made["networks"], made["scopes"]) == (["/v1/*"], ["127.0.0.0/8"], ["usage:read"])
    changed = farebox.command(
        "key",
        "update",
        made["id"],
        "--path",
        "all",
        "--limit",
        "budget_day=2",
        "--limit",
        "concurrent=3",
        "--expires",
        "none",
    )
    assert (changed["paths"], changed["limits"], changed["expires_at"]) == (
        None,
        {"budget_day": "2", "concurrent": 3},
        None,
    )
    assert farebox.command("key", "update", made["id"], "--limit", "budget_day=none")["limits"] == {"concurrent": 3}
    new = farebox.command("key", "rotate", made["id"], "--overlap", "3600")
    assert [call(farebox, one) for one in (made["key"], new["key"])] == [200, 200]
    assert farebox.command("key", "show", made["id"])["expires_at"] is not None
    row = api.get("audit-log", subject=new["id"]).value["items"][0]
    assert (row["action"], row["actor"][:3], row["before"]) == ("key.rotate", "cli", {"replaces": made["id"]})
