"""credits.dev's calls, as its published pages and `apis.md` section 3 say them."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.support.installation import ADMIN_TOKEN, MODEL, Installation, charge_of
from tests.support.mock_provider import INPUT_TOKENS
from tests.support.surfaces import (
    HOSTILE_TEXTS,
    MICRO,
    NULL,
    NUMBER,
    Answer,
    Holder,
    ask,
    call,
    decimal,
    holder,
    remember,
    same_shape,
    settled,
)

PREFIXES = ("", "/compat/credits-dev")
USD = 1000 * MICRO  # microcredits
CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
RECORD = {
    "id": str,
    "context": str,
    "accountId": (str, NULL),
    "modelId": str,
    "inputTokens": int,
    "outputTokens": int,
    "estimatedCostUsd": NUMBER,
    "createdAt": str,
}
SUMMARY = {
    "totalCostUsd": NUMBER,
    "totalInputTokens": int,
    "totalOutputTokens": int,
    "byContext": {"customer": NUMBER, "system": NUMBER},
    "byModel": dict,
}
ACCOUNT = {
    "id": str,
    "developerId": str,
    "externalId": (str, NULL),
    "name": str,
    "email": (str, NULL),
    "balance": NUMBER,
    "metadata": dict,
    "createdAt": str,
    "updatedAt": str,
}
BALANCE = {"accountId": str, "externalId": (str, NULL), "balance": NUMBER, "reserved": NUMBER, "available": NUMBER}
TRANSACTION = {
    "id": str,
    "accountId": str,
    "type": str,
    "amount": NUMBER,
    "description": str,
    "balanceAfter": NUMBER,
    "metadata": dict,
    "createdAt": str,
}
RESERVATION = {"id": str, "accountId": str, "amount": NUMBER, "status": str, "expiresAt": str, "metadata": dict}
MODEL_SHAPE = {
    "modelId": str,
    "provider": str,
    "displayName": str,
    "modelType": str,
    "tier": (str, NULL),
    "pricing": {
        "text": {
            "inputPerMillion": NUMBER,
            "outputPerMillion": NUMBER,
            "cachedInputPerMillion": (*NUMBER, NULL),
        },
        "contextWindow": (int, NULL),
    },
}


class Dev:
    """One caller of the surface, under one of its prefixes."""

    def __init__(self, farebox: Installation, key: str, prefix: str = "") -> None:
        self.farebox, self.key, self.prefix = farebox, key, prefix

    def get(self, path: str, **query: Any) -> Answer:
        return ask(self.farebox, "GET", self.prefix + path, x_api_key=self.key, query=query)

    def post(self, path: str, idempotency_key: str = "", **body: Any) -> Answer:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return ask(self.farebox, "POST", self.prefix + path, x_api_key=self.key, body=body, headers=headers)


@pytest.fixture(scope="module")
def admin(farebox: Installation) -> Dev:
    return Dev(farebox, ADMIN_TOKEN)


def refused(answer: Answer, status: int, code: str = "") -> dict[str, Any]:
    body = dict(answer.data(status))
    same_shape(body, {"success": bool, "error": str, "code": str})
    assert body["success"] is False
    assert body["error"]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", body["code"])
    assert not code or body["code"] == code
    return body


def audit(farebox: Installation, one: Holder) -> None:
    """Fails where the account's books do not agree; others have records of a past that no ledger knows."""
    farebox.command("audit", "--account", one.name)


def end_reservations(dev: Dev, one: Holder) -> None:
    """Cancels what is open, which would keep `settled` waiting."""
    for reservation in dev.get("/v1/reservations", accountId=one.id, activeOnly="true").data()["reservations"]:
        assert dev.post("/v1/reservations/cancel", reservationId=reservation["id"]).status == 200


def recorded(**more: Any) -> dict[str, Any]:
    """The body of the document's sample, with a model that this installation prices."""
    return {
        "transactionId": "txn_xyz789",
        "modelId": "cached-model",
        "usageType": "text",
        "inputTokens": 1500,
        "outputTokens": 500,
        "cachedTokens": 200,
        **more,
    }


COST = Decimal("0.0024")  # (1500 - 200) x $1 + 200 x $0.50 + 500 x $2, a million tokens each
CHARGE = 2_400_000


# Usage.


