"""mountsea's searches as they are read, its errors, the bound on queries, and the paths that its clients use for calls."""

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.errors import FareboxError, Forbidden, InvalidKey, InvalidRequest, RateLimited
from proxy.pipeline.paths import Paths
from proxy.pipeline.routes import MOUNTSEA_PATHS
from proxy.providers.registry import OPERATIONS
from proxy.surfaces.mountsea import LONGEST_RANGE_MS, read_search, refuse
from proxy.surfaces.services import ID_OF, SERVICES
from proxy.surfaces.throttle import Throttle
from proxy.surfaces.vendor import Invalid, Maintenance

RANGE = {"start": 1_767_801_600_000, "end": 1_773_071_999_999}


def test_a_search_with_its_defaults() -> None:
    search = read_search({"dateRange": RANGE}, with_status=True)
    assert (search.from_at, search.to_at, search.page, search.limit) == (RANGE["start"], RANGE["end"], 1, 10)
    assert not search.filtered


def test_everything_that_is_wrong_is_listed() -> None:
    body = {"page": 0, "limit": 101, "serviceId": "chat", "traceId": 5, "statusCode": "200"}
    with pytest.raises(Invalid) as caught:
        read_search(body, with_status=True)
    assert caught.value.messages == [
        "dateRange should not be empty",
        "page must not be less than 1",
        "limit must not be greater than 100",
        "serviceId must be a UUID",
        "traceId must be a string of 1 to 200 printable characters",
        "statusCode must be an HTTP status code",
    ]


@pytest.mark.parametrize(
    ("start", "end", "good"),
    [(0, LONGEST_RANGE_MS, True), (0, LONGEST_RANGE_MS + 1, False), (5, 5, True), (6, 5, False)],
)
def test_the_longest_range(start: int, end: int, *, good: bool) -> None:
    if good:
        assert read_search({"dateRange": {"start": start, "end": end}}, with_status=False).to_at == end
    else:
        with pytest.raises(Invalid):
            read_search({"dateRange": {"start": start, "end": end}}, with_status=False)


@pytest.mark.parametrize(
    ("filters", "rule", "status"),
    [
        ({}, "any", 0),
        ({"status": "success"}, "good", 0),
        ({"status": "failed"}, "bad", 0),
        ({"status": 429}, "one", 429),
        ({"statusCode": 402, "status": "success"}, "one", 402),
    ],
)
def test_statuses(filters: dict[str, Any], rule: str, status: int) -> None:
    found = read_search({"dateRange": RANGE, **filters}, with_status=True)
    assert (found.filters["status_rule"], found.filters["status"]) == (rule, status)
    assert found.filtered is (rule != "any")


def test_service_and_trace_ids_as_records_have_them() -> None:
    chat = read_search({"dateRange": RANGE, "serviceId": ID_OF["chat"].upper()}, with_status=False)
    assert chat.filters["service"] == "chat"
    unknown = read_search({"dateRange": RANGE, "serviceId": "0" * 8 + "-0000-0000-0000-" + "0" * 12}, with_status=False)
    assert unknown.filters["service"] not in {"", *SERVICES}
    trace = "1D110E91-9d69-4325-bd42-b55583ae6dc5"
    assert read_search({"dateRange": RANGE, "traceId": trace}, with_status=False).filters["trace_id"] == (
        "1d110e919d694325bd42b55583ae6dc5"
    )


@pytest.mark.parametrize(
    ("error", "status", "content"),
    [
        (InvalidKey("secret detail"), 401, {"statusCode": 401, "message": "Unauthorized"}),
        (Invalid(["a", "b"]), 400, {"statusCode": 400, "message": ["a", "b"], "error": "Bad Request"}),
        (InvalidRequest("no"), 400, {"statusCode": 400, "message": ["no"], "error": "Bad Request"}),
        (Forbidden("no"), 403, {"statusCode": 403, "message": "no", "error": "Forbidden"}),
        (
            Maintenance(),
            503,
            {"statusCode": 503, "message": Maintenance.default_message, "error": "Service Unavailable"},
        ),
    ],
)
def test_errors_as_nest_writes_them(error: FareboxError, status: int, content: object) -> None:
    answer = refuse(error, "call")
    assert (answer.status, answer.content) == (status, content)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def now_ms(self) -> int:
        return int(self.now * 1000)


def test_a_key_has_so_many_queries_a_minute() -> None:
    clock = Clock()
    throttle = Throttle(clock, per_minute=60, at_once=2)
    for _ in range(60):
        with throttle.query("one"):
            pass
    with pytest.raises(RateLimited) as caught, throttle.query("one"):
        pass
    assert caught.value.retry_after_ms is not None
    with throttle.query("another"):  # its bucket is its own
        pass
    clock.now += caught.value.retry_after_ms / 1000
    with throttle.query("one"):
        pass
    with pytest.raises(RateLimited), throttle.query("one"):
        pass


def test_a_key_has_so_many_queries_at_once_and_a_failed_one_gives_its_place_back() -> None:
    throttle = Throttle(Clock(), per_minute=60, at_once=1)
    with throttle.query("one"), pytest.raises(RateLimited), throttle.query("one"):
        pass
    with pytest.raises(ValueError, match="failed"), throttle.query("one"):
        raise ValueError("failed")
    with throttle.query("one"):
        pass


def test_aliases_of_calls_mean_what_openais_paths_mean() -> None:
    paths = Paths(OPERATIONS, {"local": {"openai": "/v1"}, "chat": {"openai": ""}})
    before = paths.match(request("/chat/chat/completions"))
    paths.alias(MOUNTSEA_PATHS)
    for alias, known in MOUNTSEA_PATHS.items():
        target = paths.match(request(alias))
        if alias == "/chat/chat/completions":
            assert target is before, "a provider's own path stays what it was"
        elif target.provider is None:
            assert target is paths.match(request(known))
    assert paths.match(request("/chat/v1/responses")).operation is paths.match(request("/v1/responses")).operation


def request(path: str) -> Any:
    return SimpleNamespace(method="POST", path=path, query="", headers=[])
