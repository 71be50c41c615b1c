"""Who may do what: the root token, administrators with roles, and everybody else; and what the log says they did."""

import time
from typing import Any

import pytest

from proxy.accounts.administrators import MAY, ROLES
from proxy.admin.call import Endpoint
from proxy.admin.resources import ENDPOINTS
from tests.support.admin_api import AdminApi
from tests.support.installation import ADMIN_TOKEN, PEPPER, Installation


@pytest.fixture(scope="module")
def staff(api: AdminApi) -> dict[str, AdminApi]:
    """Role -> somebody who has just this one."""
    made = {role: api.made("administrators", body={"name": f"only {role}", "roles": [role]}) for role in ROLES}
    return {role: api.acting_as(one["credential"]) for role, one in made.items()}


def filled(endpoint: Endpoint) -> list[str]:
    """A path of the endpoint, about something that is not there."""
    parts = endpoint.path.strip("/").split("/")
    return ["nothing-of-the-kind" if part.startswith("{") else part for part in parts]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: f"{one.method} {one.path}")
def test_each_endpoint_asks_who_it_is_and_whether_they_may(
    api: AdminApi, staff: dict[str, AdminApi], endpoint: Endpoint
) -> None:
    path, body = filled(endpoint), None if endpoint.body is None else {"unknown": 1}
    assert api.acting_as(None).send(endpoint.method, *path, body=body).status == 401
    assert api.acting_as("sk_adm_" + "0" * 64).send(endpoint.method, *path, body=body).status == 401
    user_key, manager_key = "sk-fb-" + "a" * 43, "sk_mg_" + "0" * 64
    for key in (user_key, manager_key):
        assert api.acting_as(key).send(endpoint.method, *path, body=body).status == 403
    for role in ROLES:
        answer = staff[role].send(endpoint.method, *path, body=body, query="no_such_parameter=1")
        may = endpoint.right in MAY[role]
        assert (answer.status != 403) == may, (role, answer)
        assert may or answer.code == "forbidden_role"
        assert answer.headers["x-request-id"] == answer.value["request_id"]
        assert answer.headers["cache-control"] == "no-store"


def test_markups_credits_and_forfeits_are_finances(api: AdminApi, staff: dict[str, AdminApi]) -> None:
    account = api.account("money matters", credits="1")
    operate = staff["operate"]
    assert operate.post("accounts", body={"name": "rich", "credits": "5"}).code == "forbidden_role"
    assert operate.post("accounts", body={"name": "dear", "markup": "2"}).code == "forbidden_role"
    assert operate.patch("accounts", account, body={"markup": "0.5"}).code == "forbidden_role"
    assert operate.post("accounts", account, "close", body={"forfeit": True}).code == "forbidden_role"
    assert operate.patch("accounts", account, body={"name": "money matters less"}).status == 200
    both = api.made("administrators", body={"name": "both", "roles": ["finance", "operate"]})
    assert api.acting_as(both["credential"]).account("rich", credits="5")


def test_a_credential_is_shown_once_stored_nowhere_and_ends(farebox: Installation, api: AdminApi) -> None:
    made = api.made("administrators", body={"name": "eve", "roles": ["read"]})
    eve = api.acting_as(made["credential"])
    assert eve.get("whoami").value == {"id": made["id"], "name": "eve", "roles": ["read"], "expires_at": None}
    stored = b"".join(path.read_bytes() for path in (farebox.directory / "state").glob("farebox.db*"))
    assert made["credential"].encode() not in stored
    assert made["credential"] not in farebox.log.read_text()
    listed = {one["name"]: one for one in api.get("administrators").value["items"]}
    assert "credential" not in listed["eve"]
    assert made["credential"].startswith(listed["eve"]["prefix"])
    ended = api.post("administrators", "eve", "revoke").value
    assert ended["revoked_at"] is not None
    assert eve.get("whoami").status == 401
    assert api.post("administrators", "eve", "revoke").value == ended
    assert api.post("administrators", body={"name": "eve", "roles": ["read"]}).code == "name_taken"


def test_a_credential_expires(api: AdminApi) -> None:
    soon = time.time_ns() // 1_000_000 + 700
    made = api.made("administrators", body={"name": "passing", "roles": ["read"], "expires_at": soon})
    passing = api.acting_as(made["credential"])
    assert passing.get("whoami").status == 200
    while time.time_ns() // 1_000_000 <= soon:
        time.sleep(0.02)
    assert passing.get("whoami").code == "expired_credential"
    assert api.post("administrators", body={"name": "late", "roles": ["read"], "expires_at": soon}).status == 400


