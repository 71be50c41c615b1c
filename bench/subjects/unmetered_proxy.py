"""Farebox's two connections and nothing between them: its listener, its client for providers, no keys, no metering, no records.

`python -m bench.subjects.unmetered_proxy PORT UPSTREAM_PORT [AUTHORITY]`. With the file of an authority (PEM) the upstream is spoken
to over TLS, and its certificate verified. Nobody runs this: it says what a call costs before the first of its credits is counted.
"""

import asyncio
import signal
import sys
from functools import partial

import uvloop

from proxy import memory
from proxy.config import Server
from proxy.pipeline.exchange import ClientLeft, Exchange
from proxy.pipeline.request_head import KnownHeads
from proxy.pipeline.server import DataListener
from proxy.pipeline.upstream.client import UpstreamClient
from proxy.pipeline.upstream.dialer import client_tls
from proxy.pipeline.upstream.exchange import Exchange as UpstreamExchange
from proxy.pipeline.upstream.settings import Origin, PoolLimits
from proxy.tasks import Tasks

_NOT_FORWARDED = frozenset((b"host", b"content-length", b"connection", b"transfer-encoding"))
_MAX_BODY_BYTES, _BODY_TIMEOUT_S = 64 * 1024 * 1024, 60.0
_BACKLOG = 4096


async def forward(listener: DataListener, client: UpstreamClient, exchange: Exchange) -> None:
    """Forward one request and relay its answer as it comes."""
    body = await exchange.read_body(_MAX_BODY_BYTES, _BODY_TIMEOUT_S)
    head = exchange.head
    if head.digest is not None:
        listener.heads.keep(head)
    headers = [pair for pair in head.headers if pair[0] not in _NOT_FORWARDED]
    answer = client.open(exchange.method.encode(), exchange.path.encode(), headers, body)
    exchange.on_left = partial(answer.abort, ClientLeft())
    try:
        await answer.start()
        await _relay(exchange, answer)
    except ClientLeft:
        return
    finally:
        answer.close()


async def _relay(exchange: Exchange, answer: UpstreamExchange) -> None:
    headers = [pair for pair in answer.headers if pair[0].lower() not in _NOT_FORWARDED]
    if (whole := answer.whole()) is not None:
        exchange.answer(answer.status, headers, whole)
        return
    client = exchange.connection

    def each(piece: bytes) -> bool:
        exchange.write(piece)
        return client.paused_since is None

    exchange.begin(answer.status, headers)
    while await answer.read_each(each):
        await exchange.drained()
    exchange.end()


async def serve(port: int, upstream_port: int, authority: str | None) -> None:
    """Serve on `port` of the loopback interface until SIGTERM."""
    origin = Origin("https" if authority else "http", "127.0.0.1", upstream_port)
    tls = client_tls(authority) if authority else None
    client = UpstreamClient(origin, limits=PoolLimits(connections=8192), tls=tls)
    heads = KnownHeads(withheld=())
    listener = DataListener(Server(), lambda exchange: forward(listener, client, exchange), heads)
    loop, stop, tasks = asyncio.get_running_loop(), asyncio.Event(), Tasks()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(listener.protocol, "127.0.0.1", port, backlog=_BACKLOG)
    listener.start(tasks)
    memory.Collector(lambda: listener.open_calls).start(tasks)
    await stop.wait()
    server.close()
    await tasks.close()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:4] or (None,)))
