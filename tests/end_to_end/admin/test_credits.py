"""Top-ups, adjustments, refunds, grants and redemption codes over the admin API: each once, each in the log, none above its bound."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from tests.support.admin_api import AdminApi, Answer
from tests.support.installation import Installation, charge_of
from tests.support.surfaces import call, settled

MICRO = 1_000_000


def balance(api: AdminApi, account: str) -> int:
    return int(api.get("accounts", account, "balance").value["posted_microcredits"])


def entries(api: AdminApi, account: str, **filters: Any) -> list[dict[str, Any]]:
    return list(api.get("ledger-entries", account=account, **filters).value["items"])


def in_a_moment(farebox: Installation, api: AdminApi, account: str, count: int) -> list[dict[str, Any]]:
    """The account's entries when all of them are in SQL."""
    settled(farebox)
    found = entries(api, account)
    assert len(found) == count
    return found


@pytest.fixture(scope="module")
def finance(api: AdminApi) -> AdminApi:
    made = api.made("administrators", body={"name": "treasurer", "roles": ["finance"]})
    return api.acting_as(made["credential"])


def test_fifty_identical_topups_at_once_are_one(farebox: Installation, api: AdminApi, finance: AdminApi) -> None:
    account = api.account("fifty")
    body = {"credits": "12.5", "reason": "invoice 7"}

    def send(_: int) -> Answer:
        return finance.post("accounts", account, "topups", body=body, key="invoice-7")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(send, range(50)))
    assert {answer.status for answer in answers} == {201}
    first = answers[0].value
    assert all(answer.value == first for answer in answers)
    assert (first["amount_microcredits"], first["credits"], first["seq"]) == (12_500_000, "12.5", 1)
    assert (first["actor"], first["idempotency_key"]) == ("admin:treasurer", "invoice-7")
    other = finance.post("accounts", account, "topups", body={"credits": "12.6"}, key="invoice-7")
    assert (other.status, other.code) == (409, "idempotency_conflict")
    assert balance(api, account) == 12_500_000
    assert in_a_moment(farebox, api, account, 1) == [first]
    (logged,) = api.get("audit-log", subject=account, action="credit.topup").value["items"]
    assert (logged["actor"], logged["after"]["amount_microcredits"]) == ("admin:treasurer", 12_500_000)
    farebox.stop()
    farebox.start()
    assert send(0).value == first
    by_body = finance.post("accounts", "fifty", "topups", body={**body, "idempotency_key": "invoice-7"})
    assert by_body.value == first
    assert finance.post("accounts", account, "topups", body={"credits": "1"}, key="invoice-7").status == 409
    assert balance(api, account) == 12_500_000


@pytest.mark.parametrize(
    ("resource", "body"),
    [
        ("topups", {}),
        ("topups", {"credits": "0"}),
        ("topups", {"credits": "-1"}),
        ("topups", {"credits": "1e3"}),
        ("topups", {"credits": 1}),
        ("topups", {"credits": "0.0000001"}),
        ("topups", {"amount_microcredits": 1.5}),
        ("topups", {"amount_microcredits": 2**53}),
        ("topups", {"amount_microcredits": 1, "credits": "1"}),
        ("topups", {"amount_microcredits": 1, "reason": "a\0b"}),
        ("topups", {"amount_microcredits": 1, "reason": "line\nbreak"}),
        ("topups", {"amount_microcredits": 1, "kind": "gift"}),
        ("adjustments", {"amount_microcredits": 0, "reason": "r"}),
        ("adjustments", {"amount_microcredits": 1}),
        ("adjustments", {"amount_microcredits": 1, "reason": "r", "covered": True}),
        ("refunds", {"credits": "1"}),
        ("refunds", {"call_id": "x", "credits": "-1"}),
        ("grants", {"credits": "1", "priority": 1001}),
        ("grants", {"credits": "1", "expires_at": 1}),
    ],
)
def test_what_is_no_credit_is_refused(api: AdminApi, resource: str, body: dict[str, Any]) -> None:
    answer = api.post("accounts", "fifty", resource, body=body, key="refused")
    assert answer.status == 400, answer
    assert balance(api, "fifty") == 12_500_000


def test_a_key_is_needed_and_one(api: AdminApi) -> None:
    path = ("accounts", "fifty", "topups")
    assert api.post(*path, body={"credits": "1"}).code == "idempotency_key_missing"
    two = api.post(*path, body={"credits": "1", "idempotency_key": "a"}, key="b")
    assert two.value["error"]["param"] == "idempotency_key"
    assert api.post(*path, body={"credits": "1"}, key="farebox:mine").status == 400
    assert api.post("accounts", "nobody", "topups", body={"credits": "1"}, key="a").code == "account_not_found"
    assert api.post("accounts", "acct_system", "topups", body={"credits": "1"}, key="a").status in {403, 404}


