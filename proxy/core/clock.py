"""Time, injected: wall milliseconds for instants that are stored, monotonic seconds for durations."""

import time
from typing import Protocol

MAX_INSTANT_MS = 253_402_300_799_999  # the end of the year 9999; no calendar shows a later instant


class Clock(Protocol):
    """What the rest of Farebox knows of time; tests hand in their own."""

    def now_ms(self) -> int:
        """Unix milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return time.time_ns() // 1_000_000

    monotonic = staticmethod(time.monotonic)  # the function itself: every call asks several times
