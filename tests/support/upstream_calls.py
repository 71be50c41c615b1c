"""What tests of the upstream client share: a client of a raw upstream, and whole calls."""

import asyncio
import ssl
from collections.abc import Callable

from proxy.pipeline.upstream import Exchange, Origin, PoolLimits, Timeouts, UpstreamClient
from tests.support.raw_upstream import RawUpstream

OK = b"HTTP/1.1 200 OK\r\n"
QUICK = Timeouts(connect_s=2, first_byte_s=5, idle_s=5, total_s=10)


def client_of(
    upstream: RawUpstream,
    *,
    timeouts: Timeouts = QUICK,
    limits: PoolLimits | None = None,
    tls: ssl.SSLContext | None = None,
) -> UpstreamClient:
    return UpstreamClient(Origin.parse(upstream.url), timeouts=timeouts, limits=limits, tls=tls)


async def body_of(exchange: Exchange) -> bytes:
    pieces = []
    while piece := await exchange.read():
        pieces.append(piece)
    return b"".join(pieces)


async def call(client: UpstreamClient, body: bytes = b"{}") -> tuple[int, bytes]:
    """Status and body of one call."""
    exchange = client.open(b"POST", b"/v1/x", [(b"content-type", b"application/json")], body)
    try:
        await exchange.start()
        return exchange.status, await body_of(exchange)
    finally:
        exchange.close()


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what happens soon, without saying how soon."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for: the state of both sides is looked at
            await asyncio.sleep(0.005)
