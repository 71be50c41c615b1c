"""Turns at something that one caller can use at a time, short work before long: no queue of long work delays short work.

A caller with short work waits for the turn that is running, for the short work before it, and for one turn of long work in
every `SHORT_IN_A_ROW` of short. Long work therefore always goes on too. For one event loop.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SHORT_IN_A_ROW = 4


class Turns:
    """Hands out turns, in the order of asking within short and within long."""

    def __init__(self) -> None:
        self._taken = False
        self._short: deque[asyncio.Future[None]] = deque()
        self._long: deque[asyncio.Future[None]] = deque()
        self._in_a_row = 0

    @asynccontextmanager
    async def turn(self, *, short: bool) -> AsyncIterator[None]:
        """Hold the turn inside the block."""
        await self._take(self._short if short else self._long)
        try:
            yield
        finally:
            self._pass_on()

    async def _take(self, queue: deque[asyncio.Future[None]]) -> None:
        if not self._taken:
            self._taken = True
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._pass_on()  # the turn came at the same moment
            elif mine in queue:  # unless it was passed over already
                queue.remove(mine)
            raise

    def _pass_on(self) -> None:
        """Give the turn to the next one, if anyone waits."""
        while queue := self._next():
            mine = queue.popleft()
            if not mine.done():
                self._in_a_row = self._in_a_row + 1 if queue is self._short else 0
                mine.set_result(None)
                return
        self._taken = False

    def _next(self) -> deque[asyncio.Future[None]] | None:
        if self._short and (not self._long or self._in_a_row < SHORT_IN_A_ROW):
            return self._short
        return self._long or None
