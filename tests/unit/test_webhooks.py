"""Signatures as published, pauses that grow, falls of a balance, and which addresses are public."""

import pytest

from proxy.admin.webhook_sender import is_public
from proxy.config import parse_config
from proxy.core.errors import ConfigError
from proxy.core.webhooks import Crossing, Entry, Watched, crossings, pause_s, read_secret, signed_headers

# The reference vector of the Standard Webhooks libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "A" * 40


def test_the_published_vector_is_signed_alike() -> None:
    headers = signed_headers([read_secret(SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_two_secrets_sign_both() -> None:
    one, two = read_secret(SECRET), read_secret(OTHER)
    both = signed_headers([one, two], "evt", 1, b"x")["webhook-signature"]
    assert both == " ".join(signed_headers([key], "evt", 1, b"x")["webhook-signature"] for key in (one, two))


@pytest.mark.parametrize("text", ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_%%%"])
def test_a_weak_or_broken_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="base64") as caught:
        read_secret(text)
    assert "MfKQ" not in str(caught.value)


def test_pauses_double_up_to_four_hours() -> None:
    assert [pause_s(5, attempts) for attempts in (1, 2, 3, 12, 13, 2000)] == [5, 10, 20, 10240, 14400, 14400]


def entries(*balances: int, first: int = 1) -> list[Entry]:
    return [Entry(first + number, balance, 1000 + number) for number, balance in enumerate(balances)]


@pytest.mark.parametrize(
    ("balances", "falls"),
    [
        ((100, 50, 11), []),
        ((100, 10), [2]),
        ((100, 9, 5, 3), [2]),
        ((100, 9, 10, 11, 10), [2, 5]),  # at the threshold it is low still; above it, it is armed again
        ((5,), [1]),
        ((100, -3), [2]),
    ],
)
def test_each_fall_is_told_once(balances: tuple[int, ...], falls: list[int]) -> None:
    after, found = crossings(Watched(0, armed=True), entries(*balances), 10)
    assert [crossing.seq for crossing in found] == falls
    assert after == Watched(len(balances), armed=balances[-1] > 10)


def test_a_fall_is_found_whichever_way_the_entries_are_cut() -> None:
    whole = entries(100, 9, 20, 8, 7, 30, 1)
    for cut in range(len(whole) + 1):
        middle, first = crossings(Watched(0, armed=True), whole[:cut], 10)
        end, second = crossings(middle, whole[cut:], 10)
        assert (first + second, end) == (
            (Crossing(2, 9, 1001), Crossing(4, 8, 1003), Crossing(7, 1, 1006)),
            Watched(7, armed=False),
        )


def test_what_comes_after_a_missing_entry_waits() -> None:
    assert crossings(Watched(3, armed=True), entries(5, first=5), 10) == (Watched(3, armed=True), ())


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "172.16.9.9", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1", "::",
     "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "2001:0:a00:1::"],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)
    assert not is_public(address, unknown=True)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


GOOD = f'[webhooks]\nurls = ["https://hooks.example.com/a?t=canary"]\nsecret = "{SECRET}"\n'


def test_a_good_section() -> None:
    assert parse_config(GOOD).webhooks.secrets() == (read_secret(SECRET),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("https:", "http:"), "https"),
        (GOOD.replace("hooks.", "me:canary@hooks."), "user"),
        (GOOD.replace("https://hooks.example.com", "https://"), "URL"),
        (GOOD.replace("example.com", "example.com:99999"), "URL"),
        (GOOD + 'allowed_hosts = ["example.com"]', "allowed_hosts"),
        (GOOD.replace("whsec_MfKQ", "MfKQ"), "secret"),
        (GOOD.replace("secret", "previous_secret"), "webhooks.secret"),
        (GOOD + "timeout_s = 0", "timeout_s"),
        (GOOD + "attempts = 0", "attempts"),
    ],
)
def test_a_section_that_cannot_be(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_config(text)
    assert "canary" not in str(caught.value)
    assert "MfKQ" not in str(caught.value)


def test_a_host_that_is_allowed() -> None:
    assert parse_config(GOOD + 'allowed_hosts = ["Hooks.example.com"]').webhooks.urls


def test_a_url_may_be_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "https://hooks.example.com/secret")
    assert parse_config(GOOD.replace("https://hooks.example.com/a?t=canary", "env:HOOK")).webhooks.urls == [
        "https://hooks.example.com/secret"
    ]
