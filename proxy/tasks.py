"""Background tasks that somebody owns: kept alive, named, and loud when they fail. And work that leaves room for others'.

The only place that creates asyncio tasks: a bare `create_task` may be collected while it runs, and hides its error.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

log = logging.getLogger("farebox.tasks")

TURN_S = 0.0005


async def in_turns(steps: Iterable[T]) -> list[T]:
    """All that the steps give, half a millisecond of them in one turn of the event loop: calls of the same worker go on in between."""
    found: list[T] = []
    until = monotonic() + TURN_S
    for one in steps:
        found.append(one)
        if monotonic() >= until:
            await asyncio.sleep(0)
            until = monotonic() + TURN_S
    return found


def used_up(rows: list[T]) -> Iterator[T]:
    """One after the other, each out of the list: 20,000 rows that are let go of at once take 3 ms."""
    rows.reverse()
    while rows:
        yield rows.pop()


class Tasks:
    """The tasks of one owner; `close` cancels and awaits them."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, name: str, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Runs `work` until it ends; an error is logged with the task's name."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def every(self, name: str, interval_s: float, step: Callable[[], Awaitable[object]]) -> asyncio.Task[None]:
        """Runs `step` again and again, `interval_s` seconds apart; a failed step is logged and the next one runs."""
        return self.spawn(name, self._repeat(name, interval_s, step))

    async def wait(self, timeout_s: float) -> bool:
        """Waits for all tasks of this owner to end by themselves; False when some are still running after `timeout_s`."""
        if not self._running:
            return True
        _, pending = await asyncio.wait(self._running, timeout=timeout_s)
        return not pending

    async def close(self) -> None:
        """Cancels what still runs and waits until it has ended."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _repeat(self, name: str, interval_s: float, step: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(interval_s)
            try:
                await step()
            except Exception:  # the one home of a broad except: a periodic step must not end its series
                log.exception("%s failed; the next round goes on", name)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)
