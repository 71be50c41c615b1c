"""Deadlines of all open calls of a client by one coarse timer, so that a call costs neither a timer nor a task.

A deadline is noticed up to `interval_s` seconds late. Without open calls the timer only looks after idle connections;
without those it does not run at all.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from proxy.pipeline.upstream.pool import Pool

INTERVAL_S = 0.1
_IDLE_INTERVAL_S = 1.0
_CALLS_A_TURN = 500  # some 0.5 us each


class Watched(Protocol):
    """An open call."""

    def check(self, now: float) -> None:
        """Fails itself where it is overdue at loop time `now`."""


class Sweep:
    """The timer of one client."""

    def __init__(self, pool: Pool, keepalive_s: float, loop: asyncio.AbstractEventLoop) -> None:
        self._pool = pool
        self._keepalive_s = keepalive_s
        self._loop = loop
        self._calls: set[Watched] = set()
        self._timer: asyncio.Handle | None = None  # or the next portion of a round
        self._slow = False

    def watch(self, call: Watched) -> None:
        """From now on the call's deadlines are checked."""
        self._calls.add(call)
        if self._timer is None or self._slow:
            self._arm(INTERVAL_S)

    def forget(self, call: Watched) -> None:
        """The call has ended."""
        self._calls.discard(call)

    def stop(self) -> None:
        """No more ticks, unless another call is watched."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, delay_s: float) -> None:
        self.stop()
        self._slow = delay_s > INTERVAL_S
        self._timer = self._loop.call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._check(tuple(self._calls), 0)

    def _check(self, calls: Sequence[Watched], first: int) -> None:
        """The rest of a round, from the call with this number on."""
        now = self._loop.time()
        self._timer = None
        for call in calls[first : first + _CALLS_A_TURN]:
            if call in self._calls:  # it may have ended since the round began
                call.check(now)
        if first + _CALLS_A_TURN < len(calls):
            self._timer = self._loop.call_soon(self._check, calls, first + _CALLS_A_TURN)
            return
        self._pool.close_idle(now - self._keepalive_s)
        if self._calls:
            self._arm(INTERVAL_S)
        elif self._pool.has_idle:
            self._arm(min(_IDLE_INTERVAL_S, max(self._keepalive_s / 4, INTERVAL_S)))