@pytest.mark.parametrize("prefix", PREFIXES)
def test_recording_usage_charges_the_account(farebox: Installation, prefix: str) -> None:
    one = holder(farebox)
    answer = Dev(farebox, one.key, prefix).post("/v1/usage/record", accountId=one.id, **recorded()).data()
    record = {"id": str, "accountId": str, "modelId": str, "estimatedCostUsd": NUMBER}
    same_shape(answer, {"success": bool, "usageRecord": record})
    assert answer["success"] is True
    assert answer["usageRecord"]["id"].startswith("usage_")
    assert (answer["usageRecord"]["accountId"], answer["usageRecord"]["modelId"]) == (one.id, "cached-model")
    assert answer["usageRecord"]["estimatedCostUsd"] == COST
    assert farebox.balance(one.name)["microcredits"] == 100 * MICRO - CHARGE
    settled(farebox)
    [row] = farebox.usage(one.name, 1)
    assert (row["input_tokens"], row["output_tokens"], row["charge_microcredits"]) == (1500, 500, CHARGE)
    assert row["usage"] == {"input": 1300, "cache_read": 200, "output": 500}
    [entry] = [entry for entry in farebox.lines("ledger", one.name) if entry["kind"] == "charge"]
    assert entry["amount_microcredits"] == -CHARGE
    audit(farebox, one)


def test_a_repeated_transaction_returns_the_first_record_and_charges_nothing(farebox: Installation) -> None:
    one = holder(farebox)
    dev = Dev(farebox, one.key)
    answers = [dev.post("/v1/usage/record", accountId=one.id, **recorded()).text for _ in range(3)]
    assert len(set(answers)) == 1
    other = dev.post("/v1/usage/record", accountId=one.id, **recorded(transactionId="txn_2")).text
    assert other not in answers
    assert farebox.balance(one.name)["microcredits"] == 100 * MICRO - 2 * CHARGE
    two = holder(farebox)  # a transaction id is an account's own
    assert Dev(farebox, two.key).post("/v1/usage/record", accountId=two.id, **recorded()).status == 200
    assert farebox.balance(two.name)["microcredits"] == 100 * MICRO - CHARGE


def test_usage_without_a_transaction_is_new_every_time(farebox: Installation) -> None:
    one = holder(farebox)
    body = recorded()
    del body["transactionId"], body["cachedTokens"]
    for _ in range(2):
        record = Dev(farebox, one.key).post("/v1/usage/record", accountId=one.id, **body).data()["usageRecord"]
        assert record["estimatedCostUsd"] == Decimal("0.0025")
    assert farebox.balance(one.name)["microcredits"] == 95 * MICRO


def test_the_systems_own_usage_is_nobodys_charge(farebox: Installation, admin: Dev) -> None:
    answer = admin.post("/v1/usage/record", context="system", **recorded(transactionId="sys-1")).data()
    assert answer["usageRecord"]["accountId"] is None
    assert answer["usageRecord"]["estimatedCostUsd"] == COST
    settled(farebox)
    found = admin.get("/v1/usage", context="system", modelId="cached-model").data()["usageRecords"]
    assert [(row["context"], row["accountId"]) for row in found] == [("system", None)]
    refused(Dev(farebox, holder(farebox).key).post("/v1/usage/record", context="system", **recorded()), 403)
    farebox.command("audit", "--account", "acct_system")


@pytest.mark.parametrize(
    "change",
    [
        *({name: value} for name in ("inputTokens", "outputTokens") for value in (-1, "1", 1.5, None, True, 10**30)),
        *({"cachedTokens": value} for value in (1501, -1, "0", 10**30)),
        *({"modelId": value} for value in (None, "", 7, "x" * 5000, "a\0b")),
        {"transactionId": "x" * 5000},
        {"transactionId": 5},
        {"usageType": 5},
        {"context": "nonsense"},
    ],
    ids=str,
)
def test_what_a_record_refuses(farebox: Installation, change: dict[str, Any]) -> None:
    one = holder(farebox)
    body = recorded(accountId=one.id, **{"transactionId": "t", **change})
    refused(Dev(farebox, one.key).post("/v1/usage/record", **body), 400)
    assert farebox.balance(one.name)["microcredits"] == 100 * MICRO


def test_a_record_for_nobody_of_an_unknown_model_or_without_credits(farebox: Installation, admin: Dev) -> None:
    one, poor = holder(farebox), holder(farebox, CHARGE - 1)
    refused(admin.post("/v1/usage/record", **recorded()), 400)
    refused(admin.post("/v1/usage/record", accountId="acct_nobody", **recorded()), 404)
    refused(admin.post("/v1/usage/record", externalId="nobody", **recorded()), 404)
    refused(Dev(farebox, one.key).post("/v1/usage/record", accountId=poor.id, **recorded()), 404)
    unknown = Dev(farebox, one.key).post("/v1/usage/record", accountId=one.id, **recorded(modelId="nope"))
    refused(unknown, unknown.status)
    assert unknown.status in {402, 404}  # no price is a price that cannot be paid
    body = recorded(accountId=poor.id)
    refused(Dev(farebox, poor.key).post("/v1/usage/record", **body), 402, "insufficient_credits")
    assert farebox.balance(poor.name)["microcredits"] == CHARGE - 1


