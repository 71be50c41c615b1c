"""r9s' portal, as its published page says it: tokens by call and by day, balance, manager keys."""

import time
from decimal import Decimal
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from tests.support.installation import MODEL, Installation, charge_of
from tests.support.mock_provider import INPUT_TOKENS
from tests.support.processes import until
from tests.support.surfaces import (
    HOSTILE_TEXTS,
    MICRO,
    NUMBER,
    Answer,
    Holder,
    another_key,
    ask,
    call,
    holder,
    remember,
    same_shape,
    settled,
)

ROOT = "/api/v1/portal/management"
PREFIXES = ("", "/compat/r9s")
META = {"code": int, "message": str, "request_id": str}
USAGE = {"meta": META, "data": {"records": [{"timestamp": int, "tokens": int, "model": str}], "total_tokens": int}}
BALANCE = {
    "meta": META,
    "data": {
        "balance": NUMBER,
        "balance_str": str,
        "coupon_balance": NUMBER,
        "currency_code": str,
        "credit_limit": NUMBER,
        "total_coupon_amount": NUMBER,
    },
}
DAY = 86_400
NOON = 1_735_732_800  # 2025-01-01T12:00:00Z


def manager(farebox: Installation, owner: Holder, **settings: Any) -> str:
    """A manager key of the account."""
    return another_key(farebox, owner, kind="manager", **settings)[1]


def usage(farebox: Installation, key: str, start: Any, end: Any, prefix: str = "", **more: Any) -> Answer:
    query = {"start_time": start, "end_time": end, **more}
    return ask(farebox, "GET", f"{prefix}{ROOT}/usage", bearer=key, query=query)


def refused(answer: Answer, status: int, message: str = "") -> None:
    body = answer.data(status)
    same_shape(body, {"meta": META, "data": type(None)})
    assert body["meta"]["code"] == status
    assert body["meta"]["message"] not in {"", "success"}
    assert body["meta"]["request_id"]
    assert not message or body["meta"]["message"] == message


@pytest.fixture(scope="module")
def past(farebox: Installation) -> tuple[Holder, str]:
    """Records of four days and two models: tokens 10, 20, 30 ... in order of time."""
    one = holder(farebox)
    seconds = [NOON - DAY, NOON, NOON + 1, NOON + 1, NOON + DAY, NOON + 2 * DAY]
    models = [MODEL, MODEL, "other", MODEL, "other", "other"]
    for number, (at, model) in enumerate(zip(seconds, models, strict=True), 1):
        tokens = {"input_tokens": number * 9, "output_tokens": number}
        remember(farebox, one.id, at=at * 1000 + number, model=model, **tokens)
    return one, manager(farebox, one)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_one_record_a_call_oldest_first(farebox: Installation, past: tuple[Holder, str], prefix: str) -> None:
    body = usage(farebox, past[1], NOON - DAY, NOON + 2 * DAY, prefix).data()
    same_shape(body, USAGE)
    assert (body["meta"]["code"], body["meta"]["message"]) == (200, "success")
    assert body["meta"]["request_id"]
    assert body["data"] == {
        "records": [
            {"timestamp": NOON - DAY, "tokens": 10, "model": MODEL},
            {"timestamp": NOON, "tokens": 20, "model": MODEL},
            {"timestamp": NOON + 1, "tokens": 30, "model": "other"},
            {"timestamp": NOON + 1, "tokens": 40, "model": MODEL},
            {"timestamp": NOON + DAY, "tokens": 50, "model": "other"},
            {"timestamp": NOON + 2 * DAY, "tokens": 60, "model": "other"},
        ],
        "total_tokens": 210,
    }


def test_bounds_are_inclusive(farebox: Installation, past: tuple[Holder, str]) -> None:
    def total(start: int, end: int) -> int:
        return int(usage(farebox, past[1], start, end).data()["data"]["total_tokens"])

    assert total(NOON, NOON) == 20  # the whole second
    assert total(NOON, NOON + 1) == 90
    assert total(NOON + 2, NOON + DAY - 1) == 0
    assert total(0, 4_000_000_000) == 210


