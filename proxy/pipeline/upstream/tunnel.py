"""A way through an HTTP proxy to one host and port: CONNECT (RFC 9110, section 9.3.6), before TLS is spoken through it."""

import asyncio
from typing import cast

from proxy.pipeline.upstream.settings import ForwardProxy, Origin

_MAX_ANSWER_BYTES = 16 * 1024


class TunnelRefused(OSError):
    """The proxy does not let us through, or does not answer as one; the message says which, and no more."""


class Tunnel(asyncio.Protocol):
    """Asks the proxy as soon as it is connected to; `opened` waits for the answer. Then others speak on the transport."""

    def __init__(self, proxy: ForwardProxy, origin: Origin) -> None:
        self._request = _request(proxy, origin)
        self._answer = bytearray()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    async def opened(self) -> None:
        """Returns once bytes go through; raises TunnelRefused."""
        await self._opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The proxy listens."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its bases
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """The answer, or a piece of it: a head alone, for nobody has said anything to the other end yet."""
        if self._opened.done():
            return
        self._answer += data
        head, end, rest = bytes(self._answer).partition(b"\r\n\r\n")
        if not end:
            if len(self._answer) > _MAX_ANSWER_BYTES:
                self._refuse("its answer is too long")
            return
        version, _, status = head.split(b"\r\n", 1)[0].partition(b" ")
        if version not in {b"HTTP/1.1", b"HTTP/1.0"} or not status[:3].isdigit():
            self._refuse("it does not speak HTTP/1")
        elif not status.startswith(b"2"):
            self._refuse(f"it answers {status[:3].decode()}")
        elif rest:
            self._refuse("it speaks where the provider should")
        else:
            self._opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The proxy is gone."""
        if not self._opened.done():
            self._opened.set_exception(TunnelRefused("the proxy closed the connection"))

    def _refuse(self, why: str) -> None:
        self._opened.set_exception(TunnelRefused(f"the proxy does not open a tunnel: {why}"))


def _request(proxy: ForwardProxy, origin: Origin) -> bytes:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    place = f"{host}:{origin.port}".encode("ascii")
    lines = [b"CONNECT %b HTTP/1.1" % place, b"host: " + place]
    if proxy.authorization is not None:
        lines.append(b"proxy-authorization: " + proxy.authorization)
    return b"\r\n".join(lines) + b"\r\n\r\n"