@pytest.fixture(scope="module")
def user(farebox: Installation) -> Holder:
    """Three calls, one recorded usage, and two of the past."""
    one = holder(farebox)
    for output in (1, 2, 3):
        call(farebox, one.key, output)
    assert Dev(farebox, one.key).post("/v1/usage/record", accountId=one.id, **recorded()).status == 200
    at = datetime(2024, 1, 15, 10, 0, tzinfo=UTC).timestamp()
    for second in (0, 1):
        past = {"at": int(at + second) * 1000, "input_tokens": 9, "output_tokens": second, "charge_microcredits": 1}
        remember(farebox, one.id, **past, cost_nano_usd=1)
    settled(farebox)
    return one


CHARGES = [charge_of((INPUT_TOKENS, output)) for output in (1, 2, 3)]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_usage_newest_first_and_exact(farebox: Installation, user: Holder, prefix: str) -> None:
    answer = Dev(farebox, user.key, prefix).get("/v1/usage").data()
    same_shape(answer, {"success": bool, "usageRecords": [RECORD]})
    rows = answer["usageRecords"]
    assert [row["outputTokens"] for row in rows] == [500, 3, 2, 1, 1, 0]
    dollars = [decimal(amount, USD) for amount in [CHARGE, *reversed(CHARGES), 1, 1]]
    assert [row["estimatedCostUsd"] for row in rows] == dollars
    assert [row["createdAt"] for row in rows] == sorted((row["createdAt"] for row in rows), reverse=True)
    assert {(row["context"], row["accountId"]) for row in rows} == {("customer", user.id)}
    assert all(CREATED.fullmatch(row["createdAt"]) for row in rows)
    assert rows[-1]["createdAt"].startswith("2024-01-15T10:00:00")
    assert len({row["id"] for row in rows}) == 6


def test_filters_of_usage(farebox: Installation, user: Holder, admin: Dev) -> None:
    def outputs(dev: Dev, **query: Any) -> list[int]:
        return [row["outputTokens"] for row in dev.get("/v1/usage", **query).data()["usageRecords"]]

    own = Dev(farebox, user.key)
    for dev in (own, admin):
        assert outputs(dev, accountId=user.id) == [500, 3, 2, 1, 1, 0]
        assert outputs(dev, accountId=user.id, modelId=MODEL) == [3, 2, 1, 1, 0]
        assert outputs(dev, accountId=user.id, modelId="cached-model") == [500]
        assert outputs(dev, accountId=user.id, modelId="no-model") == []
        assert outputs(dev, accountId=user.id, context="customer", limit=2) == [500, 3]
        assert outputs(dev, accountId=user.id, limit=2, offset=1) == [3, 2]
        assert outputs(dev, accountId=user.id, offset=2**40) == []
        assert outputs(dev, accountId=user.id, startDate="2024-01-15T10:00:01Z", endDate="2024-01-16") == [1]
        assert outputs(dev, accountId=user.id, startDate="2024-01-15", endDate="2024-01-15T10:00:00Z") == [0]
        assert outputs(dev, accountId=user.id, endDate="2024-02-01") == [1, 0]
    assert outputs(own, context="system") == []


def test_the_summary(farebox: Installation, user: Holder, admin: Dev) -> None:
    for dev in (Dev(farebox, user.key), admin):
        answer = dev.get("/v1/usage", summary="true", accountId=user.id).data()
        same_shape(answer, {"success": bool, "summary": SUMMARY})
        total = decimal(sum(CHARGES) + CHARGE + 2, USD)
        assert answer["summary"] == {
            "totalCostUsd": total,
            "totalInputTokens": 3 * INPUT_TOKENS + 1500 + 18,
            "totalOutputTokens": 6 + 500 + 1,
            "byContext": {"customer": total, "system": 0},
            "byModel": {
                MODEL: {"costUsd": decimal(sum(CHARGES) + 2, USD), "count": 5},
                "cached-model": {"costUsd": COST, "count": 1},
            },
        }
        one_model = dev.get("/v1/usage", summary="true", accountId=user.id, modelId="cached-model").data()["summary"]
        assert (one_model["totalCostUsd"], list(one_model["byModel"])) == (COST, ["cached-model"])
        nothing = dev.get("/v1/usage", summary="true", accountId=user.id, context="system").data()["summary"]
        assert nothing == {
            "totalCostUsd": 0,
            "totalInputTokens": 0,
            "totalOutputTokens": 0,
            "byModel": {},
            "byContext": {"customer": 0, "system": 0},
        }
        dated = dev.get("/v1/usage", summary="true", accountId=user.id, endDate="2024-02-01").data()["summary"]
        assert (dated["totalInputTokens"], dated["totalCostUsd"]) == (18, decimal(2, USD))
        assert "usageRecords" in dev.get("/v1/usage", summary="false", accountId=user.id).data()