def test_a_day_and_model_each(farebox: Installation, past: tuple[Holder, str]) -> None:
    body = usage(farebox, past[1], NOON - DAY, NOON + DAY, granularity="day").data()
    midnight = NOON - DAY // 2
    assert [(row["timestamp"], row["model"], row["tokens"]) for row in body["data"]["records"]] == [
        (midnight - DAY, MODEL, 10),
        (midnight, "other", 30),
        (midnight, MODEL, 60),
        (midnight + DAY, "other", 50),
    ]
    assert body["data"]["total_tokens"] == 150


@pytest.mark.parametrize("granularity", ["", "day"])
def test_pages_have_the_whole_total(farebox: Installation, past: tuple[Holder, str], granularity: str) -> None:
    more = {"granularity": granularity} if granularity else {}
    whole = usage(farebox, past[1], NOON - DAY, NOON + 2 * DAY, **more).data()["data"]
    pages = [
        usage(farebox, past[1], NOON - DAY, NOON + 2 * DAY, page=page, pagesize=2, **more).data()["data"]
        for page in (1, 2, 3, 4)
    ]
    assert [row for page in pages for row in page["records"]] == whole["records"]
    assert [len(page["records"]) for page in pages[:2]] == [2, 2]
    assert pages[3]["records"] == []
    assert {page["total_tokens"] for page in pages} == {210}


def test_a_page_is_bounded_when_nobody_asks(farebox: Installation) -> None:
    one = holder(farebox)
    for number in range(120):
        remember(farebox, one.id, at=NOON * 1000 + number * 1000, input_tokens=1)
    body = usage(farebox, manager(farebox, one), NOON, NOON + DAY).data()["data"]
    assert body["total_tokens"] == 120
    assert 1 <= len(body["records"]) <= 1000
    most = usage(farebox, manager(farebox, one), NOON, NOON + DAY, pagesize=100).data()["data"]
    assert len(most["records"]) == 100


def test_real_calls_are_there(farebox: Installation) -> None:
    one = holder(farebox)
    key = manager(farebox, one)
    before = int(time.time())
    for output in (1, 2):
        call(farebox, one.key, output)
    settled(farebox)
    body = usage(farebox, key, before, int(time.time())).data()["data"]
    assert [(row["tokens"], row["model"]) for row in body["records"]] == [(8, MODEL), (9, MODEL)]
    assert all(before <= row["timestamp"] <= time.time() for row in body["records"])


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_balance_in_currency(farebox: Installation, prefix: str) -> None:
    one = holder(farebox, 9_007_199_254_740_991)
    call(farebox, one.key)
    body = ask(farebox, "GET", f"{prefix}{ROOT}/balance", bearer=manager(farebox, one)).data()
    same_shape(body, BALANCE)
    dollars = Decimal(9_007_199_254_740_991 - charge_of((INPUT_TOKENS, 5))) / (1000 * MICRO)
    assert body["data"]["balance"] == dollars
    assert Decimal(body["data"]["balance_str"]) == dollars
    assert body["data"]["currency_code"] == "USD"
    assert (body["data"]["coupon_balance"], body["data"]["total_coupon_amount"]) == (0, 0)
    assert body["data"]["credit_limit"] == 0


@pytest.mark.parametrize(
    "key",
    ["", "nonsense", "sk_mg_", "sk_mg_" + "g" * 64, "sk_mg_" + "a" * 63, "sk_mg_" + "A" * 64, "sk-fb-" + "A" * 43],
)
@pytest.mark.parametrize("path", ["/usage?start_time=1&end_time=2", "/balance"])
def test_what_has_not_the_shape_of_a_key(farebox: Installation, key: str, path: str) -> None:
    refused(ask(farebox, "GET", ROOT + path, bearer=key), 401, "Invalid API key format")


def test_a_users_key_is_no_managers(farebox: Installation, past: tuple[Holder, str]) -> None:
    refused(ask(farebox, "GET", f"{ROOT}/balance", bearer=past[0].key), 401, "Invalid API key format")
    refused(ask(farebox, "GET", f"{ROOT}/balance", x_api_key=past[1]), 401)
    refused(ask(farebox, "GET", f"{ROOT}/balance", query={"key": past[1]}), 401)


