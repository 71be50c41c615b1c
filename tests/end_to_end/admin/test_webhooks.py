"""A low balance over the whole installation: calls spend, the receiver is told, administrators see it and have it told again."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.admin_api import AdminApi
from tests.support.installation import MODEL, Installation
from tests.support.mock_provider import MockProvider
from tests.support.processes import until
from tests.support.surfaces import ask
from tests.support.webhook_receiver import SECRET, Receiver

SECTION = """
[webhooks]
urls = ["{url}/hook"]
secret = "{secret}"
first_pause_s = 0.1
private_addresses = true
"""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def farebox(
    tmp_path_factory: pytest.TempPathFactory, provider: MockProvider, receiver: Receiver
) -> Iterator[Installation]:
    extra = SECTION.format(url=receiver.url, secret=SECRET)
    with Installation(tmp_path_factory.mktemp("farebox"), provider, extra=extra) as running:
        yield running


def spend(farebox: Installation, key: str) -> None:
    body = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}
    assert ask(farebox, "POST", "/v1/chat/completions", bearer=key, body=body).status == 200


def told(receiver: Receiver, account: str) -> list[str]:
    return [one.id for one in receiver.told if one.value["data"]["account_id"] == account]


def wait(condition: Callable[[], bool]) -> None:
    until(condition, 20)


def test_a_low_balance_is_told_listed_and_told_again(farebox: Installation, api: AdminApi, receiver: Receiver) -> None:
    account = api.account("running low", credits="10")
    key = api.made("accounts", account, "keys", body={"name": "k"})["key"]
    shown = api.patch("accounts", account, body={"low_balance_credits": "9.999"}).value
    assert (shown["low_balance_microcredits"], shown["low_balance_credits"]) == (9_999_000, "9.999")
    receiver.answers = [500]  # and 204 then
    spend(farebox, key)
    wait(lambda: len(told(receiver, account)) == 2)
    assert len(set(told(receiver, account))) == 1
    wait(lambda: api.get("webhooks", "deliveries", account=account).value["items"][0]["status"] == "delivered")
    (one,) = api.get("webhooks", "deliveries", account="running low", status="delivered").value["items"]
    assert (one["event_id"], one["attempts"], one["answered"], one["host"]) == (
        told(receiver, account)[0],
        2,
        204,
        "127.0.0.1",
    )
    assert one["payload"].encode() == receiver.told[-1].body
    assert receiver.told[-1].value["data"]["balance_microcredits"] == farebox.balance("running low")["microcredits"]

    again = api.post("webhooks", "deliveries", one["id"], "resend").value
    assert (again["status"], again["attempts"]) == ("pending", 0)
    wait(lambda: len(told(receiver, account)) == 3)
    assert len(set(told(receiver, account))) == 1
    log = api.get("audit-log", subject=one["id"]).value["items"]
    assert [(row["action"], row["actor"]) for row in log] == [("webhook.resend", "root")]
    assert api.post("webhooks", "deliveries", "dlv_none", "resend").code == "delivery_not_found"
    assert api.get("webhooks", "deliveries", account="nobody").code == "account_not_found"


def test_a_fall_while_nothing_could_be_told_is_told_after_a_restart(
    farebox: Installation, api: AdminApi, receiver: Receiver
) -> None:
    account = api.account("falls in the dark", credits="10")
    key = api.made("accounts", account, "keys", body={"name": "k"})["key"]
    api.patch("accounts", account, body={"low_balance_microcredits": 9_999_999})
    receiver.answers = [503] * 1000
    spend(farebox, key)
    wait(lambda: len(told(receiver, account)) >= 1)
    farebox.stop()
    receiver.answers = []
    before = len(told(receiver, account))
    farebox.start()
    wait(lambda: len(told(receiver, account)) > before)
    assert len(set(told(receiver, account))) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"low_balance_microcredits": -1}, "invalid_request"),
        ({"low_balance_microcredits": 1.5}, "invalid_request"),
        ({"low_balance_credits": "-1"}, "invalid_request"),
        ({"low_balance_credits": "0.0000001"}, "invalid_request"),
        ({"low_balance_credits": "1", "low_balance_microcredits": 1}, "invalid_request"),
    ],
)
def test_a_threshold_that_cannot_be(api: AdminApi, body: dict[str, object], code: str) -> None:
    if api.get("accounts", "thresholds").status == 404:
        api.account("thresholds")
    answer = api.patch("accounts", "thresholds", body=body)
    assert (answer.status, answer.code) == (400, code)
    assert api.patch("accounts", "thresholds", body={"low_balance_credits": None}).value["low_balance_credits"] is None
