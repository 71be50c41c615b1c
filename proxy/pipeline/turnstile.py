"""Lets so many through in one turn of the event loop, the others in the next ones, in their order.

For work that thousands may have at the same instant, such as the ends of all calls of a client that was cut off.
"""

import asyncio
from collections import deque


class Turnstile:
    """At most `a_turn` pass in one turn."""

    def __init__(self, a_turn: int) -> None:
        self._a_turn = a_turn
        self._passed = 0
        self._line: deque[asyncio.Future[None]] = deque()

    async def pass_through(self) -> None:
        """Returns when it is our turn; at once where few come."""
        loop = asyncio.get_running_loop()
        if self._passed < self._a_turn and not self._line:
            self._passed += 1
            if self._passed == 1:
                loop.call_soon(self._turn)
            return
        waiter: asyncio.Future[None] = loop.create_future()
        self._line.append(waiter)
        await waiter

    def _turn(self) -> None:
        self._passed = 0
        while self._line and self._passed < self._a_turn:
            waiter = self._line.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self._passed += 1
        if self._passed:
            asyncio.get_running_loop().call_soon(self._turn)
