"""What one key may ask, and what is switched off: bounds of the surfaces as their vendors' callers meet them."""

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.support.installation import ADMIN_TOKEN, MODEL, Installation
from tests.support.mock_provider import MockProvider
from tests.support.surfaces import MICRO, Answer, ask, call, holder

SETTINGS = '[surfaces]\nqueries_per_minute = 60\ndisabled = ["credits-dev"]'


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory, provider: MockProvider) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("bounded"), provider, extra=SETTINGS) as running:
        yield running


def test_a_key_that_asks_too_often_is_told_when_to_come_back(bounded: Installation) -> None:
    one, other = holder(bounded), holder(bounded)
    answers = [ask(bounded, "GET", "/api-user/credits", x_api_key=one.key) for _ in range(100)]
    taken = [answer.status for answer in answers].index(429)
    assert 60 <= taken < 90
    assert answers[taken].data(429)["statusCode"] == 429
    assert answers[taken].headers["retry-after"] == "1"
    assert ask(bounded, "GET", "/api-user/credits", x_api_key=other.key).status == 200
    assert call(bounded, one.key)  # calls have limits of their own
    time.sleep(1.1)
    assert ask(bounded, "GET", "/api-user/credits", x_api_key=one.key).status == 200


def test_a_surface_that_is_switched_off_is_not_there(bounded: Installation) -> None:
    one = holder(bounded)
    for path in ("/v1/accounts/balance", "/compat/credits-dev/v1/usage", "/compat/credits-dev/v1/nothing"):
        answer = ask(bounded, "GET", path, x_api_key=one.key).data(404)
        assert answer["success"] is False
    assert ask(bounded, "POST", "/v1/usage/record", x_api_key=ADMIN_TOKEN, body={}).status == 404
    # Shared paths are whose they are besides.
    assert ask(bounded, "GET", "/v1/models", bearer=one.key, query={"provider": "local"}).json["object"] == "list"
    assert ask(bounded, "GET", "/v1/usage", bearer=one.key).json["isValid"] is True


def test_a_revoked_key_is_refused_within_a_second(farebox: Installation) -> None:
    one = holder(farebox)
    assert ask(farebox, "GET", "/api-user/credits", x_api_key=one.key).status == 200
    [key] = farebox.lines("key", "list", one.name)
    farebox.command("key", "revoke", key["id"], "--yes")
    deadline = time.monotonic() + 2
    while ask(farebox, "GET", "/api-user/credits", x_api_key=one.key).status == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ask(farebox, "GET", "/api-user/credits", x_api_key=one.key).status == 401


def test_a_key_that_is_confined_to_paths_stays_there(farebox: Installation) -> None:
    one = holder(farebox, paths=["/api-user/credits"])
    assert ask(farebox, "GET", "/api-user/credits", x_api_key=one.key).status == 200
    for path in ("/api-user/services", "/compat/mountsea/api-user/credits", "/v1/accounts/balance"):
        assert ask(farebox, "GET", path, x_api_key=one.key).status == 403, path


def test_every_answer_names_its_call(farebox: Installation) -> None:
    one = holder(farebox)
    seen = {
        ask(farebox, method, path, x_api_key=key).headers["x-farebox-call-id"]
        for key in (one.key, "nonsense")
        for method, path in (
            ("GET", "/api-user/credits"),
            ("DELETE", "/api-user/credits"),
            ("GET", "/v1/usage"),
            ("GET", "/compat/mountsea/api-user/nothing"),
        )
    }
    assert len(seen) == 8


def test_a_call_on_an_alias_is_one_of_the_model(farebox: Installation) -> None:
    one = holder(farebox)
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "hi"}], "mock": {"chunks": 2}}
    for path in ("/chat/v1/chat/completions", "/compat/mountsea/chat/chat/completions"):
        answer = ask(farebox, "POST", path, x_api_key=one.key, body=body)
        assert answer.status == 200
        assert answer.text.rstrip().endswith("data: [DONE]")
    assert ask(farebox, "GET", "/chat/v1/chat/completions", x_api_key=one.key).status == 405
    assert ask(farebox, "POST", "/chat/v1/embeddings", x_api_key=one.key, body=body).status == 404


