"""OpenAI's billing calls: the legacy dashboard that tools still ask, and the organization's usage and costs."""

import asyncio
import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import openai
import pytest

from proxy.accounts.topups import Credit
from tests.support.books import stores_of
from tests.support.installation import ADMIN_TOKEN, MODEL, Installation, charge_of
from tests.support.mock_provider import INPUT_TOKENS
from tests.support.surfaces import (
    HOSTILE_TEXTS,
    MICRO,
    NULL,
    NUMBER,
    Answer,
    Holder,
    another_key,
    ask,
    call,
    decimal,
    holder,
    remember,
    same_shape,
    settled,
)

USD = 1000 * MICRO  # microcredits
DAY, HOUR = 86_400, 3600
MIDNIGHT = 1_735_689_600  # 2025-01-01T00:00:00Z
SUBSCRIPTION = {
    "object": str,
    "has_payment_method": bool,
    "soft_limit_usd": NUMBER,
    "hard_limit_usd": NUMBER,
    "system_hard_limit_usd": NUMBER,
    "access_until": int,
}
GRANT = {
    "object": str,
    "id": str,
    "grant_amount": NUMBER,
    "used_amount": NUMBER,
    "effective_at": NUMBER,
    "expires_at": (*NUMBER, NULL),
}
GRANTS = {
    "object": str,
    "total_granted": NUMBER,
    "total_used": NUMBER,
    "total_available": NUMBER,
    "grants": {"object": str, "data": [GRANT]},
}
COMPLETIONS = {
    "object": str,
    "input_tokens": int,
    "output_tokens": int,
    "input_cached_tokens": int,
    "num_model_requests": int,
    "project_id": (str, NULL),
    "user_id": (str, NULL),
    "api_key_id": (str, NULL),
    "model": (str, NULL),
    "batch": (bool, NULL),
    "service_tier": (str, NULL),
}
EMBEDDINGS = {
    "object": str,
    "input_tokens": int,
    "num_model_requests": int,
    "project_id": (str, NULL),
    "user_id": (str, NULL),
    "api_key_id": (str, NULL),
    "model": (str, NULL),
}
COSTS = {
    "object": str,
    "amount": {"value": NUMBER, "currency": str},
    "line_item": (str, NULL),
    "project_id": (str, NULL),
    "api_key_id": (str, NULL),
}
SHAPES = {"usage/completions": COMPLETIONS, "usage/embeddings": EMBEDDINGS, "costs": COSTS}


def page_of(result: Any) -> dict[str, Any]:
    bucket = {"object": str, "start_time": int, "end_time": int, "results": [result]}
    return {"object": str, "data": [bucket], "has_more": bool, "next_page": (str, NULL)}


def refused(answer: Answer, status: int) -> dict[str, Any]:
    """OpenAI's shape."""
    body = answer.data(status)
    same_shape(body, {"error": {"message": str, "type": str, "param": (str, NULL), "code": (str, NULL)}})
    assert body["error"]["message"]
    return dict(body["error"])


# The legacy dashboard.


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_the_limit_less_what_was_used_is_the_balance(farebox: Installation, prefix: str) -> None:
    one = holder(farebox, 12_345_678_901)
    for _ in range(2):
        call(farebox, one.key)
    spent = 2 * charge_of((INPUT_TOKENS, 5))
    body = ask(farebox, "GET", f"{prefix}/dashboard/billing/subscription", bearer=one.key).data()
    same_shape(body, SUBSCRIPTION)
    assert (body["object"], body["has_payment_method"], body["access_until"]) == ("billing_subscription", True, 0)
    limit = decimal(12_345_678_901, USD)
    assert body["hard_limit_usd"] == body["soft_limit_usd"] == body["system_hard_limit_usd"] == limit
    dates = {"start_date": "2023-01-01", "end_date": "2023-01-02"}
    for query in ({}, dates):
        used = ask(farebox, "GET", f"{prefix}/dashboard/billing/usage", bearer=one.key, query=query).data()
        same_shape(used, {"object": str, "total_usage": NUMBER})
        assert used == {"object": "list", "total_usage": decimal(spent, USD) * 100}
    assert limit - used["total_usage"] / 100 == decimal(farebox.balance(one.name)["microcredits"], USD)
    grants = ask(farebox, "GET", f"{prefix}/dashboard/billing/credit_grants", bearer=one.key).data()
    same_shape(grants, GRANTS)
    assert (grants["object"], grants["grants"]["object"]) == ("credit_summary", "list")
    assert (grants["total_granted"], grants["total_used"]) == (limit, decimal(spent, USD))
    assert grants["total_available"] == limit - decimal(spent, USD)


