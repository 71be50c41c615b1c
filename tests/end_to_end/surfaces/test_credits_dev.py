"""credits.dev's usage: recorded, listed, summed; and who may do what on the surface."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.support.credits_dev import (
    CHARGE,
    COST,
    CREATED,
    PREFIXES,
    RECORD,
    SUMMARY,
    USD,
    Dev,
    audit,
    recorded,
    refused,
)
from tests.support.installation import ADMIN_TOKEN, MODEL, Installation, charge_of
from tests.support.mock_provider import INPUT_TOKENS
from tests.support.surfaces import (
    HOSTILE_TEXTS,
    MICRO,
    NUMBER,
    Holder,
    ask,
    call,
    decimal,
    holder,
    remember,
    same_shape,
    settled,
)

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


def test_one_transaction_at_once_from_many_is_one_charge(farebox: Installation) -> None:
    one = holder(farebox)
    dev = Dev(farebox, one.key)
    body = recorded(accountId=one.id)
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: dev.post("/v1/usage/record", **body).data(), range(24)))
    assert len({answer["usageRecord"]["id"] for answer in answers}) == 1
    assert farebox.balance(one.name)["microcredits"] == 100 * MICRO - CHARGE


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
