"""The data listener: accepts clients, has their requests handled, and drains them when the process ends.

One sweep twice a second looks at the deadlines of all connections: no timer per call. Times are loop seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from proxy.pipeline.addresses import ClientAddresses
from proxy.pipeline.client import ClientConnection
from proxy.pipeline.deadlines import enforce
from proxy.pipeline.departures import Departures
from proxy.pipeline.exchange import Exchange
from proxy.pipeline.lookout import Lookout
from proxy.pipeline.request_head import KnownHeads
from proxy.pipeline.turnstile import CALLS_A_TURN, Line, Turnstile
from proxy.tasks import Tasks, in_turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from proxy.config import Server as ServerConfig

_SWEEP_S = 0.5
# Thousands of clients can be cut at once. Closing a socket costs some 10 us; a call wants a fraction of a millisecond to settle.
_CLOSED_A_TURN = 16
_LEAVING_A_TURN = 4
# For calls that were cut at the end of the grace: to be counted, and to settle without that. The supervisor waits for ten seconds.
_COUNT_S, _SETTLE_S = 3.0, 6.0


class DataListener:
    """Accepts clients and hands each request to `handle`."""

    def __init__(
        self,
        config: ServerConfig,
        handle: Callable[[Exchange], Awaitable[None]],
        heads: KnownHeads | None = None,
    ) -> None:
        """`heads` are those that need not be parsed again; whoever handles requests says which."""
        self.config = config
        self.heads = heads or KnownHeads()
        self.departures = Departures(asyncio.get_running_loop())
        self.lookout = Lookout(asyncio.get_running_loop())
        self.addresses = ClientAddresses(config.trusted_proxies)
        self.connections: set[ClientConnection] = set()
        self.handle = handle
        self._tasks = Tasks()
        self.open_calls = 0
        self._draining = False
        self.beginning = Turnstile(CALLS_A_TURN)
        self.closing = Line[ClientConnection](_CLOSED_A_TURN, ClientConnection.close_after_flush)
        self._leaving = Line[Exchange](_LEAVING_A_TURN, Exchange.part)
        self._idle: asyncio.Event | None = None

    def protocol(self) -> ClientConnection:
        """A new connection's protocol, for `loop.create_server`."""
        return ClientConnection(self, asyncio.get_running_loop())

    def connected(self, connection: ClientConnection) -> None:
        """A client connected: from now on its requests are served."""
        self.connections.add(connection)
        self._tasks.spawn("client connection", connection.serve())

    def disconnected(self, connection: ClientConnection) -> None:
        """A client is gone."""
        self.connections.discard(connection)

    def left(self, exchange: Exchange) -> None:
        """The client is gone while its request was in hand; its call hears of it in one of the next turns of the loop."""
        self._leaving.enter(exchange)

    def start(self, tasks: Tasks) -> None:
        """Starts the sweep of deadlines."""
        tasks.every("deadline sweep", _SWEEP_S, self._sweep)

    async def drain(self, grace_s: float, no_time: Callable[[], None] = lambda: None) -> None:
        """Lets calls in progress finish within `grace_s` seconds, then closes every connection.

        `no_time` is called where calls that were cut so have not settled in time: they are to do without being counted.
        """
        self._draining = True
        for connection in list(self.connections):
            if connection.exchange is None:
                connection.close_after_flush()
        await self._calls_ended(grace_s)
        for number, connection in enumerate(list(self.connections), 1):
            connection.abort()
            if not number % _CLOSED_A_TURN:
                await asyncio.sleep(0)
        await self._calls_ended(_COUNT_S)
        if self.open_calls:
            no_time()
            await self._calls_ended(_SETTLE_S)
        await self._tasks.close()
        self.lookout.close()

    async def _calls_ended(self, timeout_s: float) -> None:
        if self.open_calls:
            self._idle = asyncio.Event()
            with contextlib.suppress(TimeoutError):  # what is still running then is cut, and settles as such
                await asyncio.wait_for(self._idle.wait(), timeout_s)

    def call_ended(self, exchange: Exchange) -> None:
        """One request was handled, however it went."""
        self.open_calls -= 1
        if self._draining:
            exchange.keep_alive = False
            if self._idle is not None and not self.open_calls:
                self._idle.set()

    async def _sweep(self) -> None:
        await in_turns(self._looks())

    def _looks(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for connection in list(self.connections):
            if connection in self.connections:  # it may have gone since the sweep began
                enforce(connection, self.config, loop.time())
                self.lookout.consider(connection)
            yield