def test_a_key_with_an_end_says_when(farebox: Installation) -> None:
    one = holder(farebox)
    ends = int(time.time()) + 1000
    key = another_key(farebox, one, expires_at=ends * 1000)[1]
    assert ask(farebox, "GET", "/dashboard/billing/subscription", bearer=key).data()["access_until"] == ends


def test_an_adjustment_and_large_amounts_stay_exact(farebox: Installation) -> None:
    one = holder(farebox, 9_007_199_254_740_991)

    async def adjust() -> None:
        async with stores_of(farebox) as stores:
            await stores.topups.top_up(one.id, Credit(-1, "less", kind="adjustment"))

    asyncio.run(adjust())
    body = ask(farebox, "GET", "/v1/dashboard/billing/subscription", bearer=one.key).data()
    assert body["hard_limit_usd"] == Decimal("9007199.25474099")
    assert ask(farebox, "GET", "/v1/dashboard/billing/usage", bearer=one.key).data()["total_usage"] == 0


@pytest.mark.parametrize("call_", ["subscription", "usage", "credit_grants"])
@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_who_may_not_see_it(farebox: Installation, prefix: str, call_: str) -> None:
    one = holder(farebox)
    path = f"{prefix}/dashboard/billing/{call_}"
    for key in ("", "nonsense", "sk-fb-" + "A" * 43):
        refused(ask(farebox, "GET", path, bearer=key), 401)
    refused(ask(farebox, "GET", path, bearer=one.key, x_api_key=one.key), 401)
    assert ask(farebox, "POST", path, bearer=one.key, body={}).status in {404, 405}
    assert ask(farebox, "GET", path, x_api_key=one.key).status in {200, 401}


# The organization's usage and costs.


class Organization:
    """Asks as an administrator, or with another key."""

    def __init__(self, farebox: Installation, key: str = ADMIN_TOKEN) -> None:
        self.farebox, self.key = farebox, key

    def page(self, path: str, **query: Any) -> Any:
        body = self.get(path, **query).data()
        same_shape(body, page_of(SHAPES[path]))
        assert body["object"] == "page"
        assert (body["next_page"] is not None) == body["has_more"]
        assert all(bucket["object"] == "bucket" for bucket in body["data"])
        return body

    def get(self, path: str, **query: Any) -> Answer:
        pairs = [(n, one) for n, value in query.items() for one in (value if isinstance(value, list) else [value])]
        return ask(self.farebox, "GET", f"/v1/organization/{path}", bearer=self.key, query=pairs)


@pytest.fixture(scope="module")
def past(farebox: Installation) -> Holder:
    """Records of the first three days of 2025: two keys, two models, one embedding; charges of 1 to 6 microcredits."""
    one = holder(farebox)
    rows = [
        (0, "key_a", MODEL, "/v1/chat/completions"),
        (61, "key_a", "other", "/v1/chat/completions"),
        (HOUR, "key_b", MODEL, "/v1/messages"),
        (DAY - 1, "key_b", "embedder", "/v1/embeddings"),
        (DAY, "key_a", MODEL, "/v1/chat/completions"),
        (3 * DAY - 1, "key_a", MODEL, "/v1/chat/completions"),
    ]
    for number, (second, key_id, model, path) in enumerate(rows, 1):
        remember(
            farebox,
            one.id,
            key_id,
            at=(MIDNIGHT + second) * 1000,
            model=model,
            path=path,
            input_tokens=10 * number,
            output_tokens=0 if "embed" in path else number,
            charge_microcredits=number,
            cached_tokens=number,
            usage=json.dumps({"input": 9 * number, "cache_read": number, "output": number}),
        )
    return one


