"""Usage records and ledger entries by filters and cursors, and sums of them: what is found, and what no filter can be made to do."""

import json
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from tests.support.admin_api import AdminApi
from tests.support.installation import MODEL, Installation
from tests.support.surfaces import HOSTILE_TEXTS, remember, settled

DAY_MS = 86_400_000
NOON = 1_700_000_000_000 // DAY_MS * DAY_MS + DAY_MS // 2


class Past(NamedTuple):
    """Two accounts with a past; `calls` of the first, oldest first."""

    first: str
    second: str
    key: str
    calls: list[str]
    others: list[str]


@pytest.fixture(scope="module")
def past(farebox: Installation, api: AdminApi) -> Past:
    """The first account's calls, one each half day: by model, provider, outcome, tag and charge."""
    first, second = api.account("first", credits="1"), api.account("second")
    key = api.made("accounts", first, "keys", body={})["id"]
    columns: list[dict[str, Any]] = [
        {"model": "a%b", "charge_microcredits": 10, "tags": '{"team":"search"}', "input_tokens": 3},
        {"model": "a_b", "charge_microcredits": 20, "tags": '{"team":"search","x":"1"}', "trace_id": "f" * 32},
        {"model": "axb", "charge_microcredits": 30, "tags": '{"x\\"team":"search"}', "provider": "elsewhere"},
        {"model": "=1+2", "charge_microcredits": 0, "outcome": "refused", "status": 502, "settlement_basis": "none"},
        {"model": "\u202eevil\u202c", "charge_microcredits": 50, "tags": '{"team":"ops"}', "key_id": "key_other"},
        {"model": MODEL, "charge_microcredits": 60, "status": None, "outcome": "abandoned"},
    ]
    calls = [
        remember(farebox, first, **{"key_id": key, "at": NOON + number * DAY_MS // 2, **more})
        for number, more in enumerate(columns)
    ]
    others = [remember(farebox, second, model="a%b", at=NOON + number, charge_microcredits=1) for number in range(3)]
    return Past(first, second, key, calls, others)


def ids(api: AdminApi, **query: Any) -> list[str]:
    answer = api.get("usage", **query)
    assert answer.status == 200, answer
    return [item["call_id"] for item in answer.value["items"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [5, 4, 3, 2, 1, 0]),
        ({"model": "a_b"}, [1]),
        ({"model": "a%b"}, [0]),
        ({"model": "=1+2"}, [3]),
        ({"model": "\u202eevil\u202c"}, [4]),
        ({"model": "A_B"}, []),
        ({"provider": "elsewhere"}, [2]),
        ({"outcome": "refused"}, [3]),
        ({"status": 502}, [3]),
        ({"basis": "none"}, [3]),
        ({"tag": "team"}, [4, 1, 0]),
        ({"tag": "team=search"}, [1, 0]),
        ({"tag": "team="}, []),
        ({"tag": "x=1", "model": "a_b"}, [1]),
        ({"trace_id": "f" * 32}, [1]),
        ({"min_microcredits": 20, "max_microcredits": 50}, [4, 2, 1]),
        ({"from_at": NOON + DAY_MS, "to_at": NOON + 2 * DAY_MS}, [3, 2]),
        ({"from_at": NOON, "to_at": NOON}, []),
        ({"key": "key_other"}, None),
    ],
)
def test_filters_are_taken_as_they_are(
    api: AdminApi, past: Past, query: dict[str, Any], expected: list[int] | None
) -> None:
    if expected is None:
        assert api.get("usage", account=past.first, **query).status == 200
        assert api.get("usage", **query).code == "key_not_found"
        return
    assert ids(api, account=past.first, **query) == [past.calls[number] for number in expected]


def test_a_key_is_of_its_account_and_calls_are_found_by_their_ids(api: AdminApi, past: Past) -> None:
    assert ids(api, key=past.key) == [past.calls[number] for number in (5, 3, 2, 1, 0)]
    assert ids(api, account="second", key=past.key) == []
    assert ids(api, call_id=past.calls[2]) == [past.calls[2]]
    assert ids(api, call_id=past.calls[2], account="first", model="axb", tag='x"team') == [past.calls[2]]
    for other in ({"account": "second"}, {"model": "a"}, {"tag": "team"}, {"from_at": NOON + 2 * DAY_MS}):
        assert ids(api, call_id=past.calls[2], **other) == []
    one = api.get("usage", past.calls[1]).value
    assert (one["tags"], one["credits"], one["cached_tokens"]) == ({"team": "search", "x": "1"}, "0.00002", None)
    assert api.get("usage", "nothing").code == "call_not_found"
    assert api.get("usage", account="nobody").code == "account_not_found"


def test_pages_follow_each_other_across_accounts_and_equal_instants(api: AdminApi, past: Past) -> None:
    for limit in (1, 2, 4):
        found: list[str] = []
        query: dict[str, Any] = {"limit": limit, "to_at": NOON + 10 * DAY_MS}
        while True:
            page = api.get("usage", **query).value
            assert len(page["items"]) <= limit
            found += [item["call_id"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert len(found) == len(set(found))
        assert set(found) >= {*past.calls, *past.others}
        assert found.index(past.others[2]) < found.index(past.others[1]) < found.index(past.others[0])


def test_a_cursor_belongs_to_its_search(api: AdminApi, past: Past) -> None:
    cursor = api.get("usage", account=past.first, limit=1).value["next_cursor"]
    assert len(ids(api, account=past.first, limit=1, cursor=cursor)) == 1
    for resource, query in (
        ("usage", {"account": past.second}),
        ("usage", {"account": past.first, "model": "a"}),
        ("usage", {}),
        ("ledger-entries", {"account": past.first}),
    ):
        assert api.get(resource, **query, cursor=cursor).code == "invalid_cursor"
    assert api.get("usage", account=past.first, cursor=cursor[:-2] + "AA").code == "invalid_cursor"


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
@pytest.mark.parametrize(
    "name",
    ["account", "key", "provider", "model", "outcome", "basis", "tag", "trace_id", "call_id", "cursor", "status"],
)
def test_no_text_breaks_or_widens_a_search(api: AdminApi, past: Past, name: str, text: str) -> None:
    for resource in ("usage", "ledger-entries"):
        answer = api.get(resource, **{name: text})
        assert answer.status in {200, 400, 404}, answer
        assert answer.status != 200 or answer.value["items"] == [], answer
    assert len(ids(api, account=past.first)) == 6


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "password"},
        {"sort": "at"},
        {"order_by": "1"},
        {"limit": 0},
        {"limit": 1001},
        {"limit": "1;"},
        {"from_at": -1},
        {"from_at": 2, "to_at": 1},
        {"min_microcredits": 2, "max_microcredits": 1},
        {"min_microcredits": "1e3"},
        {"status": 99},
        {"tag": "=x"},
        {"model": ""},
        "model=a&model=b",
        "model[]=a",
    ],
)
def test_what_cannot_be_asked_is_400(api: AdminApi, past: Past, query: Any) -> None:
    for resource in (("usage",), ("ledger-entries",), ("exports", "usage.csv")):
        assert api.send("GET", *resource, query=query).status == 400, past


