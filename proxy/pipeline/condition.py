"""Passive health: how a provider has behaved towards real calls, and whether it is left alone for a while.

A provider that fails several times in a row (not reached, too late, 5xx, 429 or a refusal of our account) rests; one
call tries it when the rest is over, and the next rest is twice as long, up to a bound. Times are monotonic seconds.
Known to one worker only: nothing here is worth a round trip.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestRules:
    """After how many failures in a row a provider rests, how long at first, and how long at most."""

    after_failures: int = 5
    first_s: float = 5.0
    longest_s: float = 300.0


class Condition:
    """One endpoint's. Each call that begins ends in `succeeded`, `failed` or `abandoned`."""

    __slots__ = ("_rests", "_rules", "_trying", "failures", "until")

    def __init__(self, rules: RestRules) -> None:
        self._rules = rules
        self._rests = 0
        self._trying = False
        self.failures = 0
        self.until = 0.0  # 0: not resting

    def ready(self, now: float) -> bool:
        """Whether a call may go there: it does not rest, or its rest is over and nobody tries it yet."""
        return not self.until or (now >= self.until and not self._trying)

    def begin(self, now: float) -> None:
        """A call goes there; after a rest it is the one that tries."""
        if self.until and now >= self.until:
            self._trying = True

    def answered(self) -> None:
        """The head of a good answer is there: a rest is over, though the failures are only forgotten with a whole answer."""
        if self.until:
            self.until, self._trying = 0.0, False

    def succeeded(self) -> None:
        """A whole answer came."""
        self.failures = self._rests = 0
        self.until, self._trying = 0.0, False

    def abandoned(self) -> None:
        """The call ended before anything was learnt."""
        self._trying = False

    def failed(self, now: float, retry_after_s: float = 0.0) -> None:
        """A call failed there; `retry_after_s` is what the provider asked for, 0 for nothing."""
        self.failures += 1
        if self.until > now and not self._trying:
            return  # it began before the rest, and tells nothing new
        if self._trying or self.failures >= self._rules.after_failures:
            rules = self._rules
            rest_s = min(rules.first_s * 2**self._rests, rules.longest_s)
            self._rests = min(self._rests + 1, 30)
            self.until = now + max(rest_s, min(retry_after_s, rules.longest_s))
        self._trying = False