def test_a_bucket_a_day(farebox: Installation, past: Holder) -> None:
    page = Organization(farebox).page(
        "usage/completions", start_time=MIDNIGHT, end_time=MIDNIGHT + 3 * DAY, project_ids=past.id
    )
    assert [(bucket["start_time"], bucket["end_time"]) for bucket in page["data"]] == [
        (MIDNIGHT + day * DAY, MIDNIGHT + (day + 1) * DAY) for day in range(3)
    ]
    results = [bucket["results"] for bucket in page["data"]]
    assert [len(result) for result in results] == [1, 1, 1]
    assert results[0][0] == {
        "object": "organization.usage.completions.result",
        "input_tokens": 60,
        "output_tokens": 6,
        "input_cached_tokens": 6,
        "num_model_requests": 3,
        "project_id": None,
        "user_id": None,
        "api_key_id": None,
        "model": None,
        "batch": None,
        "service_tier": None,
    }
    assert [result[0]["input_tokens"] for result in results] == [60, 50, 60]
    assert (page["has_more"], page["next_page"]) == (False, None)


def test_embeddings_are_apart(farebox: Installation, past: Holder) -> None:
    page = Organization(farebox).page(
        "usage/embeddings", start_time=MIDNIGHT, end_time=MIDNIGHT + 2 * DAY, project_ids=past.id, group_by="model"
    )
    assert page["data"][0]["results"] == [
        {
            "object": "organization.usage.embeddings.result",
            "input_tokens": 40,
            "num_model_requests": 1,
            "project_id": None,
            "user_id": None,
            "api_key_id": None,
            "model": "embedder",
        }
    ]
    assert page["data"][1]["results"] == []


def test_costs_are_what_was_charged(farebox: Installation, past: Holder) -> None:
    page = Organization(farebox).page("costs", start_time=MIDNIGHT, end_time=MIDNIGHT + 3 * DAY, project_ids=past.id)
    results = [bucket["results"] for bucket in page["data"]]
    assert results[0] == [
        {
            "object": "organization.costs.result",
            "amount": {"value": decimal(10, USD), "currency": "usd"},
            "line_item": None,
            "project_id": None,
            "api_key_id": None,
        }
    ]
    assert [result[0]["amount"]["value"] for result in results] == [decimal(amount, USD) for amount in (10, 5, 6)]
    by = Organization(farebox).page(
        "costs", start_time=MIDNIGHT, limit=1, group_by=["line_item", "project_id"], project_ids=past.id
    )
    assert [(r["line_item"], r["project_id"], r["amount"]["value"]) for r in by["data"][0]["results"]] == [
        ("embedder", past.id, decimal(4, USD)),
        ("other", past.id, decimal(2, USD)),
        (MODEL, past.id, decimal(4, USD)),
    ]


@pytest.mark.parametrize(
    "query",
    [
        [("group_by", "model"), ("group_by", "api_key_id")],
        [("group_by[]", "model"), ("group_by[]", "api_key_id")],
        [("group_by", "model,api_key_id")],
        [("group_by[]", "api_key_id,model")],
    ],
    ids=str,
)
def test_grouping_however_it_is_asked_for(farebox: Installation, past: Holder, query: list[tuple[str, str]]) -> None:
    pairs = [("start_time", MIDNIGHT), ("end_time", MIDNIGHT + DAY), ("project_ids[]", past.id), *query]
    page = ask(farebox, "GET", "/v1/organization/usage/completions", bearer=ADMIN_TOKEN, query=pairs).data()
    found = [(r["model"], r["api_key_id"], r["input_tokens"]) for r in page["data"][0]["results"]]
    assert sorted(found) == [("other", "key_a", 20), (MODEL, "key_a", 10), (MODEL, "key_b", 30)]
    assert all(r["project_id"] is None for r in page["data"][0]["results"])


def test_filters(farebox: Installation, past: Holder) -> None:
    def tokens(**query: Any) -> list[int]:
        page = Organization(farebox).page(
            "usage/completions", start_time=MIDNIGHT, end_time=MIDNIGHT + DAY, project_ids=past.id, **query
        )
        return [r["input_tokens"] for r in page["data"][0]["results"]]

    assert tokens(models="other") == [20]
    assert tokens(models=["other", MODEL]) == [60]
    assert tokens(models="nothing") == []
    assert tokens(api_key_ids="key_b") in ([30], [])
    assert tokens(batch="true") == []
    assert tokens(batch="false") == [60]


