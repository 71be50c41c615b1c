"""Clients whose calls take long, watched together for leaving: so many a turn of the event loop, however many leave at one instant.

The loop hands on every socket that has something to say in the same turn; to read the ends of 5,000 connections that were cut took it
50 ms. A client that waits for its answer has little to say but that it leaves. Its connection is taken off the loop's list and watched by an
epoll of our own, which the loop watches, and which is asked for a few at a time. Where there is none (not on Linux), nothing changes.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from proxy.pipeline.client import ClientConnection

_A_LOOK = 32


class Lookout:
    """Belongs to one event loop. Which connections it takes, `consider` decides, asked at each sweep of deadlines."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll: select.epoll | None = None
        self._watched: dict[int, ClientConnection] = {}

    def __len__(self) -> int:
        """How many are watched."""
        return len(self._watched)

    def consider(self, connection: ClientConnection) -> None:
        """Watches a connection whose call was in hand at the last sweep, too."""
        exchange = connection.exchange
        if exchange is None or not hasattr(select, "epoll"):
            return
        if not exchange.swept:
            exchange.swept = True
            return
        descriptor = connection.withdraw()
        if descriptor is None:
            return
        if self._epoll is None:
            self._epoll = select.epoll()
            self._loop.add_reader(self._epoll.fileno(), self._look)
        self._watched[descriptor] = connection
        self._epoll.register(descriptor, select.EPOLLRDHUP | select.EPOLLONESHOT)

    def forget(self, descriptor: int) -> None:
        """The call has ended, or the connection has; its socket is still open."""
        del self._watched[descriptor]
        if self._epoll is not None:  # the listener has not closed
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Watches nobody any more."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _look(self) -> None:
        assert self._epoll is not None
        for descriptor, _ in self._epoll.poll(0, _A_LOOK):
            self._watched[descriptor].leaves()