def test_adjustments_have_either_sign_and_may_be_bounded(api: AdminApi) -> None:
    account = api.account("adjusted", credits="2")
    path = ("accounts", account, "adjustments")
    down = api.made(*path, body={"credits": "-2", "reason": "chargeback"}, key="down")
    assert (down["kind"], down["credits"], down["after_microcredits"]) == ("adjustment", "-2", 0)
    assert api.post(*path, body={"credits": "-0.1", "reason": "more than it ever got"}, key="more").status == 400
    api.made(*path, body={"credits": "1", "reason": "goodwill"}, key="up")
    short = {"credits": "-1.5", "reason": "deduction", "covered": True}
    assert api.post(*path, body=short, key="short").code == "insufficient_credits"
    assert api.post(*path, body=short, key="short").status == 402
    api.made(*path, body={**short, "credits": "-1"}, key="enough")
    assert balance(api, account) == 0


def test_a_call_is_refunded_in_parts_and_never_above_its_charge(farebox: Installation, api: AdminApi) -> None:
    account = api.account("refunded", credits="5")
    key = api.made("accounts", account, "keys", body={})["key"]
    call_id, charge = call(farebox, key, 20), charge_of((7, 20))
    path = ("accounts", account, "refunds")
    part = api.made(*path, body={"call_id": call_id, "amount_microcredits": 1_000}, key="part")
    assert (part["kind"], part["call_id"], part["amount_microcredits"]) == ("refund", call_id, 1_000)
    over = api.post(*path, body={"call_id": call_id, "amount_microcredits": charge}, key="over")
    assert (over.status, over.code) == (409, "refund_exceeds_charge")

    def rest(number: int) -> Answer:
        return api.post(*path, body={"call_id": call_id}, key=f"rest-{number % 2}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(rest, range(8)))
    assert {(answer.status, answer.value.get("amount_microcredits")) for answer in answers} == {
        (201, charge - 1_000),
        (409, None),
    }
    assert balance(api, account) == 5 * MICRO
    settled(farebox)
    shown = api.get("usage", call_id).value
    assert (shown["charge_microcredits"], shown["refunded_microcredits"]) == (charge, charge)
    assert [entry["kind"] for entry in shown["entries"]] == ["charge", "refund", "refund"]
    other = api.account("not refunded")
    assert api.post("accounts", other, "refunds", body={"call_id": call_id}, key="x").code == "call_not_found"
    assert api.post(*path, body={"call_id": "' OR 1=1"}, key="y").code == "call_not_found"
    logged = api.get("audit-log", subject=account, action="credit.refund").value["items"]
    amounts = [(row["after"]["idempotency_key"], row["after"]["amount_microcredits"]) for row in logged]
    assert amounts.count(("part", 1_000)) == 1
    assert {("rest-0", None), ("rest-1", None)} <= set(amounts)  # none: all that is left
    farebox.audit()


def test_grants_burn_by_expiry_and_are_revoked(farebox: Installation, api: AdminApi) -> None:
    account = api.account("granted", credits="1")
    later = time.time_ns() // MICRO + 3_600_000
    path = ("accounts", account, "grants")
    kept = api.made(*path, body={"credits": "1", "reason": "welcome"}, key="kept")
    first = api.made(*path, body={"credits": "2", "expires_at": later, "priority": 3}, key="first")
    assert (first["status"], first["remaining_microcredits"], first["actor"]) == ("live", 2 * MICRO, "root")
    assert api.made(*path, body={"credits": "2", "expires_at": later, "priority": 3}, key="first") == first
    assert api.post(*path, body={"credits": "2", "expires_at": later}, key="first").code == "idempotency_conflict"
    key = api.made("accounts", account, "keys", body={})["key"]
    call(farebox, key, 20)
    burnt = charge_of((7, 20))
    assert api.get("grants", first["id"]).value["remaining_microcredits"] == 2 * MICRO - burnt
    assert api.get("grants", kept["id"]).value["remaining_microcredits"] == MICRO
    page = api.get(*path, limit=1).value
    assert [grant["id"] for grant in page["items"]] == [first["id"]]
    more = api.get(*path, limit=1, cursor=page["next_cursor"]).value
    assert [grant["id"] for grant in more["items"]] == [kept["id"]]
    assert more["next_cursor"] is None
    assert api.get("accounts", "fifty", "grants", limit=1, cursor=page["next_cursor"]).code == "invalid_cursor"
    gone = api.post("grants", first["id"], "revoke").value
    assert (gone["status"], gone["expired_microcredits"]) == ("revoked", 2 * MICRO - burnt)
    assert api.post("grants", first["id"], "revoke").value == gone
    (logged,) = api.get("audit-log", subject=first["id"]).value["items"]
    assert (logged["action"], logged["before"]["remaining_microcredits"]) == ("grant.revoke", 2 * MICRO - burnt)
    assert balance(api, account) == 2 * MICRO
    assert api.get("grants", "grant_none").code == "grant_not_found"
    farebox.audit()


def test_a_batch_of_codes_is_shown_once(farebox: Installation, api: AdminApi, finance: AdminApi) -> None:
    body = {"count": 3, "credits": "4", "reason": "spring"}
    made = finance.made("codes", body=body, key="spring")
    codes = made["codes"]
    assert len({one["code"] for one in codes}) == made["count"] == 3
    again = finance.made("codes", body=body, key="spring")
    assert (again["id"], again["codes"]) == (made["id"], None)
    assert finance.post("codes", body={**body, "count": 2}, key="spring").code == "idempotency_conflict"
    listed = api.get("codes", batch=made["id"], limit=2).value
    rest = api.get("codes", batch=made["id"], limit=2, cursor=listed["next_cursor"]).value
    assert {one["id"] for one in listed["items"] + rest["items"]} == {one["id"] for one in codes}
    assert not [one["code"] for one in codes if one["code"] in str(listed) + farebox.log.read_text()]
    assert not [one for one in codes if one["code"] in str(api.get("audit-log", limit=1000).value)]
    (logged,) = api.get("audit-log", subject=made["id"]).value["items"]
    assert (logged["actor"], logged["action"], logged["after"]["count"]) == ("admin:treasurer", "codes.create", 3)


def test_a_batch_whose_answer_was_never_given_is_not_made_twice(farebox: Installation, api: AdminApi) -> None:
    body = {"count": 2, "credits": "4"}
    made = api.made("codes", body=body, key="crashed")
    with closing(sqlite3.connect(farebox.directory / "state" / "farebox.db", timeout=10)) as database, database:
        forgotten = "UPDATE admin_requests SET status = NULL, answer = NULL WHERE idempotency_key = 'crashed'"
        assert database.execute(forgotten).rowcount == 1
    again = api.post("codes", body=body, key="crashed")
    assert (again.status, again.code) == (409, "codes_made_before")
    assert len(api.get("codes", batch=made["id"]).value["items"]) == 2
    assert len(api.get("audit-log", subject=made["id"]).value["items"]) == 1


def test_a_code_is_redeemed_by_one_account_and_ends_by_revocation(api: AdminApi) -> None:
    first, second = api.account("redeemer"), api.account("too late")
    one, other = api.made("codes", body={"count": 2, "credits": "4"})["codes"]
    body = {"code": f" {one['code'].lower()} "}
    entry = api.made("accounts", first, "redemptions", body=body)
    assert (entry["amount_microcredits"], entry["kind"], entry["actor"]) == (4 * MICRO, "topup", "root")
    assert api.made("accounts", first, "redemptions", body=body) == entry
    assert api.post("accounts", second, "redemptions", body=body).code == "code_redeemed"
    assert api.get("codes", one["id"]).value["account_id"] == first
    assert api.post("codes", one["id"], "revoke").code == "code_redeemed"
    assert api.post("codes", other["id"], "revoke").value["status"] == "revoked"
    assert api.post("codes", other["id"], "revoke").value["status"] == "revoked"
    assert api.post("accounts", second, "redemptions", body={"code": other["code"]}).code == "code_revoked"
    assert api.post("accounts", second, "redemptions", body={"code": "FB-NONE"}).code == "code_not_found"
    assert [row["action"] for row in api.get("audit-log", subject=other["id"]).value["items"]] == ["code.revoke"]
    (logged,) = api.get("audit-log", subject=first, action="code.redeem").value["items"]
    assert logged["after"]["code_id"] == one["id"]
    found = api.get("codes", status="revoked", batch=other["batch_id"]).value["items"]
    assert [code["id"] for code in found] == [other["id"]]
    assert (balance(api, first), balance(api, second)) == (4 * MICRO, 0)


def test_a_closed_account_gets_no_new_credits(api: AdminApi) -> None:
    account = api.account("closed")
    entry = api.made("accounts", account, "topups", body={"credits": "1"}, key="before")
    code = api.made("codes", body={"count": 1, "credits": "4"})["codes"][0]["code"]
    assert api.post("accounts", account, "close", body={"forfeit": True}).status == 200
    assert api.post("accounts", account, "topups", body={"credits": "1"}, key="before").value == entry
    for resource, body in (("topups", {"credits": "1"}), ("grants", {"credits": "1"})):
        answer = api.post("accounts", account, resource, body=body, key="after")
        assert (answer.status, answer.code) == (409, "account_closed")
    assert api.post("accounts", account, "redemptions", body={"code": code}).code == "account_closed"
    assert balance(api, account) == 0
    assert api.get("codes", limit=1).value["items"][0]["status"] == "active"


def test_who_may_only_look_gives_nothing(api: AdminApi) -> None:
    made = api.made("administrators", body={"name": "onlooker", "roles": ["read", "operate"]})
    onlooker = api.acting_as(made["credential"])
    answer = onlooker.post("accounts", "fifty", "topups", body={"credits": "1"}, key="mine")
    assert (answer.status, answer.code) == (403, "forbidden_role")
    assert onlooker.get("accounts", "fifty", "balance").status == 200
    assert onlooker.get("usage").status == onlooker.get("ledger-entries").status == 200


def test_the_books_agree(farebox: Installation) -> None:
    settled(farebox)
    farebox.audit()
