"""The connections of one client: at most so many, the most recently used first, and a fair line for those who wait.

A slot is a connection or the right to make one. Every slot is given back exactly once: by `gone` for a connection that
was adopted, by `give_up_slot` for one that was only reserved.
"""

import asyncio
import contextlib
from collections import OrderedDict
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from proxy.pipeline.departures import Departures
from proxy.pipeline.turnstile import Line
from proxy.pipeline.upstream.connection import Connection
from proxy.pipeline.upstream.errors import PoolExhausted
from proxy.pipeline.upstream.settings import PoolLimits

# Of connections that a provider has closed: their calls fail, and are settled.
_BROKEN_A_TURN = 8


class Waiter(Protocol):
    """A call in line."""

    def granted(self, connection: Connection | None) -> None:
        """Its turn: a free connection, or (None) a slot to make one in."""


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Connections in all (those being made included), those of them that are idle, and calls in line."""

    open: int
    idle: int
    waiting: int


class Pool:
    """Hands out connections; never makes one itself."""

    def __init__(self, limits: PoolLimits, loop: asyncio.AbstractEventLoop) -> None:
        self.departures = Departures(loop)
        self._limits = limits
        self._loop = loop
        self.breaking = Line[Connection](_BROKEN_A_TURN, Connection.broken)
        self._idle: dict[Connection, None] = {}  # by the time of return, oldest first
        self._adopted: set[Connection] = set()
        self._reserved = 0
        self._line: OrderedDict[Waiter, None] = OrderedDict()
        self._goodbyes: set[Connection] = set()  # closing politely
        self._all_left = asyncio.Event()
        self._all_left.set()
        self._keeps = True

    @property
    def stats(self) -> PoolStats:
        """For metrics."""
        return PoolStats(len(self._adopted) + self._reserved, len(self._idle), len(self._line))

    @property
    def has_idle(self) -> bool:
        """Whether the sweep has anything to look after here."""
        return bool(self._idle)

    def take(self, now: float) -> Connection | None:
        """The most recently used idle connection that still stands; `now` is loop time."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable(now):
                return connection
            connection.discard()
        return None

    def reserve(self) -> bool:
        """Takes a free slot, if there is one."""
        if len(self._adopted) + self._reserved >= self._limits.connections:
            return False
        self._reserved += 1
        return True

    def give_up_slot(self) -> None:
        """A reserved slot did not become a connection."""
        self._reserved -= 1
        self._serve_line()

    def adopt(self, connection: Connection) -> None:
        """A reserved slot became this connection."""
        self._reserved -= 1
        self._adopted.add(connection)

    def enter_line(self, waiter: Waiter) -> None:
        """The waiter hears `granted` in its turn, unless it leaves before; raises PoolExhausted where the line is full."""
        if len(self._line) >= self._limits.waiting:
            raise PoolExhausted(retry_after_ms=1000)
        self._line[waiter] = None

    def leave_line(self, waiter: Waiter) -> None:
        """Does nothing for one that is not in line (any more)."""
        self._line.pop(waiter, None)

    def close_idle(self, older_than: float) -> None:
        """Closes what has been idle since before that loop time."""
        for connection in tuple(takewhile(lambda idle: idle.idle_since < older_than, self._idle)):
            del self._idle[connection]
            self._say_goodbye(connection)

    def keep_none(self) -> None:
        """Closes idle connections now, and from now on each one whose call ends while nobody is in line."""
        self._keeps = False
        self.close_idle(float("inf"))

    async def close(self, timeout_s: float) -> None:
        """Closes idle connections and waits for them; those in use close when their calls end."""
        self.keep_none()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._all_left.wait()

    # What connections say.

    def returned(self, connection: Connection) -> None:
        """Its answer is complete; the next in line has it, else it is kept."""
        connection.idle_since = self._loop.time()
        if self._line:
            self._line.popitem(last=False)[0].granted(connection)
        elif self._keeps:
            self._idle[connection] = None
        else:
            self._say_goodbye(connection)

    def gone(self, connection: Connection) -> None:
        """It cannot be used any more; its slot is free."""
        if connection in self._adopted:
            self._adopted.remove(connection)
            self._idle.pop(connection, None)
            self._serve_line()

    def lost(self, connection: Connection) -> None:
        """Its transport is closed."""
        self._goodbyes.discard(connection)
        if not self._goodbyes:
            self._all_left.set()

    def _say_goodbye(self, connection: Connection) -> None:
        self._goodbyes.add(connection)
        self._all_left.clear()
        connection.retire()

    def _serve_line(self) -> None:
        while self._line and self.reserve():
            self._line.popitem(last=False)[0].granted(None)
