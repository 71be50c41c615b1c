"""Memory of a process that serves: what the cyclic collector looks at, and what the allocator keeps.

A collection stops the event loop for some 40 ns an object. Nearly all objects of a call die by their reference counts; what is
left for the collector are rare cycles, such as an exception that knows its own frame.
"""

from __future__ import annotations

import ctypes
import gc
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.tasks import Tasks

# glibc malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_MEMORY_BYTES = 32 * 1024 * 1024
# Containers that are new since the last look; looks until those that stayed are looked at again, and looks at those until everything is.
_YOUNG, _MIDDLE, _OLD = 5_000, 2, 100
_NEVER = 1_000_000_000
_LOOK_S = 60.0
_FEW_CALLS = 50
_LONGEST_S = 3600.0


def settle() -> None:
    """What is alive now stays: the collector need not look at it for every call."""
    gc.collect()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
    gc.freeze()
    # Bodies of a megabyte would be mapped, cleared by the kernel page by page and unmapped again with every call.
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc alone
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_MEMORY_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_MEMORY_BYTES)


class Collector:
    """Looks at everything when few calls are open, and at the latest after an hour. `open_calls` says how many there are.

    In between only at what is new: objects of open calls are hundreds of thousands, and not one in a cycle was found among them.
    """

    def __init__(self, open_calls: Callable[[], int]) -> None:
        self._open_calls = open_calls
        self._looked_at = monotonic()

    def start(self, tasks: Tasks) -> None:
        """Settles; from now on collections of everything come at these moments alone."""
        settle()
        gc.set_threshold(_YOUNG, _NEVER, _NEVER)
        tasks.every("garbage collection", _LOOK_S, self.look)

    async def look(self) -> None:
        """One look, if this is a moment for it; what stays (caches) is not looked at again."""
        few = self._open_calls() <= _FEW_CALLS
        if not few and monotonic() - self._looked_at < _LONGEST_S:
            return
        self._looked_at = monotonic()
        gc.collect()
        if few:
            gc.freeze()
