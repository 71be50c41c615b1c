"""Where an API key may be used: on which paths of the data listener, and from which networks.

A path is compared as it is written in the request, byte for byte, without its query; one that ends in * matches every path that
begins so. A network is in CIDR notation; the address is the connection's own, or what a trusted proxy says (the caller of
`check` decides). An IPv4 address that comes mapped into IPv6 is the IPv4 address.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from proxy.core.errors import Forbidden, InvalidRequest

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

MAX_PATHS = 100
MAX_PATH = 500
MAX_NETWORKS = 100


@dataclass(frozen=True, slots=True)
class Reach:
    """What a key is confined to; None: not in this respect. A key that is confined in neither has no Reach at all."""

    paths: tuple[str, ...] | None
    networks: tuple[Network, ...] | None

    def check(self, path: str, address: str) -> None:
        """Raises Forbidden. `address` is the client's IP address as text; what is none is in no network."""
        if self.paths is not None and not any(
            path.startswith(known[:-1]) if known.endswith("*") else path == known for known in self.paths
        ):
            raise Forbidden("This API key may not be used on this path.", code="path_not_allowed")
        if self.networks is not None and not self._is_near(address):
            raise Forbidden("This API key may not be used from this address.", code="address_not_allowed")

    def _is_near(self, text: str) -> bool:
        address = read_address(text)
        return address is not None and any(address in network for network in self.networks or ())


def load_reach(paths: str | None, networks: str | None) -> Reach | None:
    """From the stored JSON lists; None where neither confines the key."""
    if paths is None and networks is None:
        return None
    return Reach(
        None if paths is None else tuple(json.loads(paths)),
        None if networks is None else tuple(ip_network(one) for one in json.loads(networks)),
    )


def read_address(text: str) -> Address | None:
    """An IP address, a mapped one as the IPv4 address that it is; None for what is no address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def dump_paths(paths: Sequence[str] | None) -> str | None:
    """Checked paths as the JSON text that is stored. Raises InvalidRequest."""
    if paths is None:
        return None
    if isinstance(paths, str) or not 1 <= len(paths) <= MAX_PATHS:
        raise InvalidRequest(f"paths must be a list of 1 to {MAX_PATHS} paths, or null for all", param="paths")
    for path in paths:
        if not path.startswith("/") or len(path) > MAX_PATH or not path.isprintable() or "*" in path[:-1]:
            raise InvalidRequest(
                f"a path begins with / and has at most {MAX_PATH} characters; * may stand at its end", param="paths"
            )
        if not path.isascii() or {"?", "#", " "} & set(path):
            raise InvalidRequest("a path is written as in a request: ASCII, percent-encoded, no query", param="paths")
    return json.dumps(list(paths))


def dump_networks(networks: Sequence[str] | None) -> str | None:
    """Checked networks as the JSON text that is stored. Raises InvalidRequest."""
    if networks is None:
        return None
    if isinstance(networks, str) or not 1 <= len(networks) <= MAX_NETWORKS:
        raise InvalidRequest(
            f"networks must be a list of 1 to {MAX_NETWORKS} networks, or null for all", param="networks"
        )
    return json.dumps([str(_network(one)) for one in networks])


def _network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise InvalidRequest(
            f"{text[:60]!r} is not a network such as 203.0.113.0/24: {error}", param="networks"
        ) from error
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None and network.prefixlen >= 96:
        return ip_network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network