@pytest.mark.parametrize(
    "query",
    [
        *({"limit": value} for value in ("0", "-1", "x", "1.5", "1e9", "99999999999999999999", "")),
        *({"offset": value} for value in ("-1", "x", "9" * 30)),
        {"startDate": "yesterday"},
        {"endDate": "2024-13-45"},
        {"startDate": "2024-02-01", "endDate": "2024-01-01"},
        {"context": "nonsense"},
        {"summary": "maybe"},
    ],
    ids=str,
)
def test_what_usage_refuses(farebox: Installation, user: Holder, query: dict[str, str]) -> None:
    refused(Dev(farebox, user.key).get("/v1/usage", **query), 400)


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_hostile_texts_widen_nothing(farebox: Installation, user: Holder, text: str) -> None:
    dev = Dev(farebox, user.key)
    answer = dev.get("/v1/usage", modelId=text)
    assert answer.status == 400 or answer.data()["usageRecords"] == []
    for name in ("accountId", "externalId"):
        assert dev.get("/v1/usage", **{name: text}).status in {400, 404}
        assert dev.get("/v1/accounts/balance", **{name: text}).status in {400, 404}
    assert dev.get("/v1/usage", limit=text).status == 400
    assert dev.get("/v1/transactions", startDate=text).status == 400


# Who may what.


def test_who_has_no_valid_key(farebox: Installation) -> None:
    one = holder(farebox)
    for key in ("", "nonsense", "sk-fb-" + "A" * 43, ADMIN_TOKEN + "x"):
        for method, path in (("GET", "/v1/accounts/balance"), ("GET", "/compat/credits-dev/v1/usage")):
            refused(ask(farebox, method, path, x_api_key=key), 401)
    refused(ask(farebox, "POST", "/v1/usage/record", body=b"{"), 401)
    refused(ask(farebox, "GET", "/v1/accounts/balance", query={"key": one.key}), 401)
    refused(ask(farebox, "GET", "/v1/accounts/balance", bearer=one.key, x_api_key=one.key), 401)


def test_an_account_key_is_no_admin_key(farebox: Installation) -> None:
    one, other = holder(farebox), holder(farebox)
    dev = Dev(farebox, one.key)
    refused(dev.get("/v1/accounts"), 403)
    refused(dev.post("/v1/accounts/create", name="more", externalId="more", email="m@example.org"), 403)
    refused(dev.post("/v1/accounts/credits/add", accountId=one.id, amount=5), 403)
    refused(dev.post("/v1/accounts/credits/deduct", accountId=one.id, amount=5), 403)
    credit = {"accountId": one.id, "amount": 5, "type": "credit", "description": "mine"}
    refused(dev.post("/v1/transactions/create", **credit), 403)
    assert farebox.balance(one.name)["microcredits"] == 100 * MICRO
    for path in ("/v1/usage", "/v1/accounts/get", "/v1/accounts/balance", "/v1/transactions", "/v1/reservations"):
        refused(dev.get(path, accountId=other.id), 404)
        refused(dev.get(path, accountId="acct_nobody"), 404)


def test_an_administrators_roles_hold_here_too(farebox: Installation) -> None:
    one = holder(farebox)
    made = {
        role: Dev(farebox, farebox.command("admin", "create", f"the {role}", "--role", role)["credential"])
        for role in ("read", "operate", "finance")
    }
    statuses = {
        role: (
            dev.get("/v1/accounts/balance", accountId=one.id).status,
            dev.post("/v1/accounts/create", name=f"by {role}", externalId=role).status,
            dev.post("/v1/accounts/credits/add", accountId=one.id, amount=1).status,
        )
        for role, dev in made.items()
    }
    assert statuses == {"read": (200, 403, 403), "operate": (200, 200, 403), "finance": (200, 403, 200)}
    refused(made["read"].post("/v1/accounts/credits/add", accountId=one.id, amount=1), 403)
    assert farebox.balance(one.name)["microcredits"] == 101 * MICRO


def test_an_administrator_sees_all_accounts(farebox: Installation, admin: Dev) -> None:
    two = [holder(farebox), holder(farebox)]
    model = {"modelId": "cached-model", "inputTokens": 1, "outputTokens": 1, "usageType": "text"}
    for one in two:
        assert admin.post("/v1/usage/record", accountId=one.id, transactionId="all", **model).status == 200
    settled(farebox)
    newest = admin.get("/v1/usage", limit=2).data()["usageRecords"]
    assert {record["accountId"] for record in newest} == {one.id for one in two}
    whole, customers, system = (
        admin.get("/v1/usage", summary="true", **context).data()["summary"]
        for context in ({}, {"context": "customer"}, {"context": "system"})
    )
    assert whole["totalCostUsd"] == customers["totalCostUsd"] + system["totalCostUsd"]
    assert whole["byContext"] == {"customer": customers["totalCostUsd"], "system": system["totalCostUsd"]}
    listed = {account["id"] for account in admin.get("/v1/accounts", limit=2).data()["accounts"]}
    assert listed == {one.id for one in two}


# Accounts and credits.


