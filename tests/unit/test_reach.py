"""Paths and networks that an API key is confined to."""

import json

import pytest

from proxy.accounts.reach import dump_networks, dump_paths, load_reach
from proxy.core.errors import Forbidden, InvalidRequest


def allowed(path: str, address: str, paths: list[str] | None = None, networks: list[str] | None = None) -> str | None:
    """The code of the refusal, None where it is allowed."""
    reach = load_reach(dump_paths(paths), dump_networks(networks))
    if reach is None:
        return None
    try:
        reach.check(path, address)
    except Forbidden as error:
        return error.code
    return None


def test_a_key_that_is_not_confined_has_no_reach() -> None:
    assert load_reach(None, None) is None


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/chat/completions", None),
        ("/v1/embeddings", None),
        ("/v1/embeddings/", "path_not_allowed"),
        ("/v1/embedding", "path_not_allowed"),
        ("/v1/images/generations", "path_not_allowed"),
        ("/v1/chat", "path_not_allowed"),
        ("/V1/chat/completions", "path_not_allowed"),
        ("/v1/%63hat/completions", "path_not_allowed"),
        ("/local/v1/chat/completions", "path_not_allowed"),
    ],
)
def test_paths_are_compared_as_they_are_written(path: str, code: str | None) -> None:
    assert allowed(path, "127.0.0.1", paths=["/v1/chat/*", "/v1/embeddings"]) == code


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.255.0.1", True),
        ("11.0.0.1", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:11.1.2.3", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("fe80::1%eth0", True),
        ("203.0.113.7", True),
        ("203.0.113.8", False),
        ("192.0.2.5", True),
        ("", False),
        ("localhost", False),
        ("10.0.0.1, 10.0.0.2", False),
    ],
)
def test_networks(address: str, inside: bool) -> None:
    networks = ["10.0.0.0/8", "2001:db8::/32", "fe80::/10", "203.0.113.7", "::ffff:192.0.2.0/120"]
    assert allowed("/", address, networks=networks) == (None if inside else "address_not_allowed")


def test_networks_are_stored_in_their_shortest_form() -> None:
    stored = dump_networks(["2001:0db8:0000::/32", "203.0.113.7"])
    assert stored is not None
    assert json.loads(stored) == ["2001:db8::/32", "203.0.113.7/32"]


@pytest.mark.parametrize(
    "paths", [[], ["v1"], ["/a*b"], ["/a?b"], ["/a b"], ["/é"], ["/" + "a" * 500], ["/x"] * 101, "/v1"]
)
def test_paths_that_are_refused(paths: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        dump_paths(paths)


@pytest.mark.parametrize("networks", [[], ["10.0.0.1/8"], ["ten"], ["10.0.0.0/33"], ["1.1.1.1"] * 101, "10.0.0.0/8"])
def test_networks_that_are_refused(networks: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        dump_networks(networks)
