"""mountsea's calls, as its published page says them: credits, services, both searches, aliases."""

import time
import uuid
from decimal import Decimal
from typing import Any

import pytest

from tests.support.installation import MODEL, Installation, charge_of
from tests.support.mock_provider import INPUT_TOKENS, MockProvider
from tests.support.surfaces import (
    HOSTILE_TEXTS,
    MICRO,
    NUMBER,
    UTC_MILLISECONDS,
    Answer,
    Holder,
    another_key,
    ask,
    call,
    decimal,
    holder,
    maintenance,
    remember,
    same_shape,
    settled,
)

DAY_MS = 86_400_000
PREFIXES = ("", "/compat/mountsea")
SEARCHES = ("/api-user/usage/search", "/api-user/points/search")
META = {"totalItems": int, "itemCount": int, "itemsPerPage": int, "totalPages": int, "currentPage": int}
POINT = {
    "id": str,
    "serviceName": str,
    "apiPath": str,
    "apiMethod": str,
    "finalAmount": NUMBER,
    "beforeCredits": NUMBER,
    "afterCredits": NUMBER,
    "traceId": str,
    "createdAt": str,
}
USAGE = {
    "id": str,
    "serviceId": str,
    "serviceName": str,
    "apiPath": str,
    "apiMethod": str,
    "statusCode": int,
    "consumedCredits": NUMBER,
    "finalAmount": NUMBER,
    "traceId": str,
    "createdAt": str,
    "metadata": {
        "model": str,
        "inputTokens": int,
        "outputTokens": int,
        "cachedTokens": int,
        "durationMs": int,
        "stream": bool,
        "settlementBasis": str,
    },
}


def now_range() -> dict[str, int]:
    now = int(time.time() * 1000)
    return {"start": now - DAY_MS, "end": now + 60_000}


def search(farebox: Installation, one: Holder, path: str, **body: Any) -> Answer:
    return ask(farebox, "POST", path, x_api_key=one.key, body={"dateRange": now_range(), **body})


def refused(answer: Answer, status: int = 400) -> dict[str, Any]:
    """Nest's shapes."""
    body = dict(answer.data(status))
    if status == 400:
        same_shape(body, {"statusCode": int, "message": [str], "error": str})
        assert (body["statusCode"], body["error"]) == (400, "Bad Request")
        assert body["message"]
    elif status == 401:
        assert body == {"statusCode": 401, "message": "Unauthorized"}
    else:
        assert body["statusCode"] == status
    return body


@pytest.fixture(scope="module")
def caller(farebox: Installation) -> Holder:
    """Twelve calls of 1 to 12 output tokens, oldest first."""
    one = holder(farebox)
    for output in range(1, 13):
        call(farebox, one.key, output)
    settled(farebox)
    return one


def costs(first: int = 1, last: int = 12) -> list[Decimal]:
    """What the calls cost in credits, newest first."""
    return [decimal(charge_of((INPUT_TOKENS, output))) for output in range(last, first - 1, -1)]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_credits_by_header_and_by_query(farebox: Installation, prefix: str) -> None:
    one = holder(farebox, 10_000 * MICRO)
    path = f"{prefix}/api-user/credits"
    assert ask(farebox, "GET", path, x_api_key=one.key).text == '{"credits":10000}'
    assert ask(farebox, "GET", path, query={"key": one.key}).text == '{"credits":10000}'


@pytest.mark.parametrize(("microcredits", "shown"), [(1, 0), (999_999, 0), (1_999_999, 1), (2**53 - 1, 9_007_199_254)])
def test_credits_are_whole_and_never_more_than_there_are(farebox: Installation, microcredits: int, shown: int) -> None:
    one = holder(farebox, microcredits)
    assert ask(farebox, "GET", "/api-user/credits", x_api_key=one.key).text == f'{{"credits":{shown}}}'


def test_a_key_in_the_query_is_in_no_log(farebox: Installation) -> None:
    one = holder(farebox)
    assert ask(farebox, "GET", "/api-user/credits", query={"key": one.key}).status == 200
    assert ask(farebox, "GET", "/api-user/credits", query={"key": one.key + "x"}).status == 401
    assert one.key[6:] not in farebox.log.read_text()


@pytest.mark.parametrize("path", ["/api-user/credits", "/api-user/services"])
def test_who_has_no_valid_key_is_refused(farebox: Installation, path: str) -> None:
    one = holder(farebox)
    refused(ask(farebox, "GET", path), 401)
    refused(ask(farebox, "GET", path, x_api_key="nonsense"), 401)
    refused(ask(farebox, "GET", path, x_api_key="sk-fb-" + "A" * 43), 401)
    refused(ask(farebox, "GET", path, query={"key": ""}), 401)
    refused(ask(farebox, "GET", path, x_api_key=one.key, query={"key": one.key}), 401)
    refused(ask(farebox, "GET", path, query=[("key", one.key), ("key", one.key)]), 401)
    refused(ask(farebox, "GET", path, x_api_key=one.key, bearer=one.key), 401)