@pytest.fixture(scope="module")
def made(admin: Dev) -> dict[str, Any]:
    """An account made over the surface, with 50.5 credits."""
    body = {"name": "Ada Łukasz", "externalId": "ext-1", "email": "ada@example.org", "metadata": {"plan": "pro"}}
    account = admin.post("/v1/accounts/create", **body).data()["account"]
    assert admin.post("/v1/accounts/credits/add", accountId=account["id"], amount=50.5).status == 200
    return dict(account)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_accounts_are_made_and_read(farebox: Installation, prefix: str) -> None:
    dev = Dev(farebox, ADMIN_TOKEN, prefix)
    external = f"customer{prefix.replace('/', '-')}"
    body = {"name": f"Grace {external}", "externalId": external, "email": "g@example.org", "metadata": {"a": [1, {}]}}
    answer = dev.post("/v1/accounts/create", **body).data()
    same_shape(answer, {"success": bool, "account": ACCOUNT})
    account = answer["account"]
    assert answer["success"] is True
    assert {name: account[name] for name in body} == body
    assert account["balance"] == 0
    assert CREATED.fullmatch(account["createdAt"])
    assert CREATED.fullmatch(account["updatedAt"])
    assert dev.get("/v1/accounts/get", accountId=account["id"]).data() == account
    assert dev.get("/v1/accounts/get", externalId=external).data() == account
    listed = dev.get("/v1/accounts").data()
    same_shape(listed, {"accounts": [ACCOUNT]})
    assert listed["accounts"][0] == account
    assert farebox.command("account", "show", account["id"])["name"] == body["name"]
    refused(dev.post("/v1/accounts/create", **body), 409)


def test_the_list_of_accounts_is_bounded(admin: Dev, made: dict[str, Any]) -> None:
    two = admin.get("/v1/accounts", limit=2).data()["accounts"]
    assert len(two) == 2
    [second] = admin.get("/v1/accounts", limit=1, offset=1).data()["accounts"]
    assert second == two[1]
    refused(admin.get("/v1/accounts", limit="many"), 400)


@pytest.mark.parametrize(
    "change",
    [
        *({"name": value} for value in (None, "", 5, "x" * 5000, "a\0b", "acct_0", "\u202e")),
        *({"externalId": value} for value in (5, "x" * 5000, "a\0b", "")),
        *({"email": value} for value in (5, "x" * 5000, "a\0b")),
        *({"metadata": value} for value in ("text", [1], 5, {"big": "x" * 100_000})),
    ],
    ids=lambda change: str(change)[:40],
)
def test_what_an_account_refuses(admin: Dev, change: dict[str, Any]) -> None:
    body = {"name": f"never {time.monotonic()}", "externalId": "never", "email": "n@example.org", **change}
    refused(admin.post("/v1/accounts/create", **body), 400)
    refused(admin.get("/v1/accounts/get", externalId="never"), 404)


def test_balance_reserved_and_available(farebox: Installation, admin: Dev, made: dict[str, Any]) -> None:
    for query in ({"accountId": made["id"]}, {"externalId": "ext-1"}):
        answer = admin.get("/v1/accounts/balance", **query).data()
        same_shape(answer, BALANCE)
        assert answer == {
            "accountId": made["id"],
            "externalId": "ext-1",
            "balance": Decimal("50.5"),
            "reserved": 0,
            "available": Decimal("50.5"),
        }
    one = holder(farebox, 1)
    assert Dev(farebox, one.key).get("/v1/accounts/balance").data()["balance"] == Decimal("0.000001")
    refused(admin.get("/v1/accounts/balance"), 400)
    refused(admin.get("/v1/accounts/get"), 400)


def test_credits_are_added_and_deducted(farebox: Installation, admin: Dev) -> None:
    one = holder(farebox, 10 * MICRO)
    details = {"description": "invoice 7", "paymentMethod": "card", "metadata": {"order": 7}}
    added = admin.post("/v1/accounts/credits/add", accountId=one.id, amount=2.25, **details).data()
    same_shape(
        added, {"success": bool, "accountId": str, "externalId": (str, NULL), "balance": NUMBER, "added": NUMBER}
    )
    assert (added["success"], added["balance"], added["added"]) == (True, Decimal("12.25"), Decimal("2.25"))
    taken = admin.post("/v1/accounts/credits/deduct", accountId=one.id, amount=0.25, description="fee").data()
    names = {"success": bool, "accountId": str, "externalId": (str, NULL), "balance": NUMBER, "deducted": NUMBER}
    same_shape(taken, names)
    assert (taken["balance"], taken["deducted"]) == (12, Decimal("0.25"))
    refused(admin.post("/v1/accounts/credits/deduct", accountId=one.id, amount=12.000001), 402, "insufficient_credits")
    assert farebox.balance(one.name)["microcredits"] == 12 * MICRO
    settled(farebox)
    assert [entry["amount_microcredits"] for entry in farebox.lines("ledger", one.name)] == [
        *(-250_000, 2_250_000, 10_000_000)
    ]
    audit(farebox, one)


