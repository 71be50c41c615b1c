"""A bound on the queries of each key, so that nobody's searches cost another's calls.

A key has a bucket of `per_minute` queries that refills evenly, and at most `at_once` under way. Both are counted in each worker by
itself: a bound on what one worker does for one key, not a limit that an account buys. What is refused costs no store anything.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.accounts.bounded import Bounded
from proxy.core.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.core.clock import Clock

_MAX_KEYS = 10_000
_PAUSE_MS = 250  # for a query that came while as many as may be were under way


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float
    running: int = 0


class Throttle:
    """The buckets of one worker, by the digest of their key."""

    def __init__(self, clock: Clock, *, per_minute: int, at_once: int) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._at_once = at_once
        self._buckets: Bounded[_Bucket] = Bounded(_MAX_KEYS)

    @contextmanager
    def query(self, digest: str) -> Iterator[None]:
        """The time of one query. Raises RateLimited, with the wait after which the next one is taken."""
        now = self._clock.monotonic()
        bucket = self._buckets.peek(digest) or _Bucket(float(self._per_minute), now)
        self._buckets.put(digest, bucket, now)
        bucket.level = min(float(self._per_minute), bucket.level + (now - bucket.at) * self._per_minute / 60)
        bucket.at = now
        if bucket.running >= self._at_once:
            raise RateLimited("Too many queries of this API key are under way.", retry_after_ms=_PAUSE_MS)
        if bucket.level < 1:
            wait_ms = int((1 - bucket.level) * 60_000 / self._per_minute) + 1
            raise RateLimited("Too many queries of this API key.", retry_after_ms=wait_ms)
        bucket.level -= 1
        bucket.running += 1
        try:
            yield
        finally:
            bucket.running -= 1
