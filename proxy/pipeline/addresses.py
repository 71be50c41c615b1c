"""Where a client is: the address of its connection, or what a trusted proxy in front of us says of it.

`X-Forwarded-For` is read from the right, where the nearest proxy wrote, and only as far as proxies are trusted: what a client wrote
there itself is never believed. It is asked for by keys that are confined to networks, and by nobody else.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from proxy.accounts.reach import read_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.pipeline.exchange import RawHeaders

_MAX_HOPS = 50


class ClientAddresses:
    """`trusted` are networks (CIDR) of proxies whose X-Forwarded-For is believed; none: the connection's address counts."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted = tuple(ip_network(one) for one in trusted)

    def of(self, peer: str, headers: RawHeaders) -> str:
        """The client's address as text, given the connection's; empty where a trusted proxy does not say it legibly."""
        if not self._trusted or not self._is_trusted(peer):
            return peer
        last = peer
        for hop in reversed(_hops(headers)):
            if read_address(hop) is None:
                return ""
            last = hop
            if not self._is_trusted(hop):
                break
        return last

    def _is_trusted(self, text: str) -> bool:
        address = read_address(text)
        return address is not None and any(address in network for network in self._trusted)


def _hops(headers: RawHeaders) -> Sequence[str]:
    """What X-Forwarded-For lists, the nearest hop last; ports and brackets are dropped."""
    values = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    return [_without_port(hop.strip()) for hop in ",".join(values).split(",")][-_MAX_HOPS:] if values else []


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    host, colon, port = hop.rpartition(":")
    return host if colon and port.isdecimal() and ":" not in host else hop