def test_deductions_at_once_take_no_more_than_there_is(farebox: Installation) -> None:
    one = holder(farebox, 10 * MICRO)

    def deduct(_: int) -> Answer:
        body = {"accountId": one.id, "amount": 3}
        return ask(farebox, "POST", "/v1/accounts/credits/deduct", x_api_key=ADMIN_TOKEN, body=body)

    with ThreadPoolExecutor(8) as threads:
        statuses = sorted(answer.status for answer in threads.map(deduct, range(8)))
    assert statuses == [200] * 3 + [402] * 5
    assert farebox.balance(one.name)["microcredits"] == MICRO


def test_one_key_for_the_same_request_at_once_is_one_entry(farebox: Installation) -> None:
    one = holder(farebox, 0)

    def add(_: int) -> Answer:
        body = {"accountId": one.id, "amount": 5}
        headers = {"Idempotency-Key": "at-once"}
        return ask(farebox, "POST", "/v1/accounts/credits/add", x_api_key=ADMIN_TOKEN, body=body, headers=headers)

    with ThreadPoolExecutor(8) as threads:
        texts = {answer.text for answer in threads.map(add, range(8))}
    assert len(texts) == 1
    assert farebox.balance(one.name)["microcredits"] == 5 * MICRO


def test_an_account_whose_making_was_cut_short_is_made_by_the_next_attempt(farebox: Installation) -> None:
    claim = ("acct_00000000000000000001", "cut-short", "Before", 1)
    with closing(sqlite3.connect(farebox.directory / "state" / "farebox.db", timeout=10)) as database, database:
        columns = "(account_id, external_id, name, created_at)"
        database.execute(f"INSERT INTO external_accounts {columns} VALUES (?, ?, ?, ?)", claim)
    assert (
        ask(farebox, "GET", "/v1/accounts/get", x_api_key=ADMIN_TOKEN, query={"externalId": "cut-short"}).status == 404
    )
    body = {"name": "After", "externalId": "cut-short"}
    made = ask(farebox, "POST", "/v1/accounts/create", x_api_key=ADMIN_TOKEN, body=body).data()["account"]
    assert (made["id"], made["name"]) == ("acct_00000000000000000001", "After")
    assert (
        ask(farebox, "POST", "/v1/accounts/create", x_api_key=ADMIN_TOKEN, body=body).data(409)["code"]
        == "external_id_taken"
    )


def test_two_accounts_may_have_one_name_outside(farebox: Installation) -> None:
    made = [
        ask(farebox, "POST", "/v1/accounts/create", x_api_key=ADMIN_TOKEN, body={"name": "Kim", **more}).data()[
            "account"
        ]
        for more in ({"externalId": "kim-1"}, {"externalId": "kim-2"}, {})
    ]
    assert {account["name"] for account in made} == {"Kim"}
    names = {str(farebox.command("account", "show", account["id"])["name"]) for account in made}
    assert len(names) == 3
    assert {"Kim", "Kim (kim-2)"} <= names


def test_a_deduction_that_was_refused_stays_so_under_its_key(farebox: Installation) -> None:
    one = holder(farebox, MICRO)

    def deduct(key: str) -> Answer:
        body = {"accountId": one.id, "amount": 2}
        headers = {"Idempotency-Key": key}
        path = "/v1/accounts/credits/deduct"
        return ask(farebox, "POST", path, x_api_key=ADMIN_TOKEN, body=body, headers=headers)

    assert deduct("first").data(402)["code"] == "insufficient_credits"
    farebox.command("topup", one.name, "5", "--key", "more")
    assert deduct("first").data(402)["code"] == "insufficient_credits"
    assert deduct("second").data()["balance"] == 4