@pytest.mark.parametrize("path", SEARCHES)
def test_searches_need_a_key_before_they_read_a_body(farebox: Installation, path: str) -> None:
    refused(ask(farebox, "POST", path, body=b"{"), 401)
    one = holder(farebox)
    answer = ask(farebox, "POST", path, query={"key": one.key}, body={"dateRange": now_range()})
    assert answer.data()["meta"]["totalItems"] == 0


def test_the_key_in_the_query_is_for_this_surface_alone(farebox: Installation) -> None:
    one = holder(farebox)
    for path in (
        "/compat/credits-dev/v1/models",
        "/v1/usage",
        "/v1/accounts/balance",
        "/user/balance",
        "/api/usage/token",
    ):
        assert ask(farebox, "GET", path, query={"key": one.key}).status == 401, path
    body = {"model": MODEL, "messages": []}
    assert ask(farebox, "POST", "/v1/chat/completions", query={"key": one.key}, body=body).status == 401


def test_services_have_lasting_ids(farebox: Installation) -> None:
    one, two = holder(farebox), holder(farebox)
    services = ask(farebox, "GET", "/api-user/services", x_api_key=one.key).data()
    same_shape(services, [{"id": str, "name": str}])
    assert "chat" in [service["name"] for service in services]
    assert len({service["id"] for service in services}) == len(services) > 1
    assert all(str(uuid.UUID(service["id"])) == service["id"] for service in services)
    assert ask(farebox, "GET", "/compat/mountsea/api-user/services", query={"key": two.key}).data() == services


@pytest.mark.parametrize("prefix", PREFIXES)
def test_points_are_what_calls_took(farebox: Installation, caller: Holder, prefix: str) -> None:
    page = search(farebox, caller, f"{prefix}/api-user/points/search", limit=100).data()
    same_shape(page, {"items": [POINT], "meta": META})
    assert page["meta"] == {"totalItems": 12, "itemCount": 12, "itemsPerPage": 100, "totalPages": 1, "currentPage": 1}
    items = page["items"]
    assert [item["finalAmount"] for item in items] == costs()
    assert all(item["beforeCredits"] - item["afterCredits"] == item["finalAmount"] for item in items)
    assert [item["beforeCredits"] for item in items[:-1]] == [item["afterCredits"] for item in items[1:]]
    assert items[-1]["beforeCredits"] == 100
    for item in items:
        assert (item["serviceName"], item["apiPath"], item["apiMethod"]) == ("chat", "/v1/chat/completions", "POST")
        assert uuid.UUID(item["id"])
        assert uuid.UUID(item["traceId"])
        assert UTC_MILLISECONDS.fullmatch(item["createdAt"])
    assert [item["createdAt"] for item in items] == sorted((item["createdAt"] for item in items), reverse=True)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_usage_is_one_item_a_call(farebox: Installation, caller: Holder, prefix: str) -> None:
    page = search(farebox, caller, f"{prefix}/api-user/usage/search", limit=100).data()
    same_shape(page, {"items": [USAGE], "meta": META})
    assert page["meta"]["totalItems"] == 12
    items = page["items"]
    assert [item["consumedCredits"] for item in items] == costs()
    assert [item["finalAmount"] for item in items] == costs()
    services = {one["id"]: one["name"] for one in ask(farebox, "GET", "/api-user/services", x_api_key=caller.key).json}
    for output, item in zip(range(12, 0, -1), items, strict=True):
        assert (item["apiPath"], item["apiMethod"], item["statusCode"]) == ("/v1/chat/completions", "POST", 200)
        assert services[item["serviceId"]] == item["serviceName"] == "chat"
        assert (item["metadata"]["model"], item["metadata"]["inputTokens"]) == (MODEL, INPUT_TOKENS)
        assert (item["metadata"]["outputTokens"], item["metadata"]["cachedTokens"]) == (output, 0)
        assert (item["metadata"]["stream"], item["metadata"]["settlementBasis"]) == (False, "reported")
        assert uuid.UUID(item["id"])
        assert uuid.UUID(item["traceId"])
        assert UTC_MILLISECONDS.fullmatch(item["createdAt"])


@pytest.mark.parametrize("path", SEARCHES)
def test_pages(farebox: Installation, caller: Holder, path: str) -> None:
    first = search(farebox, caller, path).data()
    assert first["meta"] == {"totalItems": 12, "itemCount": 10, "itemsPerPage": 10, "totalPages": 2, "currentPage": 1}
    pages = [search(farebox, caller, path, page=number, limit=5).data() for number in (1, 2, 3, 4)]
    assert [len(page["items"]) for page in pages] == [5, 5, 2, 0]
    assert [page["meta"]["itemCount"] for page in pages] == [5, 5, 2, 0]
    assert pages[3]["meta"] == {"totalItems": 12, "itemCount": 0, "itemsPerPage": 5, "totalPages": 3, "currentPage": 4}
    every = [item["finalAmount"] for page in pages for item in page["items"]]
    assert every == costs()
    assert search(farebox, caller, path, page=2**31, limit=100).data()["items"] == []