@pytest.mark.parametrize(("width", "seconds", "counts"), [("1h", HOUR, [2, 1]), ("1m", 60, [1, 1])])
def test_narrow_buckets_and_empty_ones(
    farebox: Installation, past: Holder, width: str, seconds: int, counts: list[int]
) -> None:
    page = Organization(farebox).page(
        "usage/completions", start_time=MIDNIGHT, bucket_width=width, limit=3, project_ids=past.id
    )
    starts = [bucket["start_time"] for bucket in page["data"]]
    assert starts == [MIDNIGHT + number * seconds for number in range(3)]
    found = [[result["num_model_requests"] for result in bucket["results"]] for bucket in page["data"]]
    assert found == [[count] for count in counts] + [[]]
    assert page["has_more"] is True


def test_pages_of_buckets(farebox: Installation, past: Holder) -> None:
    asked = {"start_time": MIDNIGHT, "end_time": MIDNIGHT + 3 * DAY, "bucket_width": "1h", "project_ids": past.id}
    whole = Organization(farebox).page("usage/completions", limit=168, **asked)["data"]
    assert len(whole) == 72
    found, cursor = [], {}
    for number in range(8):
        page = Organization(farebox).page("usage/completions", limit=10, **asked, **cursor)
        found += page["data"]
        assert page["has_more"] is (number < 7)
        cursor = {"page": page["next_page"]}
    assert found == whole


def test_default_limits(farebox: Installation) -> None:
    now = int(time.time())
    for path, width, count in (
        ("usage/completions", "1d", 7),
        ("usage/completions", "1h", 24),
        ("usage/embeddings", "1m", 60),
        ("costs", "1d", 7),
    ):
        page = Organization(farebox).page(path, start_time=MIDNIGHT, bucket_width=width)
        assert len(page["data"]) == count, (path, width)
        assert page["has_more"] is True
    today = Organization(farebox).page("costs", start_time=now - now % DAY)
    assert len(today["data"]) == 1
    assert today["has_more"] is False


@pytest.mark.parametrize("path", list(SHAPES))
@pytest.mark.parametrize(
    "query",
    [
        {},
        *({"start_time": value} for value in ("", "x", "-1", "1.5", "1e3", "9" * 30, "NaN")),
        {"start_time": MIDNIGHT, "end_time": MIDNIGHT},
        {"start_time": MIDNIGHT, "end_time": MIDNIGHT - 1},
        {"start_time": MIDNIGHT, "end_time": "x"},
        {"start_time": MIDNIGHT, "bucket_width": "1w"},
        {"start_time": MIDNIGHT, "bucket_width": ""},
        *({"start_time": MIDNIGHT, "limit": value} for value in ("0", "-1", "x", "1441", "9" * 30)),
        *({"start_time": MIDNIGHT, "group_by": value} for value in ("nothing", "model; DROP", "")),
        *({"start_time": MIDNIGHT, "page": value} for value in ("x", "", "AAAAAGdGxdEiJdKOAAAAAGcqsYA=", "\0")),
        {"start_time": MIDNIGHT, "batch": "perhaps"},
    ],
    ids=str,
)
def test_what_the_organization_refuses(farebox: Installation, path: str, query: dict[str, Any]) -> None:
    refused(Organization(farebox).get(path, **query), 400)


