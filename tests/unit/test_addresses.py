"""Whose word counts for where a client is."""

import pytest

from proxy.pipeline.addresses import ClientAddresses

NEAR = ClientAddresses(["10.0.0.0/8", "::1/128"])


def headers(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), *((b"x-forwarded-for", value.encode()) for value in values)]


def test_without_trusted_proxies_the_header_means_nothing() -> None:
    assert ClientAddresses().of("203.0.113.9", headers("198.51.100.1")) == "203.0.113.9"
    assert NEAR.of("203.0.113.9", headers("198.51.100.1")) == "203.0.113.9"


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ((), "10.0.0.1"),
        (("198.51.100.1",), "198.51.100.1"),
        (("192.0.2.66, 198.51.100.1",), "198.51.100.1"),  # the client wrote the first one
        (("192.0.2.66, 198.51.100.1, 10.9.9.9",), "198.51.100.1"),
        (("192.0.2.66", "198.51.100.1", "10.9.9.9"), "198.51.100.1"),
        (("10.1.1.1, 10.2.2.2",), "10.1.1.1"),
        (("198.51.100.1:4711",), "198.51.100.1"),
        (("[2001:db8::7]:443",), "2001:db8::7"),
        (("2001:db8::7",), "2001:db8::7"),
        (("198.51.100.1, unknown",), ""),
        (("198.51.100.1, ",), ""),
        (("198.51.100.1, _hidden, 10.1.1.1",), ""),
    ],
)
@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1"])
def test_a_trusted_proxy_says_who_it_was(values: tuple[str, ...], address: str, peer: str) -> None:
    found = NEAR.of(peer, headers(*values))
    assert found == (peer if not values else address)
