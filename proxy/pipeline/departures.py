"""Requests and whole answers that are written in one turn of the event loop leave at its end, one right after the other.

The event loop writes each at once otherwise, between two pieces of Python. A write that follows another one costs half of that:
the kernel's way is still in the caches, and who reads on the same machine is woken once. Measured with 64 clients: 14 % of what a
small call costs. Pieces of a stream that keeps its pace come alone, and would only wait for another turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Departures:
    """Belongs to one event loop. `waiting` has not left; `turns` counts how often it was emptied."""

    __slots__ = ("_loop", "turns", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.waiting: list[tuple[asyncio.Transport, bytes]] = []
        self.turns = 0

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Writes soon, in the order of the calls; drops what a transport was closed before."""
        if not self.waiting:
            self._loop.call_soon(self.flush)
        self.waiting.append((transport, data))

    def flush(self) -> None:
        """Writes now what waits."""
        waiting, self.waiting = self.waiting, []
        self.turns += 1
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)
