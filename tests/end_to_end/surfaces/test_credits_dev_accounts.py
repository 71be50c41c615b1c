"""credits.dev's accounts, credits and transactions."""

import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from tests.support.credits_dev import (
    ACCOUNT,
    BALANCE,
    CHARGE,
    CREATED,
    PREFIXES,
    TRANSACTION,
    Dev,
    audit,
    end_reservations,
    recorded,
    refused,
)
from tests.support.installation import ADMIN_TOKEN, Installation, charge_of
from tests.support.mock_provider import INPUT_TOKENS
from tests.support.surfaces import (
    MICRO,
    NULL,
    NUMBER,
    ask,
    call,
    decimal,
    holder,
    same_shape,
    settled,
)


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


def test_credits_that_are_there_once_are_deducted_once(farebox: Installation, admin: Dev) -> None:
    one = holder(farebox, 3 * MICRO)
    with ThreadPoolExecutor(6) as threads:
        take = partial(admin.post, "/v1/accounts/credits/deduct", accountId=one.id, amount=1)
        statuses = list(threads.map(lambda _: take().status, range(12)))
    assert sorted(statuses) == [200] * 3 + [402] * 9
    assert farebox.balance(one.name)["microcredits"] == 0


def test_one_idempotency_key_at_once_from_many_adds_once(farebox: Installation, admin: Dev) -> None:
    one = holder(farebox, 0)
    with ThreadPoolExecutor(6) as threads:
        add = partial(admin.post, "/v1/accounts/credits/add", "one-at-once", accountId=one.id, amount=2)
        answers = list(threads.map(lambda _: add(), range(50)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert farebox.balance(one.name)["microcredits"] == 2 * MICRO


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