@pytest.mark.parametrize("path", SEARCHES)
def test_the_range_is_inclusive_in_milliseconds(farebox: Installation, path: str) -> None:
    one = holder(farebox)
    call(farebox, one.key)
    settled(farebox)
    at = farebox.usage(one.name, 1)[0]["at"]
    if path.endswith("points/search"):
        at = next(entry for entry in farebox.lines("ledger", one.name) if entry["kind"] == "charge")["at"]

    def found(start: int, end: int) -> int:
        body = {"dateRange": {"start": start, "end": end}}
        return int(ask(farebox, "POST", path, x_api_key=one.key, body=body).data()["meta"]["totalItems"])

    assert (found(at, at), found(at - 5, at - 1), found(at + 1, at + 5)) == (1, 0, 0)
    assert (found(at - 90 * DAY_MS, at), found(at, at + 90 * DAY_MS)) == (1, 1)


@pytest.mark.parametrize("path", SEARCHES)
@pytest.mark.parametrize(
    "change",
    [
        {"dateRange": None},
        {"dateRange": {}},
        {"dateRange": {"start": 1}},
        {"dateRange": {"end": 1}},
        {"dateRange": {"start": 2, "end": 1}},
        {"dateRange": {"start": 0, "end": 90 * DAY_MS + 1}},
        {"dateRange": {"start": "1", "end": 2}},
        {"dateRange": {"start": 1.5, "end": 2}},
        {"dateRange": {"start": -1, "end": 2}},
        {"dateRange": {"start": 10**30, "end": 10**30}},
        {"dateRange": {"start": True, "end": True}},
        {"dateRange": [1, 2]},
        *({"page": value} for value in (0, -1, "1", 1.5, None, True, 10**30, [1])),
        *({"limit": value} for value in (0, 101, -1, "10", 1.5, True)),
        *({"serviceId": value} for value in ("chat", 1, "", "'; DROP TABLE usage_records; --", ["a"])),
        *({"traceId": value} for value in (1, {}, "x" * 1000)),
    ],
    ids=str,
)
def test_what_a_search_refuses(farebox: Installation, caller: Holder, path: str, change: dict[str, Any]) -> None:
    refused(search(farebox, caller, path, **change))


def test_what_is_missing_is_named(farebox: Installation, caller: Holder) -> None:
    answer = ask(farebox, "POST", SEARCHES[0], x_api_key=caller.key, body={"page": 1})
    assert answer.data(400) == {"statusCode": 400, "message": ["dateRange should not be empty"], "error": "Bad Request"}


@pytest.mark.parametrize("path", SEARCHES)
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"dateRange": 1e999}']
)
def test_a_body_that_is_no_search(farebox: Installation, caller: Holder, path: str, body: bytes) -> None:
    answer = ask(farebox, "POST", path, x_api_key=caller.key, body=body)
    assert answer.data(400)["statusCode"] == 400


def test_filters_of_a_usage_search(farebox: Installation) -> None:
    one = holder(farebox)
    now = int(time.time() * 1000)
    for status, path in ((200, "/v1/chat/completions"), (429, "/v1/chat/completions"), (200, "/v1/embeddings")):
        outcome = "completed" if status == 200 else "upstream_failed"
        remember(farebox, one.id, at=now, status=status, outcome=outcome, path=path)
    trace = f"{uuid.uuid4().hex}"
    remember(farebox, one.id, at=now, status=500, outcome="upstream_failed", trace_id=trace)

    def found(**filters: Any) -> list[int]:
        page = search(farebox, one, SEARCHES[0], **filters).data()
        assert page["meta"]["totalItems"] == len(page["items"])
        return sorted(item["statusCode"] for item in page["items"])

    assert found() == [200, 200, 429, 500]
    assert found(statusCode=429) == found(status=429) == [429]
    assert found(status="success") == [200, 200]
    assert found(status="failed") == [429, 500]
    assert found(statusCode=404) == []
    assert found(traceId=str(uuid.UUID(trace))) == found(traceId=trace) == [500]
    assert found(traceId=str(uuid.uuid4())) == []
    services = {s["name"]: s["id"] for s in ask(farebox, "GET", "/api-user/services", x_api_key=one.key).json}
    assert found(serviceId=services["chat"]) == [200, 429, 500]
    assert found(serviceId=services["chat"], status="success") == [200]
    assert found(serviceId=str(uuid.uuid4())) == []
    for bad in ({"statusCode": "200"}, {"status": "ok"}, {"status": 2.5}, {"statusCode": True}, {"statusCode": 10**20}):
        refused(search(farebox, one, SEARCHES[0], **bad))