def test_keys_that_are_no_more(farebox: Installation) -> None:
    one = holder(farebox)
    refused(ask(farebox, "GET", f"{ROOT}/balance", bearer="sk_mg_" + "a" * 64), 401, "API key not found")
    key_id, key = another_key(farebox, one, kind="manager")
    farebox.command("key", "revoke", key_id, "--yes")
    refused(ask(farebox, "GET", f"{ROOT}/balance", bearer=key), 401, "API key not found")
    expired = manager(farebox, one, expires_at=int(time.time() * 1000) - 1)
    refused(ask(farebox, "GET", f"{ROOT}/balance", bearer=expired), 401)
    soon = manager(farebox, one, expires_at=int(time.time() * 1000) + 60_000)
    assert ask(farebox, "GET", f"{ROOT}/balance", bearer=soon).status == 200
    farebox.command("account", "suspend", one.name)
    # What was read of a key is used for a second at most.
    until(lambda: ask(farebox, "GET", f"{ROOT}/balance", bearer=soon).status == 403, 3)
    refused(ask(farebox, "GET", f"{ROOT}/balance", bearer=soon), 403)


def test_scopes(farebox: Installation) -> None:
    one = holder(farebox)
    may = {
        (): (200, 200),
        ("usage:read", "balance:read"): (200, 200),
        ("usage:read",): (200, 403),
        ("balance:read",): (403, 200),
    }
    for scopes, (usage_status, balance_status) in may.items():
        key = manager(farebox, one, scopes=scopes)
        assert usage(farebox, key, 1, 2).status == usage_status, scopes
        assert ask(farebox, "GET", f"{ROOT}/balance", bearer=key).status == balance_status, scopes
    refused(usage(farebox, manager(farebox, one, scopes=("balance:read",)), 1, 2), 403)
    with pytest.raises(InvalidRequest, match="there is no scope 'other'; scopes: usage:read, balance:read"):
        manager(farebox, one, scopes=("other",))


def test_at_most_ten_manager_keys_are_active(farebox: Installation) -> None:
    one = holder(farebox)
    made = [farebox.command("key", "create", one.name, "--manager") for _ in range(10)]
    assert farebox.lines("key", "create", one.name, "--manager", code=1) == []
    farebox.command("key", "revoke", made[0]["id"], "--yes")
    assert farebox.command("key", "create", one.name, "--manager")["key"].startswith("sk_mg_")


@pytest.mark.parametrize(
    "query",
    [
        *({}, {"start_time": 1}, {"end_time": 1}),
        *({"start_time": 2, "end_time": 1}, {"start_time": "", "end_time": ""}),
        *(
            {"start_time": value, "end_time": 10}
            for value in ("x", "1.5", "-1", "1e3", "0x1", " 1", "\u0661", "9" * 30)
        ),
        *({"start_time": 1, "end_time": value} for value in ("9" * 30, "NaN", "1735689600000000")),
        *({"start_time": 1, "end_time": 2, "page": value} for value in ("0", "-1", "x", "9" * 30)),
        *({"start_time": 1, "end_time": 2, "pagesize": value} for value in ("0", "-1", "x", "100000")),
        *({"start_time": 1, "end_time": 2, "granularity": value} for value in ("hour", "DROP", "")),
        [("start_time", 1), ("start_time", 2), ("end_time", 3)],
    ],
    ids=str,
)
def test_what_usage_refuses(farebox: Installation, past: tuple[Holder, str], query: Any) -> None:
    refused(ask(farebox, "GET", f"{ROOT}/usage", bearer=past[1], query=query), 400)


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_hostile_texts(farebox: Installation, past: tuple[Holder, str], text: str) -> None:
    refused(usage(farebox, past[1], text, text), 400)
    refused(usage(farebox, past[1], 1, 2, granularity=text), 400)
    body = usage(farebox, past[1], NOON, NOON, account_id=text, model=text).data()
    assert body["data"]["total_tokens"] == 20


def test_another_accounts_calls_are_not_there(farebox: Installation, past: tuple[Holder, str]) -> None:
    other = manager(farebox, holder(farebox))
    body = usage(farebox, other, 0, 4_000_000_000, account_id=past[0].id).data()["data"]
    assert body == {"records": [], "total_tokens": 0}


def test_other_paths_and_methods(farebox: Installation, past: tuple[Holder, str]) -> None:
    assert ask(farebox, "POST", f"{ROOT}/usage", bearer=past[1], body={}).status in {404, 405}
    refused(ask(farebox, "GET", f"/compat/r9s{ROOT}/nothing", bearer=past[1]), 404)
