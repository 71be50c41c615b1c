"""So much in one turn of the event loop, the rest in the next ones, in order: tasks at a turnstile, steps in a line.

For work that thousands may have at the same instant, such as the ends of all calls of a client that was cut off.
"""

import asyncio
import gc
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# More open calls than a few are a crowd. Of its calls so many begin and so many are answered in one turn, 0.1 ms each in all; fewer
# in one would be dearer, since they share wake-ups, and writes to Redis.
CROWD = 64
CALLS_A_TURN = 20


class Turnstile:
    """At most `a_turn` pass in one turn.

    `collects`: with a look for garbage in each turn while there is a line. The collector itself counts births less deaths, so it does not
    come while old objects die as fast as new ones are made; then it looks at all of these (80,000, 30 ms, where 5,000 streams were cut).
    """

    def __init__(self, a_turn: int, *, collects: bool = False) -> None:
        self._a_turn = a_turn
        self._collects = collects
        self._passed = 0
        self._line: deque[asyncio.Future[None]] = deque()

    async def pass_through(self) -> None:
        """Returns when it is our turn; at once where few come."""
        if not self.passes():
            await self.stand_in_line()

    def passes(self) -> bool:
        """Whether it is our turn at once; otherwise `stand_in_line` waits for it."""
        if self._passed >= self._a_turn or self._line:
            return False
        self._passed += 1
        if self._passed == 1:
            asyncio.get_running_loop().call_soon(self._turn)
        return True

    async def stand_in_line(self) -> None:
        """Waits for those before us; only after `passes` has said no."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(waiter)
        await waiter

    def _turn(self) -> None:
        self._passed = 0
        if self._collects and self._line:
            gc.collect(0)
        while self._line and self._passed < self._a_turn:
            waiter = self._line.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self._passed += 1
        if self._passed:
            asyncio.get_running_loop().call_soon(self._turn)


class Line(Generic[T]):
    """Does `step` with each one that enters, soon: with at most `a_turn` of them in one turn."""

    def __init__(self, a_turn: int, step: Callable[[T], None]) -> None:
        self._a_turn = a_turn
        self._step = step
        self._waiting: deque[T] = deque()

    def enter(self, one: T) -> None:
        """The last in line."""
        self._waiting.append(one)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        served = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._a_turn))]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)
        for one in served:
            self._step(one)
