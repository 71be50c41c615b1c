"""Accounts over HTTP: made once, searched, changed, suspended, closed; and bodies that are refused."""

import concurrent.futures
import contextlib
import hashlib
import json
import sqlite3
from typing import Any

import pytest

from tests.support.admin_api import AdminApi, Answer
from tests.support.installation import MODEL, Installation
from tests.support.processes import until
from tests.support.small_call import call

TURNED = "\u05e9\u05dc\u05d5\u05dd \u202b\u05e2\u05d5\u05dc\u05dd"  # Hebrew, with a mark that turns the writing round


def test_an_account_as_it_was_asked_for(farebox: Installation, api: AdminApi) -> None:
    wanted = {
        "name": "Ada's shop",
        "credits": "12.5",
        "markup": "1.25",
        "on_client_left": "drain",
        "metadata": {"crm": "7"},
        "limits": {"concurrent": 3, "budget_month": "100", "models": {MODEL: {"requests_per_minute": 60}}},
    }
    made = api.made("accounts", body=wanted)
    shown = api.get("accounts", "Ada's shop").value
    assert {**made, "balance": shown["balance"]} == shown == api.get("accounts", made["id"]).value
    assert {name: shown[name] for name in ("name", "markup", "on_client_left", "metadata", "limits")} == {
        name: wanted[name] for name in ("name", "markup", "on_client_left", "metadata", "limits")
    }
    assert shown["balance"] == {
        "posted_microcredits": 12_500_000,
        "held_microcredits": 0,
        "available_microcredits": 12_500_000,
        "open_holds": 0,
        "credits": "12.5",
    }
    assert farebox.balance("Ada's shop")["microcredits"] == 12_500_000
    limits = api.get("accounts", made["id"], "limits").value
    assert limits == wanted["limits"]
    assert api.put("accounts", made["id"], "limits", body={"concurrent": 1}).value == {"concurrent": 1}
    assert api.get("accounts", made["id"]).value["on_client_left"] == "drain"


def test_fifty_at_once_with_one_key_make_one_account(api: AdminApi) -> None:
    body = {"name": "once", "amount_microcredits": 3}

    def ask(_: int) -> Answer:
        return api.post("accounts", body=body, key="the key")

    with concurrent.futures.ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(ask, range(50)))
    assert {answer.status for answer in answers} == {201}
    assert len({json.dumps(answer.value) for answer in answers}) == 1
    made = answers[0].value["id"]
    assert api.get("accounts", made).value["balance"]["posted_microcredits"] == 3
    logged = [row["action"] for row in api.get("audit-log", subject=made).value["items"]]
    assert sorted(logged) == ["account.create", "credit.topup"]
    api.patch("accounts", made, body={"name": "once renamed"})
    again = api.post("accounts", body=body, key="the key")
    assert (again.value, again.headers["idempotency-replayed"]) == (answers[0].value, "true")
    assert api.post("accounts", body={"name": "twice"}, key="the key").code == "idempotency_conflict"
    other = api.made("administrators", body={"name": "other", "roles": ["operate", "finance"]})
    assert api.acting_as(other["credential"]).made("accounts", body={"name": "of another"}, key="the key")["id"] != made


def test_what_was_interrupted_after_the_account_was_made_is_finished_by_a_repeat(
    farebox: Installation, api: AdminApi
) -> None:
    """As a kill between the account and its top-up leaves it: the request's row and the account, but no answer."""
    body = {"name": "interrupted", "credits": "7"}
    made = api.account("interrupted")
    same = json.dumps(["POST", "/admin/v1/accounts", body], sort_keys=True)
    row = ("root", "cut", hashlib.sha256(same.encode()).hexdigest(), made, 1)
    with contextlib.closing(sqlite3.connect(farebox.directory / "state" / "farebox.db", timeout=20)) as database:
        database.execute(
            "INSERT INTO admin_requests (actor, idempotency_key, digest, resource_id, created_at) VALUES (?, ?, ?, ?, ?)",
            row,
        )
        database.commit()
    for _ in range(2):
        assert api.made("accounts", body=body, key="cut")["id"] == made
        assert api.get("accounts", made).value["balance"]["credits"] == "7"