@pytest.mark.parametrize(
    "amount", [0, -1, "five", "", None, True, [1], 1e-7, 10**16, 9_007_199_255, 1e400, "NaN"], ids=str
)
def test_amounts_that_cannot_be(farebox: Installation, admin: Dev, amount: Any) -> None:
    one = holder(farebox, MICRO)
    for path in ("/v1/accounts/credits/add", "/v1/accounts/credits/deduct", "/v1/reservations/create"):
        refused(admin.post(path, accountId=one.id, amount=amount), 400)
    assert farebox.balance(one.name)["microcredits"] == MICRO


def test_amounts_are_read_to_the_last_digit(farebox: Installation, admin: Dev) -> None:
    one = holder(farebox, 0)
    path = "/v1/accounts/credits/add"
    body = f'{{"accountId":"{one.id}","amount":9007199254.740990}}'.encode()
    assert ask(farebox, "POST", path, x_api_key=ADMIN_TOKEN, body=body).data()["balance"] == Decimal("9007199254.74099")
    assert farebox.balance(one.name)["microcredits"] == 9_007_199_254_740_990


def test_an_idempotency_key_is_honoured_on_every_post(farebox: Installation, admin: Dev) -> None:
    one = holder(farebox, 100 * MICRO)
    posts: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("/v1/accounts/create", {"name": "idem", "externalId": "idem"}, {"name": "idem2", "externalId": "idem2"}),
        ("/v1/accounts/credits/add", {"accountId": one.id, "amount": 1}, {"accountId": one.id, "amount": 2}),
        ("/v1/accounts/credits/deduct", {"accountId": one.id, "amount": 1}, {"accountId": one.id, "amount": 2}),
        (
            "/v1/transactions/create",
            {"accountId": one.id, "amount": 1, "type": "credit", "description": "a"},
            {"accountId": one.id, "amount": 2, "type": "credit", "description": "a"},
        ),
        (
            "/v1/usage/record",
            recorded(accountId=one.id, transactionId="i1"),
            recorded(accountId=one.id, transactionId="i1", inputTokens=2),
        ),
        ("/v1/reservations/create", {"accountId": one.id, "amount": 1}, {"accountId": one.id, "amount": 2}),
    ]
    for number, (path, body, other) in enumerate(posts):
        first = admin.post(path, f"idem-{number}", **body)
        assert first.status == 200, (path, first.text)
        assert admin.post(path, f"idem-{number}", **body).text == first.text, path
        assert admin.post(path, f"idem-{number}", **other).status == 409, path
    assert farebox.balance(one.name)["microcredits"] == 101 * MICRO - CHARGE
    end_reservations(admin, one)
    refused(admin.post("/v1/accounts/credits/add", "x" * 300, accountId=one.id, amount=1), 400)


# Transactions.


@pytest.mark.parametrize("prefix", PREFIXES)
def test_transactions_are_the_ledgers_entries(farebox: Installation, prefix: str) -> None:
    one, dev = holder(farebox, 10 * MICRO), Dev(farebox, ADMIN_TOKEN, prefix)
    own = Dev(farebox, one.key, prefix)
    details = {"accountId": one.id, "description": "gift", "metadata": {"why": "birthday"}}
    made = dev.post("/v1/transactions/create", amount=1.5, type="credit", **details).data()
    same_shape(made, {"success": bool, "transaction": TRANSACTION})
    assert (made["transaction"]["type"], made["transaction"]["amount"]) == ("credit", Decimal("1.5"))
    assert (made["transaction"]["balanceAfter"], made["transaction"]["description"]) == (Decimal("11.5"), "gift")
    assert made["transaction"]["metadata"] == {"why": "birthday"}
    taken = dev.post("/v1/transactions/create", amount=0.5, type="debit", **details).data()["transaction"]
    assert (taken["type"], taken["amount"], taken["balanceAfter"]) == ("debit", Decimal("0.5"), 11)
    call(farebox, one.key)
    settled(farebox)
    page = own.get("/v1/transactions").data()
    pagination = {"limit": int, "offset": int, "totalCount": int, "hasMore": bool}
    same_shape(page, {"items": [TRANSACTION], "pagination": pagination})
    spent = decimal(charge_of((INPUT_TOKENS, 5)))
    assert [(item["type"], item["amount"], item["balanceAfter"]) for item in page["items"]] == [
        ("debit", spent, 11 - spent),
        ("debit", Decimal("0.5"), 11),
        ("credit", Decimal("1.5"), Decimal("11.5")),
        ("credit", 10, 10),
    ]
    assert {item["accountId"] for item in page["items"]} == {one.id}
    assert len({item["id"] for item in page["items"]}) == 4
    assert page["items"][1] == taken
    assert page["items"][2] == made["transaction"]
    assert (page["pagination"]["totalCount"], page["pagination"]["hasMore"]) == (4, False)
    assert dev.get("/v1/transactions", accountId=one.id).data() == page
    second = own.get("/v1/transactions", limit=1, offset=1).data()
    assert second["items"] == page["items"][1:2]
    assert second["pagination"] == {"limit": 1, "offset": 1, "totalCount": 4, "hasMore": True}
    assert own.get("/v1/transactions", endDate="2024-01-01").data()["items"] == []
    assert own.get("/v1/transactions", startDate="2024-01-01").data()["pagination"]["totalCount"] == 4
    refused(own.get("/v1/transactions", startDate="2024-02-01", endDate="2024-01-01"), 400)
    refused(own.get("/v1/transactions", limit="0"), 400)
    refused(dev.post("/v1/transactions/create", amount=1, type="gift", **details), 400)
    refused(dev.post("/v1/transactions/create", amount=12, type="debit", **details), 402, "insufficient_credits")