def test_a_cursor_is_for_its_own_query(farebox: Installation, past: Holder) -> None:
    organization = Organization(farebox)
    asked = {"start_time": MIDNIGHT, "end_time": MIDNIGHT + 3 * DAY, "limit": 1}
    cursor = organization.page("usage/completions", **asked, project_ids=past.id)["next_page"]
    assert organization.get("usage/completions", **asked, project_ids=past.id, page=cursor).status == 200
    for path, more in (
        ("usage/completions", {"project_ids": past.id, "bucket_width": "1h"}),
        ("usage/completions", {}),
        ("costs", {"project_ids": past.id}),
    ):
        assert organization.get(path, **{**asked, **more}, page=cursor).status in {400, 404}, (path, more)
    manager = another_key(farebox, past, kind="manager")[1]
    assert Organization(farebox, manager).get("usage/completions", **asked, page=cursor).status in {400, 404}
    other = Organization(farebox, another_key(farebox, holder(farebox), kind="manager")[1])
    own_cursor = Organization(farebox, manager).page("usage/completions", **asked)["next_page"]
    assert Organization(farebox, manager).get("usage/completions", **asked, page=own_cursor).status == 200
    assert other.get("usage/completions", **asked, page=own_cursor).status in {400, 404}


def test_whose_organization(farebox: Installation, past: Holder) -> None:
    path, span = "usage/completions", {"start_time": MIDNIGHT, "end_time": MIDNIGHT + 3 * DAY}
    other = holder(farebox)
    own = Organization(farebox, another_key(farebox, past, kind="manager")[1])
    assert [b["results"][0]["input_tokens"] for b in own.page(path, **span)["data"]] == [60, 50, 60]
    assert [b["results"][0]["project_id"] for b in own.page(path, **span, group_by="project_id")["data"]] == [
        past.id
    ] * 3
    nothing = Organization(farebox, another_key(farebox, other, kind="manager")[1])
    assert [bucket["results"] for bucket in nothing.page(path, **span)["data"]] == [[], [], []]
    refused(nothing.get(path, **span, project_ids=past.id), 404)
    refused(nothing.get(path, **span, project_ids="acct_nobody"), 404)
    key_id = another_key(farebox, past)[0]
    refused(nothing.get(path, **span, api_key_ids=key_id), 404)
    balance_only = another_key(farebox, past, kind="manager", scopes=("balance:read",))[1]
    refused(Organization(farebox, balance_only).get(path, **span), 403)


@pytest.mark.parametrize("path", list(SHAPES))
def test_a_users_key_is_no_admin_key(farebox: Installation, past: Holder, path: str) -> None:
    refused(Organization(farebox, past.key).get(path, start_time=MIDNIGHT), 403)
    for key in ("", "nonsense", ADMIN_TOKEN + "x", "sk_mg_" + "a" * 64):
        refused(Organization(farebox, key).get(path, start_time=MIDNIGHT), 401)


@pytest.fixture(scope="module")
def own(farebox: Installation, past: Holder) -> Organization:
    return Organization(farebox, another_key(farebox, past, kind="manager")[1])


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_hostile_filters(own: Organization, text: str) -> None:
    asked = {"start_time": MIDNIGHT, "end_time": MIDNIGHT + DAY}
    for name in ("models", "user_ids"):
        answer = own.get("usage/completions", **asked, **{name: text})
        assert answer.status == 400 or [bucket["results"] for bucket in answer.data()["data"]] == [[]], (name, text)
    for name in ("project_ids", "api_key_ids"):
        assert own.get("usage/completions", **asked, **{name: text}).status in {400, 404}
    for name in ("group_by", "bucket_width", "page"):
        assert own.get("usage/completions", **asked, **{name: text}).status in {400, 404}


def test_openais_own_client_reads_both(farebox: Installation) -> None:
    one = holder(farebox)
    call(farebox, one.key)
    settled(farebox)
    manager = another_key(farebox, one, kind="manager")[1]
    today = int(datetime.now(UTC).timestamp()) // DAY * DAY
    with openai.OpenAI(api_key="unused", admin_api_key=manager, base_url=f"{farebox.url}/v1") as client:
        usage = client.admin.organization.usage.completions(start_time=today, group_by=["model", "api_key_id"])
        costs = client.admin.organization.usage.costs(start_time=today, group_by=["line_item"])
    [bucket] = usage.data
    [result] = bucket.results
    assert result.object == "organization.usage.completions.result"
    assert (result.model, result.input_tokens, result.output_tokens) == (MODEL, INPUT_TOKENS, 5)
    [cost] = costs.data[0].results
    assert cost.object == "organization.costs.result"
    assert (cost.line_item, cost.amount and cost.amount.value) == (MODEL, 0.000017)