def test_a_search_that_leaves_everything_out_still_ends(api: AdminApi, past: Past) -> None:
    page = api.get("usage", model="no such model").value
    assert page == {"items": [], "next_cursor": None}
    assert past


def test_entries_are_found_by_kind_amount_actor_and_operation(farebox: Installation, api: AdminApi, past: Past) -> None:
    account = past.first
    path = ("accounts", account, "adjustments")
    down = api.made(*path, body={"amount_microcredits": -5, "reason": "=cmd|' /C calc'!A0"}, key="100%_")
    up = api.made(*path, body={"amount_microcredits": 7, "reason": "up"}, key="100%x")

    def found(**query: Any) -> list[int]:
        return [item["seq"] for item in api.get("ledger-entries", account=account, **query).value["items"]]

    settled(farebox)
    assert found(kind="adjustment") == [up["seq"], down["seq"]]
    assert found(min_microcredits=-10, max_microcredits=6) == [down["seq"]]
    assert found(idempotency_key="100%_") == [down["seq"]]
    assert found(operation_id=up["operation_id"]) == [up["seq"]]
    assert found(operation_id=up["operation_id"], kind="topup") == []
    assert found(actor="root", limit=2) == [up["seq"], down["seq"]]
    assert found(actor="nobody") == found(model=MODEL) == found(tag="team") == []
    everything = api.get("ledger-entries", limit=1).value
    more = api.get("ledger-entries", limit=1000, cursor=everything["next_cursor"]).value["items"]
    places = [(item["at"], item["account_id"], item["seq"]) for item in everything["items"] + more]
    assert all(one > other for one, other in pairwise(places))


def summary(api: AdminApi, **query: Any) -> Any:
    answer = api.get("summaries", from_at=NOON, to_at=NOON + 30 * DAY_MS, **query)
    assert answer.status == 200, answer
    return answer.value


def test_sums_by_every_dimension_are_those_of_the_records(api: AdminApi, past: Past) -> None:
    whole = summary(api, account=past.first)
    assert (whole["total"]["calls"], whole["total"]["charge_microcredits"]) == (6, 170)
    assert whole["items"][0]["credits"] == whole["total"]["credits"] == "0.00017"
    by_day = summary(api, account=past.first, group_by="day")["items"]
    assert [(item["time"][:10], item["calls"]) for item in by_day] == [
        ("2023-11-14", 1),
        ("2023-11-15", 2),
        ("2023-11-16", 2),
        ("2023-11-17", 1),
    ]
    for name, member, expected in (
        ("model", "model", {"a%b": 10, "a_b": 20, "axb": 30, "=1+2": 0, "\u202eevil\u202c": 50, MODEL: 60}),
        ("provider", "provider", {"local": 140, "elsewhere": 30}),
        ("key", "key_id", {past.key: 120, "key_other": 50}),
        ("status", "status", {200: 110, 502: 0, None: 60}),
        ("tag:team", "tag", {"search": 30, "ops": 50, None: 90}),
        ("account", "account_id", {past.first: 170}),
    ):
        items = summary(api, account=past.first, group_by=name)["items"]
        assert {item[member]: item["charge_microcredits"] for item in items} == expected, name
    both = summary(api, group_by="account,day,tag:team")["items"]
    of_first = [item for item in both if item["account_id"] == past.first]
    assert sum(item["charge_microcredits"] for item in of_first) == 170
    assert len(of_first) == 6  # those that share a day differ by tag
    assert summary(api, key=past.key, model="a_b")["total"]["charge_microcredits"] == 20
    assert summary(api, model="a%b")["total"]["calls"] == 4
    assert summary(api, model="a%b", group_by="tag:team")["total"]["calls"] == 4


@pytest.mark.parametrize(
    "group_by", ["password", "day,day", "day,hour", "tag:", "tag:a,tag:b", "tag:a,status", "model;drop", ",", "day,"]
)
def test_what_cannot_be_grouped_by(api: AdminApi, group_by: str) -> None:
    answer = api.get("summaries", group_by=group_by)
    assert (answer.status, answer.value["error"]["param"]) == (400, "group_by")


def test_the_cells_of_a_json_answer_are_what_was_recorded(api: AdminApi, past: Past) -> None:
    shown = api.get("usage", past.calls[4]).value
    assert shown["model"] == "\u202eevil\u202c"
    assert json.dumps(shown).isascii()