# Reservations.


@pytest.mark.parametrize("prefix", PREFIXES)
def test_reservations_are_holds(farebox: Installation, prefix: str) -> None:
    one = holder(farebox, 10 * MICRO)
    dev = Dev(farebox, one.key, prefix)
    before = time.time()
    body = {"accountId": one.id, "amount": 4, "operation": "render", "model": MODEL}
    made = dev.post("/v1/reservations/create", **body).data()
    same_shape(made, {"success": bool, "reservation": RESERVATION})
    reservation = made["reservation"]
    assert (reservation["status"], reservation["amount"]) == ("pending", 4)
    expires = datetime.fromisoformat(reservation["expiresAt"]).timestamp()
    assert 290 <= expires - before <= 310
    numbers = dev.get("/v1/accounts/balance").data()
    assert (numbers["balance"], numbers["reserved"], numbers["available"]) == (10, 4, 6)
    assert farebox.balance(one.name)["held"] == 4 * MICRO
    refused(dev.post("/v1/reservations/create", accountId=one.id, amount=6.5), 402, "insufficient_credits")
    listed = dev.get("/v1/reservations", accountId=one.id, activeOnly="true").data()
    assert [row["id"] for row in listed["reservations"]] == [reservation["id"]]
    assert dev.post("/v1/reservations/confirm", reservationId=reservation["id"], actualAmount=2.5).status == 200
    numbers = dev.get("/v1/accounts/balance").data()
    assert (numbers["balance"], numbers["reserved"], numbers["available"]) == (Decimal("7.5"), 0, Decimal("7.5"))
    assert dev.get("/v1/reservations", accountId=one.id, activeOnly="true").data()["reservations"] == []
    again = dev.post("/v1/reservations/confirm", reservationId=reservation["id"], actualAmount=2.5)
    assert again.status in {200, 409}
    assert dev.post("/v1/reservations/cancel", reservationId=reservation["id"]).status == 409
    assert farebox.balance(one.name)["microcredits"] == 7_500_000
    audit(farebox, one)


def test_a_cancelled_reservation_costs_nothing(farebox: Installation) -> None:
    one = holder(farebox, 10 * MICRO)
    dev = Dev(farebox, one.key)
    made = dev.post("/v1/reservations/create", accountId=one.id, amount=4).data()["reservation"]
    assert dev.post("/v1/reservations/cancel", reservationId=made["id"]).status == 200
    numbers = dev.get("/v1/accounts/balance").data()
    assert (numbers["balance"], numbers["reserved"]) == (10, 0)
    refused(dev.post("/v1/reservations/confirm", reservationId=made["id"], actualAmount=1), 409)
    statuses = [row["status"] for row in dev.get("/v1/reservations", activeOnly="false").data()["reservations"]]
    assert statuses == ["cancelled"]


def test_another_accounts_reservation_is_not_there(farebox: Installation) -> None:
    one, other = holder(farebox), holder(farebox)
    made = Dev(farebox, one.key).post("/v1/reservations/create", accountId=one.id, amount=4).data()["reservation"]
    stranger = Dev(farebox, other.key)
    refused(stranger.post("/v1/reservations/confirm", reservationId=made["id"], actualAmount=1), 404)
    refused(stranger.post("/v1/reservations/cancel", reservationId=made["id"]), 404)
    refused(stranger.post("/v1/reservations/cancel", reservationId="res_nobody"), 404)
    refused(stranger.post("/v1/reservations/create", accountId=one.id, amount=1), 404)
    for text in HOSTILE_TEXTS:
        assert stranger.post("/v1/reservations/cancel", reservationId=text).status in {400, 404}
    assert farebox.balance(one.name)["held"] == 4 * MICRO
    refused(Dev(farebox, one.key).post("/v1/reservations/confirm", reservationId=made["id"], actualAmount=-1), 400)
    end_reservations(Dev(farebox, one.key), one)


# Models, and who answers on the shared paths.


