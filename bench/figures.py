"""From raw loads to figures: costs a call and a chunk, medians over rounds. Pure.

A figure's name carries its unit: `_us` microseconds, `_ms` milliseconds, `_mb` and `_kb` of 1024; `busy` and `pace` are shares of 1,
`foreign` is the work of processes that are none of the bench's, in cores.
"""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bench.generator import Load, Percentiles
from bench.names import PEERS
from bench.processes import Memory
from bench.scenarios import Scenario

Figures = dict[str, float]
_KB = 1024
_MB = 1024 * 1024


@dataclass
class Round:
    """One pass over all subjects and scenarios: figures by (subject, scenario), and what failed, by the same."""

    figures: dict[tuple[str, str], Figures] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def get(self, subject: str, scenario: str, figure: str) -> float | None:
        """Return one figure, None where it was not measured."""
        return self.figures.get((subject, scenario), {}).get(figure)


@dataclass
class Results:
    """What a run found: its rounds, the versions of its subjects, what they said of themselves, why one is missing.

    `rewriting` are the subjects that write answers anew, so that not every byte of theirs was compared.
    """

    rounds: list[Round] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    rewriting: set[str] = field(default_factory=set)

    @property
    def failures(self) -> list[str]:
        """Return every load that failed, in words; what peers could not stand is no failure of the run."""
        return self._failed(peers=False)

    @property
    def overloads(self) -> list[str]:
        """Return in words every load that a peer could not stand."""
        return self._failed(peers=True)

    def _failed(self, *, peers: bool) -> list[str]:
        return [
            f"round {number}, {subject}, {scenario}: {reason}"
            for number, one in enumerate(self.rounds, 1)
            for (subject, scenario), reason in one.failures.items()
            if (subject in PEERS) == peers
        ]


def load_figures(
    load: Load, scenario: Scenario, workers: Iterable[int], beside: Mapping[str, int], upstream: int
) -> Figures:
    """Return what a load says of the processes under test (`workers`), of those beside them and of the bench itself."""
    pids = tuple(workers)
    worker_ns = sum(load.cpu_ns[pid] for pid in pids)
    figures = {"calls_a_second": load.calls / load.seconds}
    if scenario.stream:
        figures["chunks_a_second"] = load.events / load.seconds
    figures["foreign"] = max(0.0, load.machine_cpu_ns - sum(load.cpu_ns.values()) - load.own_cpu_ns) / (
        load.seconds * 1e9
    )
    if pids:
        figures["busy"] = worker_ns / (load.seconds * 1e9 * len(pids))
    roles = {"cpu": worker_ns, "generator": load.own_cpu_ns, "upstream": load.cpu_ns[upstream]}
    roles |= {role: load.cpu_ns[pid] for role, pid in beside.items()}
    for role, nanoseconds in roles.items():
        if load.calls and not scenario.stream:
            figures[f"{role}_us_a_call"] = nanoseconds / load.calls / 1000
        if load.events and scenario.stream:
            figures[f"{role}_us_a_chunk"] = nanoseconds / load.events / 1000
    figures |= _percentiles("latency", load.latency) | _percentiles("first_byte", load.first_byte)
    figures |= _percentiles("lateness", load.lateness)
    expected = scenario.chunks_expected_a_second
    if expected:
        figures["pace"] = figures["chunks_a_second"] / expected
    return figures


def megabytes(memory: Memory) -> float:
    """Return what is resident."""
    return memory.rss_bytes / _MB


def memory_figures(idle: Memory, loaded: Memory, streams: int) -> Figures:
    """Return the size of an idle worker and what each open stream adds to it."""
    return {
        "idle_mb": megabytes(idle),
        "idle_pss_mb": idle.pss_bytes / _MB,
        "kb_a_stream": (loaded.rss_bytes - idle.rss_bytes) / _KB / streams,
    }


def median_of(values: Iterable[float | None]) -> float | None:
    """Return the median of the values that there are, None where there is none."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


def median(rounds: Iterable[Round], subject: str, scenario: str, figure: str) -> float | None:
    """Return the median of one figure over the rounds that measured it."""
    return median_of(one.get(subject, scenario, figure) for one in rounds)


def median_ratio(rounds: Iterable[Round], scenario: str, figure: str, over: tuple[str, str]) -> float | None:
    """Return the median over rounds of one subject's figure divided by another's of the same round."""
    subject, yardstick = over
    pairs = ((one.get(subject, scenario, figure), one.get(yardstick, scenario, figure)) for one in rounds)
    return median_of(ours / theirs if ours is not None and theirs else None for ours, theirs in pairs)


def median_added(rounds: Iterable[Round], scenario: str, figure: str, over: tuple[str, str]) -> float | None:
    """Return the median over rounds of one subject's figure less another's of the same round."""
    subject, reference = over
    pairs = ((one.get(subject, scenario, figure), one.get(reference, scenario, figure)) for one in rounds)
    return median_of(ours - theirs if ours is not None and theirs is not None else None for ours, theirs in pairs)


def _percentiles(name: str, values: Percentiles | None) -> Figures:
    if values is None:
        return {}
    return {
        f"{name}_p50_ms": values.p50 / 1000,
        f"{name}_p99_ms": values.p99 / 1000,
        f"{name}_max_ms": values.max / 1000,
    }
