"""The client of one provider: a pool of kept-alive connections, and calls opened on it.

It speaks HTTP/1.1 and does nothing on its own account: no redirects, no cookies, no proxies but the one it is given, no
decompression, no repeats. Own code because a general client was measured as the largest cost of a call.
"""

import asyncio
import ssl
from collections.abc import Sequence

from proxy.core.errors import Unavailable
from proxy.pipeline.turnstile import Turnstile
from proxy.pipeline.upstream.dialer import Dialer
from proxy.pipeline.upstream.exchange import STEPS_A_TURN, Exchange, Machinery
from proxy.pipeline.upstream.pool import Pool, PoolStats
from proxy.pipeline.upstream.request import Heads, whole
from proxy.pipeline.upstream.settings import ForwardProxy, Origin, PoolLimits, Timeouts
from proxy.pipeline.upstream.sweep import Sweep

_GOODBYE_S = 2.0


class UpstreamClient:
    """Belongs to the event loop in which it was made.

    `tls` overrides the context of an https origin (see client_tls); with a `proxy` every connection goes through that.
    Clients of one process share the turnstile that large arrivals pass (`steps`, of STEPS_A_TURN).
    """

    def __init__(
        self,
        origin: Origin,
        *,
        timeouts: Timeouts | None = None,
        limits: PoolLimits | None = None,
        tls: ssl.SSLContext | None = None,
        proxy: ForwardProxy | None = None,
        steps: Turnstile | None = None,
    ) -> None:
        limits = limits or PoolLimits()
        loop = asyncio.get_running_loop()
        self._heads = Heads(origin, proxy)
        self._pool = Pool(limits, loop)
        self._sweep = Sweep(self._pool, limits.keepalive_s, loop)
        self._shared = Machinery(
            self._pool,
            Dialer(origin, tls, proxy),
            self._sweep,
            timeouts or Timeouts(),
            steps or Turnstile(STEPS_A_TURN),
            limits.wait_s,
            loop,
        )
        self._closed = False

    @property
    def stats(self) -> PoolStats:
        """Connections open and idle, calls waiting for one."""
        return self._pool.stats

    def open(
        self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]] = (), body: bytes = b""
    ) -> Exchange:
        """A call that is not sent yet; host and content-length are added to `headers`.

        Raises InvalidRequest where a name or value cannot be sent as it is, Unavailable once the client is closed.
        """
        return self.open_again(self._heads.lines(method, target, headers), method, body)

    def lines(self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """What `open_again` needs to open a call with this head any number of times. Raises InvalidRequest as `open` does."""
        return self._heads.lines(method, target, headers)

    def open_again(self, lines: bytes, method: bytes, body: bytes) -> Exchange:
        """As `open`, with a head that `lines` has made. Raises Unavailable once the client is closed."""
        if self._closed:
            raise Unavailable("Farebox is shutting down.")
        return Exchange(self._shared, whole(lines, method, len(body)), body)

    def retire(self) -> None:
        """Another client takes over: keeps no connection for the next call. Calls can still be opened."""
        self._pool.keep_none()

    async def close(self) -> None:
        """Opens no more calls and closes idle connections; open calls go on, and their connections close with them."""
        self._closed = True
        await self._pool.close(_GOODBYE_S)