def test_searches_take_signs_literally_and_are_paged(api: AdminApi) -> None:
    names = [
        "100% sure",
        "100 sure",
        "snake_case",
        "snakeXcase",
        "bang!",
        "bang",
        TURNED,
        "x'); DROP TABLE accounts--",
    ]
    ids = {name: api.account(name) if name.isprintable() else "" for name in names}
    assert ids[TURNED] == ""
    assert api.account(TURNED.replace("\u202b", ""))
    assert api.post("accounts", body={"name": TURNED}).status == 400

    def found(**query: Any) -> list[str]:
        return [one["name"] for one in api.get("accounts", **query).value["items"]]

    assert found(q="100%") == ["100% sure"]
    assert found(q="_case") == ["snake_case"]
    assert found(q="bang!") == ["bang!"]
    assert found(q="SNAKEx") == ["snakeXcase"]
    assert found(q="'); DROP") == ["x'); DROP TABLE accounts--"]
    assert found(q=ids["bang"]) == ["bang"]
    assert found(q="\\") == []
    for sort in ("name", "-name", "created_at", "-created_at"):
        whole, seen, cursor = found(sort=sort, limit=1000), [], None
        while True:
            more = {"cursor": cursor} if cursor else {}
            page = api.get("accounts", sort=sort, limit=3, **more).value
            seen += [one["name"] for one in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == whole
        assert len(set(seen)) == len(seen)
    assert found(sort="name", q="bang") == ["bang", "bang!"]


def test_a_cursor_belongs_to_its_query(api: AdminApi) -> None:
    one, other = api.account("with keys"), api.account("with other keys")
    for account in (one, other):
        for _ in range(3):
            api.made("accounts", account, "keys", body={})
    cursor = api.get("accounts", one, "keys", limit=1).value["next_cursor"]
    assert api.get("accounts", one, "keys", limit=2, cursor=cursor).status == 200
    wrong = [
        api.get("accounts", other, "keys", limit=1, cursor=cursor),
        api.get("accounts", one, "keys", status="active", cursor=cursor),
        api.get("accounts", cursor=cursor),
        api.get("accounts", one, "keys", cursor=cursor[:-2] + "AA"),
        api.get("accounts", one, "keys", cursor="WyIiXQ"),
    ]
    assert [(answer.status, answer.code) for answer in wrong] == [(400, "invalid_cursor")] * 5


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("sort=password", "sort"),
        ("sort=name;DROP", "sort"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=1e3", "limit"),
        ("limit=%2B5", "limit"),
        ("status=null", "status"),
        ("limit=1&limit=2", "limit"),
        ("status=gone", "status"),
        ("q=%00", None),
        ("color=red", "color"),
    ],
)
def test_queries_that_are_refused(api: AdminApi, query: str, param: str | None) -> None:
    answer = api.send("GET", "accounts", query=query)
    assert (answer.status, answer.value["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"name": "a\\u0000b"}', None),
        (b'{"name": "a\\ud800"}', None),
        (b'{"name": "\xff"}', None),
        (b'{"name": "a", "name": "b"}', None),
        (b'{"name": "a", "credits": NaN}', None),
        (b"[]", None),
        (b'{"name": ', None),
        (b"[" * 20_000, None),
        (b'{"name": "a", "limits": {"concurrent": ' + b"9" * 5000 + b"}}", None),
        (b"{}", "name"),
        (b'{"name": ""}', "name"),
        (b'{"name": "acct_1"}', "name"),
        (b'{"name": 5}', "name"),
        (b'{"name": "a", "nmae": 1}', "nmae"),
        (b'{"name": "a", "limits": {"speed": 1}}', "limits.speed"),
        (b'{"name": "a", "limits": {"concurrent": 0}}', "limits.concurrent"),
        (b'{"name": "a", "limits": {"concurrent": 1.5}}', "limits.concurrent"),
        (b'{"name": "a", "limits": {"budget_day": 5}}', "limits.budget_day"),
        (b'{"name": "a", "limits": {"budget_day": "0"}}', "limits.budget_day"),
        (b'{"name": "a", "credits": 5}', "credits"),
        (b'{"name": "a", "credits": "-5"}', "credits"),
        (b'{"name": "a", "credits": "0.0000001"}', "credits"),
        (b'{"name": "a", "credits": "1", "amount_microcredits": 1000000}', "amount_microcredits"),
        (b'{"name": "a", "amount_microcredits": 9007199254740992}', "amount_microcredits"),
        (b'{"name": "a", "markup": "0"}', "markup"),
        (b'{"name": "a", "on_client_left": "charge"}', "on_client_left"),
        (b'{"name": "a", "metadata": {"a": 1}}', "metadata[...]"),
    ],
)
def test_bodies_that_are_refused(api: AdminApi, body: bytes, param: str | None) -> None:
    answer = api.post("accounts", body=body)
    assert (answer.status, answer.value["error"]["param"]) == (400, param), answer
    assert api.get("accounts", "a").status == 404