def test_models_with_their_prices(farebox: Installation) -> None:
    one = holder(farebox)
    dev = Dev(farebox, one.key)
    answer = dev.get("/v1/models").data()
    same_shape(answer, {"success": bool, "models": [MODEL_SHAPE]})
    models = {model["modelId"]: model for model in answer["models"]}
    assert {MODEL, "cached-model"} <= set(models)
    prices = models["cached-model"]["pricing"]["text"]
    assert prices == {"inputPerMillion": 1, "outputPerMillion": 2, "cachedInputPerMillion": Decimal("0.5")}
    assert models["cached-model"]["provider"] == "other"
    only = dev.get("/v1/models", provider="other").data()["models"]
    assert [model["modelId"] for model in only] == ["cached-model"]
    assert dev.get("/v1/models", provider="' OR 1=1").data()["models"] == []
    assert dev.get("/v1/models", tier="no such tier").data()["models"] == []


def test_a_calculation_costs_nothing(farebox: Installation) -> None:
    one = holder(farebox)
    dev = Dev(farebox, one.key)
    asked = {"modelId": "cached-model", "inputTokens": 1500, "outputTokens": 500}
    answer = dev.post("/v1/models/calculate", cachedTokens=200, **asked).data()
    shape = {"success": bool, "modelId": str, "modelName": str, "estimatedCostUsd": NUMBER, "pricing": dict}
    same_shape(answer, shape)
    assert (answer["modelId"], answer["estimatedCostUsd"]) == ("cached-model", COST)
    assert dev.post("/v1/models/calculate", **asked).data()["estimatedCostUsd"] == Decimal("0.0025")
    assert dev.post("/v1/models/calculate", **{**asked, "modelId": "nope"}).status in {402, 404}
    refused(dev.post("/v1/models/calculate", **{**asked, "inputTokens": -1}), 400)
    assert farebox.balance(one.name)["microcredits"] == 100 * MICRO


def is_openai(body: Any) -> bool:
    return body.get("object") == "list" and isinstance(body.get("data"), list)


def is_anthropic(body: Any) -> bool:
    return "has_more" in body and body["data"][0]["type"] == "model"


def is_credits_dev(body: Any) -> bool:
    return body.get("success") is True and isinstance(body.get("models"), list)


@pytest.mark.parametrize(
    ("credential", "headers", "query", "expected"),
    [
        ("bearer", {}, {}, is_openai),
        ("bearer", {"anthropic-version": "2023-06-01"}, {}, is_anthropic),
        ("x_api_key", {"anthropic-version": "2023-06-01"}, {}, is_anthropic),
        ("x_api_key", {}, {}, is_credits_dev),
        ("bearer", {}, {"provider": "local"}, is_credits_dev),
        ("bearer", {}, {"tier": ""}, is_credits_dev),
        ("bearer", {}, {"modelId": MODEL}, is_credits_dev),
        ("bearer", {}, {"limit": "10"}, is_openai),
        ("x_api_key", {"anthropic-version": "2023-06-01"}, {"provider": "local"}, is_anthropic),
    ],
)
def test_whose_list_of_models(  # noqa: PLR0917 - fixtures and the columns of the table above
    farebox: Installation,
    user: Holder,
    credential: str,
    headers: dict[str, str],
    query: dict[str, str],
    expected: Callable[[Any], bool],
) -> None:
    credentials = {credential: user.key}
    assert expected(ask(farebox, "GET", "/v1/models", headers=headers, query=query, **credentials).data())  # type: ignore[arg-type]


def test_one_model_is_still_openais_and_anthropics(farebox: Installation, user: Holder) -> None:
    assert ask(farebox, "GET", f"/v1/models/{MODEL}", bearer=user.key).data()["object"] == "model"
    version = {"anthropic-version": "2023-06-01"}
    assert ask(farebox, "GET", f"/v1/models/{MODEL}", x_api_key=user.key, headers=version).data()["type"] == "model"
    listed = ask(farebox, "GET", "/compat/credits-dev/v1/models", bearer=user.key)
    assert listed.status in {200, 401}


def test_whose_usage(farebox: Installation, user: Holder) -> None:
    assert ask(farebox, "GET", "/v1/usage", x_api_key=user.key).data()["success"] is True
    assert ask(farebox, "GET", "/v1/usage", bearer=user.key).data()["isValid"] is True
    assert ask(farebox, "GET", "/compat/credits-dev/v1/usage", x_api_key=user.key).data()["success"] is True


def test_other_methods_and_bodies(farebox: Installation, user: Holder) -> None:
    assert ask(farebox, "POST", "/v1/accounts/balance", x_api_key=user.key, body={}).status in {404, 405}
    assert ask(farebox, "GET", "/v1/usage/record", x_api_key=user.key).status in {404, 405}
    refused(ask(farebox, "GET", "/compat/credits-dev/v1/nothing", x_api_key=user.key), 404)
    for body in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"accountId": 1, "accountId": 2}'):
        refused(ask(farebox, "POST", "/v1/usage/record", x_api_key=user.key, body=body), 400)
