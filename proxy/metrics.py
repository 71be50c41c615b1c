"""Prometheus metrics, right with several workers and cheap on the hot path.

A call adds to plain dictionaries; once a second they are flushed into prometheus-client's multiprocess files, which
survive the death of a worker (an increment there takes 5 microseconds, here 0.1; measured). A flush is many small steps,
so that no call waits for the whole of it. The operators' listener merges all processes' files on scrape. Label values
come from the configuration and from fixed sets only, so they are bounded; a scrape may be one flush old.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import prometheus_client

Labels = tuple[str, ...]
Instants = tuple[float, float, float | None, float]
"""Monotonic seconds of one forwarded call: begun, forwarded, answered (the first byte; None: never), ended."""

_SECONDS = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
)
_OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

_CALLS_A_STEP = 250  # 0.15 ms

# Fine around 10 ms, above which a stall of the loop is too long.
_LAG_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0)


class Counter:
    """A sum by labels; `add` is a dictionary update."""

    def __init__(self, name: str, text: str, labels: Labels = (), scale: int = 1) -> None:
        self.name, self.text, self.labels, self._scale = name, text, labels, scale
        self._pending: dict[Labels, int] = {}
        self._target: prometheus_client.Counter | None = None

    def add(self, labels: Labels = (), amount: int = 1) -> None:
        """Adds a non-negative integer in the metric's stored unit."""
        self._pending[labels] = self._pending.get(labels, 0) + amount

    def flush(self, library: type[prometheus_client.Counter]) -> Iterator[None]:
        """Moves what was added since the last flush into the library's files, in steps."""
        if self._target is None:
            self._target = library(self.name, self.text, self.labels)
        pending, self._pending = self._pending, {}
        while pending:
            labels, amount = pending.popitem()
            child = self._target.labels(*labels) if labels else self._target
            child.inc(amount / self._scale)
            yield


class Histogram:
    """Seconds in buckets by labels."""

    def __init__(self, name: str, text: str, labels: Labels, bounds: Sequence[float]) -> None:
        self.name, self.text, self.labels, self._bounds = name, text, labels, list(bounds)
        self._pending: dict[Labels, list[float]] = {}
        self._target: prometheus_client.Histogram | None = None

    def observe(self, labels: Labels, seconds: float) -> None:
        """Counts one duration."""
        row = self._row(labels)
        row[bisect_left(self._bounds, seconds)] += 1
        row[-1] += seconds

    def observe_all(self, labels: Labels, durations: Iterable[float]) -> None:
        """Counts durations, in seconds."""
        ordered = sorted(durations)  # to look where each bound lies among them is cheaper than the other way round
        if not ordered:
            return
        row, counted = self._row(labels), 0
        for place, bound in enumerate(self._bounds):
            within = bisect_right(ordered, bound, counted)
            row[place] += within - counted
            counted = within
        row[-2] += len(ordered) - counted
        row[-1] += sum(ordered)

    def _row(self, labels: Labels) -> list[float]:
        """Counts by bucket, the last for what is above all bounds, and behind them the sum."""
        row = self._pending.get(labels)
        if row is None:
            row = self._pending[labels] = [0.0] * (len(self._bounds) + 2)
        return row

    def flush(self, library: type[prometheus_client.Histogram]) -> Iterator[None]:
        """Moves what was observed since the last flush into the library's files, in steps."""
        if self._target is None:
            self._target = library(self.name, self.text, self.labels, buckets=self._bounds)
        pending, self._pending = self._pending, {}
        while pending:
            labels, row = pending.popitem()
            child = self._target.labels(*labels) if labels else self._target
            # The library has no call that adds many observations at once; its two fields do (version held by the lock).
            for bucket, amount in zip(child._buckets, row[:-1], strict=True):  # noqa: SLF001
                if amount:
                    bucket.inc(amount)
            child._sum.inc(row[-1])  # noqa: SLF001
            yield


class Ended:
    """Calls that ended alike: provider, model, outcome, status and basis are the same."""

    __slots__ = ("calls", "charge_microcredits", "overrun_microcredits", "tokens")

    def __init__(self) -> None:
        self.calls = 0
        self.charge_microcredits = 0
        self.overrun_microcredits = 0
        self.tokens: defaultdict[str, int] = defaultdict(int)