def test_bodies_that_are_too_large_or_no_json(api: AdminApi) -> None:
    assert api.post("accounts", body=b'{"name": "' + b"a" * 300_000 + b'"}').code == "request_too_large"
    for headers in ({"content-type": "text/plain"}, {"content-encoding": "gzip"}):
        answer = api.send("POST", "accounts", body=b'{"name": "a"}', headers=headers)
        assert (answer.status, answer.code) == (415, "unsupported_media_type")
    account = api.account("no body wanted")
    assert api.post("accounts", account, "suspend", body={"why": "because"}).code == "unexpected_body"
    assert api.get("accounts", account).value["status"] == "active"


def test_what_is_not_there(api: AdminApi) -> None:
    for answer in (api.get("accounts", "nobody"), api.get("accounts", "a/b"), api.get("accounts", "\ufffd%")):
        assert (answer.status, answer.code) == (404, "account_not_found")
    assert api.get("nowhere").code == api.get().code == "not_found"
    wrong = api.send("DELETE", "accounts")
    assert (wrong.status, wrong.code, wrong.headers["allow"]) == (405, "method_not_allowed", "GET, POST")


def test_a_suspension_is_heard_by_the_next_call(farebox: Installation, api: AdminApi) -> None:
    account = api.account("to be suspended", credits="5")
    key = api.made("accounts", account, "keys", body={})["key"]
    assert call(farebox, key) == 200
    assert api.post("accounts", account, "suspend").value["status"] == "suspended"
    assert call(farebox, key) == 403
    assert api.post("accounts", account, "resume").value["status"] == "active"
    until(lambda: call(farebox, key) == 200)  # a refusal is remembered for a second


def test_a_name_is_taken_once_and_changes(api: AdminApi) -> None:
    account, other = api.account("taken"), api.account("free")
    assert api.post("accounts", body={"name": "taken"}).code == "name_taken"
    assert api.patch("accounts", other, body={"name": "taken"}).code == "name_taken"
    assert api.patch("accounts", account, body={"name": "given back"}).value["name"] == "given back"
    assert api.patch("accounts", other, body={"name": "taken"}).value["name"] == "taken"
    assert api.patch("accounts", other, body={}).value["name"] == "taken"


def test_a_closed_account_is_closed_for_ever(farebox: Installation, api: AdminApi) -> None:
    account = api.account("to be closed", credits="5")
    key = api.made("accounts", account, "keys", body={})
    assert call(farebox, key["key"]) == 200
    refused = api.post("accounts", account, "close", body={})
    assert (refused.status, refused.code) == (409, "balance_not_zero")
    assert call(farebox, key["key"]) == 200
    assert api.post("accounts", account, "close", body={"forfeit": True}).value["status"] == "closed"
    assert call(farebox, key["key"]) == 401
    assert api.get("keys", key["id"]).value["status"] == "revoked"
    shown = api.get("accounts", account).value
    assert (shown["status"], shown["balance"]["posted_microcredits"]) == ("closed", 0)
    for answer in (
        api.post("accounts", account, "resume"),
        api.post("accounts", account, "suspend"),
        api.patch("accounts", account, body={"name": "open"}),
        api.post("accounts", account, "keys", body={}),
    ):
        assert (answer.status, answer.code) == (409, "account_closed")
    assert api.post("accounts", account, "close", body={}).value["status"] == "closed"
    assert [one["name"] for one in api.get("accounts", status="closed").value["items"]] == ["to be closed"]
    entry = farebox.lines("ledger", account)[0]
    assert (entry["kind"], entry["after_microcredits"]) == ("adjustment", 0)
    assert farebox.command("audit")["ok"] is True


def test_an_account_without_credits_is_closed_by_command(farebox: Installation, api: AdminApi) -> None:
    account = api.account("closed by command")
    farebox.command("account", "close", account, code=2)
    assert farebox.command("account", "close", account, "--yes")["status"] == "closed"
    changed = farebox.command(
        "account",
        "update",
        api.account("changed"),
        "--name",
        "by command",
        "--limit",
        "budget_day=5",
        "--markup",
        "1.5",
    )
    assert (changed["name"], changed["limits"], changed["markup_ppm"]) == ("by command", {"budget_day": "5"}, 1_500_000)
    assert [one["id"] for one in farebox.lines("account", "list", "--search", "by comm", "--status", "active")] == [
        changed["id"]
    ]
