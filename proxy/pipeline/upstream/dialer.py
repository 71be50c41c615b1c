"""Making one connection: unix socket, TCP or TLS, an address at a time, straight or through an HTTP proxy.

Certificates and host names are verified: a proxy passes on what it cannot read.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator

from proxy.pipeline.upstream.addresses import Addresses
from proxy.pipeline.upstream.connection import Connection
from proxy.pipeline.upstream.errors import ConnectFailed
from proxy.pipeline.upstream.settings import ForwardProxy, Origin
from proxy.pipeline.upstream.tunnel import Tunnel

# How long a TLS goodbye may take before the connection is dropped without it.
TLS_SHUTDOWN_S = 1.0
# Providers think for minutes while nothing is on the wire; without probes a NAT on the way forgets the connection.
_PROBE_AFTER_S = 60


def client_tls(ca_file: str | None = None) -> ssl.SSLContext:
    """A verifying context: the system's authorities, or only those of `ca_file` (PEM). Offers HTTP/1.1 alone."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


class Dialer:
    """Connects to one origin; with a proxy to that, which then knows the way (and looks up the origin's name)."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None, proxy: ForwardProxy | None = None) -> None:
        self._origin = origin
        self._tls = (tls or client_tls()) if origin.tls else None
        self._proxy = proxy
        self._next = proxy or origin
        self._addresses = Addresses(self._next.host, self._next.port)

    async def connect(self, new_connection: Callable[[], Connection], timeout_s: float) -> Connection:
        """A connection that stands, from the first address that answers; raises ConnectFailed.

        The caller bounds the whole; within `timeout_s` seconds each address gets a fair share, so that a dead first
        one does not use up the time of the others.
        """
        try:
            if self._origin.unix_path is not None:
                return await self._to_unix(new_connection())
            addresses = await self._addresses.get()
        except OSError as error:
            raise ConnectFailed from error
        try:
            return await self._to_any(addresses, new_connection, timeout_s)
        except OSError as error:
            self._addresses.forget()
            raise ConnectFailed from error

    async def _to_any(
        self, addresses: tuple[str, ...], new_connection: Callable[[], Connection], timeout_s: float
    ) -> Connection:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        for left in range(len(addresses), 1, -1):
            # The last address is tried below, outside the suppression, so that its error is the one that is told.
            with contextlib.suppress(OSError):
                async with asyncio.timeout_at(loop.time() + (deadline - loop.time()) / left):
                    return await self._to_address(addresses[-left], new_connection())
        return await self._to_address(addresses[-1], new_connection())

    async def _to_address(self, address: str, connection: Connection) -> Connection:
        loop = asyncio.get_running_loop()
        with _dropped_on_failure(connection):
            if self._proxy is not None and self._tls is not None:
                transport = await self._through(self._proxy, self._tls, address, connection)
            else:
                transport, _ = await loop.create_connection(
                    lambda: connection,
                    address,
                    self._next.port,
                    ssl=self._tls,
                    server_hostname=self._origin.host if self._tls else None,
                    ssl_shutdown_timeout=TLS_SHUTDOWN_S if self._tls else None,
                )
            _probe(transport)
            return _standing(connection)

    async def _through(
        self, proxy: ForwardProxy, tls: ssl.SSLContext, address: str, connection: Connection
    ) -> asyncio.BaseTransport:
        """TLS with the origin through a tunnel of the proxy."""
        loop = asyncio.get_running_loop()
        outer, tunnel = await loop.create_connection(lambda: Tunnel(proxy, self._origin), address, proxy.port)
        try:
            await tunnel.opened()
            inner = await loop.start_tls(
                outer, connection, tls, server_hostname=self._origin.host, ssl_shutdown_timeout=TLS_SHUTDOWN_S
            )
        except BaseException:  # cancelled by the timeout around it, too: nobody else knows of this transport
            outer.abort()
            raise
        if inner is None:
            raise ConnectionResetError("closed while TLS began")
        connection.connection_made(inner)
        return inner

    async def _to_unix(self, connection: Connection) -> Connection:
        with _dropped_on_failure(connection):
            await asyncio.get_running_loop().create_unix_connection(lambda: connection, self._origin.unix_path)
            return _standing(connection)


@contextlib.contextmanager
def _dropped_on_failure(connection: Connection) -> Iterator[None]:
    """Whatever ends the attempt early, cancellation included, leaves no half-made transport behind."""
    try:
        yield
    except BaseException:
        connection.discard()
        raise


def _standing(connection: Connection) -> Connection:
    if not connection.standing:
        raise ConnectionResetError("closed, or spoken to, right after it was accepted")
    return connection


def _probe(transport: asyncio.BaseTransport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_AFTER_S)