class Metrics:
    """The metrics of one process; names are public. What every call adds to goes through `ended` and `timed`.

    `timed` has the instants of forwarded calls by provider; how long they took is sorted into buckets at the next flush.
    """

    def __init__(self) -> None:
        by_route = ("provider", "model")
        self.calls = Counter("farebox_calls_total", "Calls by how they ended.", (*by_route, "outcome", "status"))
        self.tokens = Counter("farebox_tokens_total", "Tokens by disjoint counter.", (*by_route, "kind"))
        self.charged = Counter("farebox_charged_credits_total", "Credits charged.", by_route, scale=1_000_000)
        self.overrun = Counter(
            "farebox_overrun_credits_total", "Credits charged above the hold of a call.", by_route, scale=1_000_000
        )
        self.refused = Counter("farebox_refused_total", "Requests that were not forwarded.", ("reason",))
        self.basis = Counter("farebox_settlement_basis_total", "What the charge of a call rests on.", ("basis",))
        self.flagged = Counter("farebox_usage_flagged_total", "Usage that could not be believed.", ("provider",))
        self.upstream_failures = Counter(
            "farebox_upstream_failures_total",
            "Calls that ended in an error of ours or the provider's.",
            ("provider", "reason"),
        )
        self.ambiguous = Counter("farebox_ambiguous_holds_total", "Holds whose reply was lost.", ())
        self.recorded = Counter("farebox_recorded_events_total", "Events moved into SQL.", ())
        self.dead_letters = Counter("farebox_dead_letters_total", "Events that SQL refused.", ())
        self.swept = Counter("farebox_orphans_swept_total", "Abandoned holds that the reaper ended.", ())
        self.overhead = Histogram(
            "farebox_overhead_seconds",
            "Time that the proxy itself adds before a call is forwarded.",
            (),
            _OVERHEAD_SECONDS,
        )
        self._ended: dict[tuple[str, str, str, int, str], Ended] = {}
        self.timed: defaultdict[str, list[Instants]] = defaultdict(list)
        self.upstream = Histogram("farebox_upstream_seconds", "Whole time at the provider.", ("provider",), _SECONDS)
        self.first_byte = Histogram(
            "farebox_time_to_first_byte_seconds",
            "From the call's arrival to the answer's first byte.",
            ("provider",),
            _SECONDS,
        )

        self.loop_lag = Histogram(
            "farebox_event_loop_lag_seconds", "How late the event loop came to a timer.", (), _LAG_SECONDS
        )

    def __iter__(self) -> Iterator[Counter | Histogram]:
        return (metric for metric in vars(self).values() if isinstance(metric, Counter | Histogram))

    def ended(self, provider: str, model: str, outcome: str, status: int, basis: str) -> Ended:
        """Where a call that ended so adds what it cost: one look-up a call, the counters learn of it at the next flush."""
        key = (provider, model, outcome, status, basis)
        row = self._ended.get(key)
        if row is None:
            row = self._ended[key] = Ended()
        row.calls += 1
        return row

    def flush(self) -> None:
        """Moves everything into prometheus-client, at once; for the end of the process."""
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[None]:
        """The same in steps of a fraction of a millisecond, all of which must be taken: what is left out of them is lost.

        What is counted between two steps is in this flush or in the next one, never in both.
        """
        import prometheus_client  # noqa: PLC0415 - it reads PROMETHEUS_MULTIPROC_DIR when it is imported

        yield from self._gather()
        for metric in self:
            if isinstance(metric, Counter):
                yield from metric.flush(prometheus_client.Counter)
            else:
                yield from metric.flush(prometheus_client.Histogram)

    def _gather(self) -> Iterator[None]:
        ended, self._ended = self._ended, {}
        while ended:
            (provider, model, outcome, status, basis), row = ended.popitem()
            route = (provider, model)
            self.calls.add((*route, outcome, str(status)), row.calls)
            self.basis.add((basis,), row.calls)
            for kind, tokens in row.tokens.items():
                self.tokens.add((*route, kind), tokens)
            if row.charge_microcredits:
                self.charged.add(route, row.charge_microcredits)
            if row.overrun_microcredits:
                self.overrun.add(route, row.overrun_microcredits)
            yield
        timed, self.timed = self.timed, defaultdict(list)
        for provider, calls in timed.items():
            while calls:
                self._sort(provider, calls[-_CALLS_A_STEP:])
                del calls[-_CALLS_A_STEP:]
                yield

    def _sort(self, provider: str, calls: Sequence[Instants]) -> None:
        self.overhead.observe_all((), (forwarded_at - started for started, forwarded_at, _, _ in calls))
        self.upstream.observe_all((provider,), (ended_at - forwarded_at for _, forwarded_at, _, ended_at in calls))
        answered = (answered_at - started for started, _, answered_at, _ in calls if answered_at is not None)
        self.first_byte.observe_all((provider,), answered)


def use_directory(directory: Path) -> None:
    """Makes this process keep its metrics in `directory`; call it before the first flush."""
    directory.mkdir(parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