def test_filters_of_a_points_search(farebox: Installation, caller: Holder) -> None:
    [newest] = search(farebox, caller, SEARCHES[1], limit=1).data()["items"]
    [found] = search(farebox, caller, SEARCHES[1], traceId=newest["traceId"]).data()["items"]
    assert found == newest
    services = {s["name"]: s["id"] for s in ask(farebox, "GET", "/api-user/services", x_api_key=caller.key).json}
    assert search(farebox, caller, SEARCHES[1], serviceId=services["chat"]).data()["meta"]["totalItems"] == 12
    assert search(farebox, caller, SEARCHES[1], serviceId=str(uuid.uuid4())).data()["meta"]["totalItems"] == 0


@pytest.mark.parametrize("path", SEARCHES)
@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_hostile_texts_find_nothing(farebox: Installation, caller: Holder, path: str, text: str) -> None:
    answer = search(farebox, caller, path, traceId=text)
    assert answer.status in {200, 400}, answer.text
    assert answer.status == 400 or answer.json["meta"]["totalItems"] == 0
    refused(search(farebox, caller, path, serviceId=text))


@pytest.mark.parametrize("path", SEARCHES)
def test_another_accounts_calls_are_not_there(farebox: Installation, caller: Holder, path: str) -> None:
    [newest] = search(farebox, caller, path, limit=1).data()["items"]
    other = holder(farebox)
    assert search(farebox, other, path, traceId=newest["traceId"]).data()["meta"]["totalItems"] == 0
    assert search(farebox, other, path, accountId=caller.id, account_id=caller.id).data()["items"] == []
    key = another_key(farebox, caller)[1]
    assert ask(farebox, "POST", path, x_api_key=key, body={"dateRange": now_range()}).data()["meta"]["totalItems"] == 12


@pytest.mark.parametrize("prefix", PREFIXES)
def test_other_methods_and_paths(farebox: Installation, prefix: str) -> None:
    one = holder(farebox)
    assert ask(farebox, "POST", f"{prefix}/api-user/credits", x_api_key=one.key, body={}).status in {404, 405}
    assert ask(farebox, "GET", f"{prefix}/api-user/points/search", x_api_key=one.key).status in {404, 405}
    assert ask(farebox, "GET", f"{prefix}/api-user/nothing", x_api_key=one.key).status == 404


def test_suspended(farebox: Installation) -> None:
    one = holder(farebox)
    farebox.command("account", "suspend", one.name)
    assert ask(farebox, "GET", "/api-user/credits", x_api_key=one.key).data(403)["statusCode"] == 403


@pytest.mark.parametrize("path", ["/chat/chat/completions", "/chat/v1/chat/completions"])
def test_aliases_of_the_data_plane(farebox: Installation, provider: MockProvider, path: str) -> None:
    one = holder(farebox)
    body = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "mock": {"chunks": 3}}
    answer = ask(farebox, "POST", path, x_api_key=one.key, body=body)
    assert answer.data()["usage"]["completion_tokens"] == 3
    assert provider.received[-1].path == "/v1/chat/completions"
    settled(farebox)
    [item] = search(farebox, one, SEARCHES[0]).data()["items"]
    assert item["serviceName"] == "chat"
    assert item["finalAmount"] == decimal(charge_of((INPUT_TOKENS, 3)))


@pytest.mark.parametrize("path", ["/chat/v1/responses", "/chat/responses"])
def test_aliases_of_responses(farebox: Installation, path: str) -> None:
    one = holder(farebox)
    answer = ask(farebox, "POST", path, bearer=one.key, body={"model": "nobodys-model", "input": "hi"})
    assert answer.data(404)["error"]["code"] == "model_not_found"


def test_maintenance_and_its_end(farebox: Installation) -> None:
    one = holder(farebox)
    maintenance(farebox, on=True)
    try:
        wait_for_status(farebox, one, 503)
        assert ask(farebox, "GET", "/api-user/credits", x_api_key=one.key).data(503)["statusCode"] == 503
        assert ask(farebox, "GET", "/api/v1/portal/management/balance", bearer=one.key).data(503)["meta"]["code"] == 503
        assert ask(farebox, "GET", "/v1/accounts/balance", x_api_key=one.key).data(503)["success"] is False
    finally:
        maintenance(farebox, on=False)
    wait_for_status(farebox, one, 200)


def wait_for_status(farebox: Installation, one: Holder, status: int) -> None:
    """The switch is looked at once a second by each worker."""
    deadline = time.monotonic() + 5
    while ask(farebox, "GET", "/api-user/credits", x_api_key=one.key).status != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)