@pytest.mark.parametrize("roles", [[], ["root"], ["read", "admin"], "read", None])
def test_roles_are_known_ones(api: AdminApi, roles: Any) -> None:
    answer = api.post("administrators", body={"name": "odd", "roles": roles})
    assert (answer.status, answer.value["error"]["param"][:5]) == (400, "roles")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"authorization": "Bearer"}, "invalid_credential"),
        ({"authorization": "Token x"}, "invalid_credential"),
        ({"authorization": "Basic !!"}, "invalid_credential"),
        (
            {"authorization": "Basic ZXZlOmFkbWluLXRva2VuLWNhbmFyeS03N2Fh"},
            "invalid_credential",
        ),  # eve, with root's token
        ({"authorization": f"Bearer {ADMIN_TOKEN}", "x-api-key": ADMIN_TOKEN}, "ambiguous_credential"),
        ({}, "missing_credential"),
    ],
)
def test_what_is_no_credential(api: AdminApi, headers: dict[str, str], code: str) -> None:
    answer = api.acting_as(None).send("GET", "whoami", headers=headers)
    assert (answer.status, answer.code) == (401, code)
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_other_ways_to_send_one(api: AdminApi) -> None:
    basic = {"authorization": "Basic YWRtaW46YWRtaW4tdG9rZW4tY2FuYXJ5LTc3YWE="}  # admin, with the root token
    assert api.acting_as(None).send("GET", "whoami", headers=basic).value["name"] == "root"
    assert api.acting_as(None).send("GET", "whoami", headers={"x-api-key": ADMIN_TOKEN}).value["name"] == "root"


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_another_sites_page_changes_nothing(api: AdminApi, headers: dict[str, str]) -> None:
    answer = api.send("PUT", "maintenance", body={"on": False}, headers=headers)
    assert (answer.status, answer.code) == (403, "cross_origin")


def test_every_change_leaves_a_row_with_before_and_after(api: AdminApi, staff: dict[str, AdminApi]) -> None:
    account = staff["operate"].account("logged", metadata={"crm": "7"})
    api.patch("accounts", account, body={"name": "logged again", "limits": {"concurrent": 2}})
    key = api.made("accounts", account, "keys", body={"name": "its key"})
    api.post("accounts", account, "suspend")
    api.post("accounts", account, "suspend")  # nothing changes, and nothing is logged
    rows = api.get("audit-log", subject=account).value["items"]
    assert [(row["actor"], row["action"]) for row in rows] == [
        ("root", "account.suspend"),
        ("root", "account.update"),
        ("admin:only operate", "account.create"),
    ]
    assert (rows[0]["before"], rows[0]["after"]) == ({"status": "active"}, {"status": "suspended"})
    assert rows[1]["before"]["name"] == "logged"
    assert rows[1]["after"] == {"name": "logged again", "limits": {"concurrent": 2}}
    assert rows[2]["before"] is None
    assert rows[2]["after"]["metadata"] == {"crm": "7"}
    (made,) = api.get("audit-log", subject=key["id"]).value["items"]
    assert made["action"] == "key.create"
    everything = str(api.get("audit-log", limit=1000).value)
    assert not [secret for secret in (key["key"], ADMIN_TOKEN, PEPPER) if secret in everything]


def test_the_log_is_paged_and_filtered(api: AdminApi) -> None:
    for number in range(5):
        api.account(f"paged {number}")
    first = api.get("audit-log", action="account.create", limit=2).value
    second = api.get("audit-log", action="account.create", limit=2, cursor=first["next_cursor"]).value
    names = [row["after"]["name"] for row in first["items"] + second["items"]]
    assert names == ["paged 4", "paged 3", "paged 2", "paged 1"]
    assert api.get("audit-log", action="account.close", cursor=first["next_cursor"]).code == "invalid_cursor"
    at = first["items"][0]["at"]
    assert all(row["at"] < at for row in api.get("audit-log", to_at=at).value["items"])
    assert all(row["at"] >= at for row in api.get("audit-log", from_at=at).value["items"])


def test_the_command_line_makes_lists_and_revokes(farebox: Installation, api: AdminApi) -> None:
    made = farebox.command("admin", "create", "by command", "--role", "operate", "--role", "read", "--expires", "30d")
    assert made["roles"] == ["read", "operate"]
    assert api.acting_as(made["credential"]).get("whoami").value["name"] == "by command"
    assert "by command" in {one["name"] for one in farebox.lines("admin", "list")}
    farebox.command("admin", "revoke", "by command", code=2)  # not without --yes where nobody can be asked
    assert farebox.command("admin", "revoke", "by command", "--yes")["revoked_at"] is not None
    assert api.acting_as(made["credential"]).get("whoami").status == 401
    row = farebox.lines("admin", "log", "--action", "administrator.revoke", "--limit", "1")[0]
    assert row["actor"].startswith("cli")
    assert row["subject"] == made["id"]
    assert farebox.command("maintenance", "on") == {"on": True}
    assert api.get("maintenance").value == {"on": True}
    assert farebox.command("maintenance", "off") == {"on": False}
