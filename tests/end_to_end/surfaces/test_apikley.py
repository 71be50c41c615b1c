"""Apikley's credit call, as its published document says it, and its twin's."""

import time
from collections.abc import Iterator

import pytest

from proxy.core.errors import FareboxError, Forbidden, InsufficientCredits, InvalidRequest, RateLimited, Unavailable
from proxy.surfaces.apikley import refuse
from proxy.surfaces.vendor import Maintenance, SurfaceDisabled
from tests.support.installation import Installation
from tests.support.mock_provider import MockProvider
from tests.support.surfaces import HOSTILE_TEXTS, MICRO, Answer, another_key, ask, call, holder, maintenance, same_shape

PATHS = ("/api/v1/chat/credit", "/compat/apikley/api/v1/chat/credit", "/compat/kie/api/v1/chat/credit")
CODES = {200, 401, 402, 404, 422, 429, 455, 500, 505}
ENVELOPE = {"code": int, "msg": str, "data": int}
UNKNOWN = "sk-fb-" + "A" * 43


def credit(farebox: Installation, key: str, path: str = PATHS[0], **more: object) -> Answer:
    return ask(farebox, "GET", path, bearer=key, **more)  # type: ignore[arg-type]


def refused(answer: Answer, code: int, status: int = 200) -> None:
    """The envelope of the document, with the code in it, and a message that is not that of success."""
    body = answer.data(status)
    same_shape(body, ENVELOPE)
    assert body["code"] == code
    assert body["code"] in CODES
    assert body["msg"] not in {"", "success"}
    assert body["data"] == 0


@pytest.mark.parametrize("path", PATHS)
def test_the_balance_is_a_whole_number_of_credits(farebox: Installation, path: str) -> None:
    one = holder(farebox, 100 * MICRO)
    assert credit(farebox, one.key, path).text == '{"code":200,"msg":"success","data":100}'


@pytest.mark.parametrize(("microcredits", "shown"), [(1, 0), (999_999, 0), (1_000_000, 1), (1_999_999, 1), (0, 0)])
def test_credits_that_are_not_whole_are_not_shown(farebox: Installation, microcredits: int, shown: int) -> None:
    assert credit(farebox, holder(farebox, microcredits).key).data() == {"code": 200, "msg": "success", "data": shown}


def test_a_call_is_seen_at_once_and_large_balances_are_exact(farebox: Installation) -> None:
    one = holder(farebox, 9_007_199_254 * MICRO)
    assert credit(farebox, one.key).data()["data"] == 9_007_199_254
    call(farebox, one.key)
    assert credit(farebox, one.key).data()["data"] == 9_007_199_253


def test_whoever_has_no_valid_key_is_told_401_under_http_200(farebox: Installation) -> None:
    one = holder(farebox)
    manager = another_key(farebox, one, kind="manager")[1]
    for key in ("", "nonsense", UNKNOWN, manager, "\u00e9" * 3, "x" * 5000):
        refused(credit(farebox, key), 401)
    refused(ask(farebox, "GET", PATHS[0], headers={"Authorization": "Basic Zm9vOmJhcg=="}), 401)
    refused(credit(farebox, one.key, headers={"X-API-Key": one.key}), 401)
    refused(ask(farebox, "GET", PATHS[0], query={"key": one.key}), 401)


def test_a_revoked_key_and_a_suspended_account(farebox: Installation) -> None:
    one = holder(farebox)
    key_id, key = another_key(farebox, one)
    farebox.command("key", "revoke", key_id, "--yes")
    refused(credit(farebox, key), 401)
    farebox.command("account", "suspend", one.name)
    refused(credit(farebox, one.key), 401)


def test_what_is_not_there_is_404(farebox: Installation) -> None:
    one = holder(farebox)
    refused(credit(farebox, one.key, "/compat/apikley/api/v1/chat/debit"), 404)
    refused(ask(farebox, "POST", PATHS[0], bearer=one.key, body={}), 404)
    refused(ask(farebox, "DELETE", PATHS[1], bearer=one.key), 404)


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_query_changes_nothing(farebox: Installation, text: str) -> None:
    one = holder(farebox, 3 * MICRO)
    assert credit(farebox, one.key, query={"account": text, text[:50]: text}).data()["data"] == 3


def test_maintenance_is_455_and_over_when_it_is_over(farebox: Installation) -> None:
    one = holder(farebox)
    maintenance(farebox, on=True)
    try:
        for path in PATHS:
            wait_for_code(farebox, one.key, path, 455)
            refused(credit(farebox, one.key, path), 455)
    finally:
        maintenance(farebox, on=False)
    wait_for_code(farebox, one.key, PATHS[0], 200)


def wait_for_code(farebox: Installation, key: str, path: str, code: int) -> None:
    """The switch is looked at once a second by each worker."""
    deadline = time.monotonic() + 5
    while credit(farebox, key, path).json["code"] != code:
        assert time.monotonic() < deadline, credit(farebox, key, path).text
        time.sleep(0.05)


SETTINGS = """
[surfaces]
disabled = ["apikley", "mountsea", "credits-dev", "r9s", "openrouter"]
[surfaces.apikley]
mirror = true
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, provider: MockProvider) -> Iterator[Installation]:
    """With surfaces switched off, and with HTTP statuses that mirror the codes."""
    with Installation(tmp_path_factory.mktemp("other"), provider, extra=SETTINGS) as running:
        yield running


def test_switched_off_is_505_whoever_asks(other: Installation) -> None:
    one = holder(other)
    for path in PATHS[:2]:
        refused(credit(other, one.key, path), 505, 505)
        refused(credit(other, "", path), 505, 505)
        refused(ask(other, "POST", path, bearer=one.key), 505, 505)


def test_without_mirror_only_code_500_has_its_own_status() -> None:
    for error, code, status in (
        (SurfaceDisabled(), 505, 200),
        (Maintenance(), 455, 200),
        (RateLimited(), 429, 200),
        (InvalidRequest(), 422, 200),
        (InsufficientCredits(), 402, 200),
        (Forbidden(), 401, 200),
        (Unavailable(), 500, 500),
        (FareboxError(), 500, 500),
    ):
        for mirror, expected in ((False, status), (True, code)):
            answer = refuse(error, "", mirror=mirror)
            assert (answer.status, answer.content) == (expected, {"code": code, "msg": error.message, "data": 0})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api-user/credits"),
        ("GET", "/compat/mountsea/api-user/credits"),
        ("GET", "/v1/accounts"),
        ("GET", "/compat/credits-dev/v1/usage"),
        ("GET", "/api/v1/portal/management/balance"),
        ("GET", "/api/v1/credits"),
    ],
)
def test_another_surface_that_is_switched_off_is_not_there(other: Installation, method: str, path: str) -> None:
    one = holder(other)
    assert ask(other, method, path, x_api_key=one.key).status == 404
    assert ask(other, "GET", "/v1/models", bearer=one.key).data()["object"] == "list"
    assert ask(other, "GET", "/dashboard/billing/subscription", bearer=one.key).status == 200


def test_mirrored_the_http_status_is_the_code(other: Installation) -> None:
    one, path = holder(other, 5 * MICRO), PATHS[2]  # the twin is not switched off
    assert credit(other, one.key, path).data() == {"code": 200, "msg": "success", "data": 5}
    refused(credit(other, UNKNOWN, path), 401, 401)
    refused(ask(other, "POST", path, bearer=one.key), 404, 404)
    maintenance(other, on=True)
    wait_for_code(other, one.key, path, 455)
    refused(credit(other, one.key, path), 455, 455)
