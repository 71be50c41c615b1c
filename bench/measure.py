"""The run: rounds of every scenario on every subject, side by side, so that drift of the machine hits all alike.

Within a round all subjects are up at once and idle but for the one under load; the order of subjects turns from round
to round. Each subject's processes have one core, the mock upstream, the load generator and everything else the others.
"""

import contextlib
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Figures, Round, load_figures, megabytes, memory_figures
from bench.generator import Exchange, LoadFailedError, Target, learn_exchange, run_load
from bench.ledger import measure_scripts
from bench.names import DIRECT, LEDGER, OURS, OURS_IN_PART, OURS_WITH_TWO_WORKERS
from bench.native import build
from bench.processes import (
    Cores,
    ProcessGoneError,
    SubjectUnavailableError,
    cpu_ns,
    free_port,
    memory,
    started,
    wait_for_port,
)
from bench.scenarios import SCENARIOS, Scenario
from bench.subjects import SUBJECTS, Place, Running
from bench.subjects.farebox import redis_alone
from bench.subjects.insight import insight_figures

# One client for a moment: a worker that has served calls is idle, one that has served none is not all there yet.
_TOUCH = Scenario(name="touch", title="a few calls", model="bench-small", connections=1, warmup=0.1, interval=0.3)
_QUIET_SHARE = 0.05
_QUIET_GLANCE = 0.2
_QUIET_TIMEOUT = 15.0


@dataclass(frozen=True)
class Plan:
    """What to measure: names of subjects, scenarios as they are to be run, how often, and where."""

    subjects: Sequence[str]
    scenarios: Sequence[Scenario]
    rounds: int
    cores: Cores

    def pairs(self, number: int) -> Iterator[tuple[Scenario, str]]:
        """Yield the loads of one round in their order: scenario by scenario, the subjects in turning order."""
        turn = number % len(self.subjects)
        for scenario in self.scenarios:
            for subject in (*self.subjects[turn:], *self.subjects[:turn]):
                if (subject != DIRECT or scenario.direct) and (
                    subject not in {OURS_WITH_TWO_WORKERS, OURS_IN_PART} or scenario.two_workers
                ):
                    yield scenario, subject


@dataclass
class Results:
    """What a run found: its rounds, the versions of its subjects, what they said of themselves, why one is missing."""

    rounds: list[Round] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """Return every load that failed, in words."""
        return [
            f"round {number}, {subject}, {scenario}: {reason}"
            for number, one in enumerate(self.rounds, 1)
            for (subject, scenario), reason in one.failures.items()
        ]


@dataclass(frozen=True)
class _Bench:
    """The parts that stay up for the whole run."""

    generator: Path
    upstream: int
    upstream_port: int
    exchanges: dict[str, Exchange]


def measure(plan: Plan, on_load: Callable[[int, str, str], None]) -> Results:
    """Run the plan; `on_load` hears round, subject and scenario before each load.

    Raises NoCompilerError. A subject that cannot run and a load that fails are told in the results.
    """
    os.sched_setaffinity(0, plan.cores.rest)  # inherited by all that is started and not pinned elsewhere
    _raise_file_limit()
    results = Results()
    with tempfile.TemporaryDirectory(prefix="farebox-bench-") as directory, _bench(plan, Path(directory)) as bench:
        for number in range(plan.rounds):
            place = Path(directory) / f"round-{number}"
            place.mkdir()
            with contextlib.ExitStack() as stack:
                running = _start_subjects(plan, stack, place, bench.upstream_port, results)
                results.rounds.append(_one_round(plan, number, running, bench, on_load))
            if OURS in plan.subjects and OURS not in results.unavailable:
                _weigh_scripts(plan, results.rounds[-1], place)
    return results


def _weigh_scripts(plan: Plan, one: Round, place: Path) -> None:
    """Redis with nothing but the ledger's scripts, after the subjects are gone."""
    directory = place / LEDGER
    directory.mkdir()
    with redis_alone(directory) as (port, pid, _):
        try:
            one.figures[OURS, LEDGER] = measure_scripts(port, pid, plan.cores)
        except LoadFailedError as error:
            one.failures[OURS, LEDGER] = str(error)


def _raise_file_limit() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def _bench(plan: Plan, directory: Path) -> Iterator[_Bench]:
    generator, upstream = build("load"), build("upstream")
    port, log = free_port(), directory / "upstream.log"
    profiles = [profile for scenario in SCENARIOS if (profile := scenario.profile())]
    with started([upstream, str(port), *profiles], log) as process:
        wait_for_port(port, process, log)
        exchanges = {scenario.name: learn_exchange(scenario, port, directory) for scenario in (_TOUCH, *plan.scenarios)}
        yield _Bench(generator, process.pid, port, exchanges)


def _start_subjects(
    plan: Plan, stack: contextlib.ExitStack, directory: Path, upstream_port: int, results: Results
) -> dict[str, Running]:
    running = {}
    for name in plan.subjects:
        own = directory / name
        own.mkdir()
        try:
            running[name] = stack.enter_context(SUBJECTS[name](Place(upstream_port, own, plan.cores)))
        except (SubjectUnavailableError, subprocess.CalledProcessError) as error:
            results.unavailable[name] = str(error)
            continue
        results.versions |= running[name].versions
        results.notes[name] = running[name].notes
    return running


def _one_round(
    plan: Plan, number: int, running: dict[str, Running], bench: _Bench, on_load: Callable[[int, str, str], None]
) -> Round:
    one = Round()
    for scenario, name in plan.pairs(number):
        if name not in running:
            continue
        on_load(number, name, scenario.name)
        subject = running[name]
        try:
            _wait_until_quiet([*subject.workers, *subject.beside.values()])
            one.figures[name, scenario.name] = _one_load(scenario, subject, bench)
        except (LoadFailedError, ProcessGoneError) as error:
            one.failures[name, scenario.name] = str(error)
            if gone := subject.gone():
                one.failures[name, scenario.name] += f"; {gone}"
                del running[name]
    return one


def _one_load(scenario: Scenario, subject: Running, bench: _Bench) -> Figures:
    watched = [*subject.workers, *subject.beside.values(), bench.upstream]
    target = Target(subject.port, subject.authorization, list(dict.fromkeys(watched)))
    exchange = bench.exchanges[scenario.name]
    weighed: Figures = {}

    if scenario.weighs_memory:
        run_load(bench.generator, _TOUCH, bench.exchanges[_TOUCH.name], target)
        _wait_until_quiet(subject.workers)
        idle = memory(subject.workers)

        def weigh() -> None:
            weighed.update(memory_figures(idle, memory(subject.workers), scenario.connections))

        load = run_load(bench.generator, scenario, exchange, target, weigh)
        _wait_until_quiet(subject.workers)
        weighed["after_mb"] = megabytes(memory(subject.workers))
    else:
        before = subject.insight() if subject.insight else None
        load = run_load(bench.generator, scenario, exchange, target)
        if subject.insight and before:
            weighed.update(insight_figures(before, subject.insight()))
    if not (load.events if scenario.stream else load.calls):
        raise LoadFailedError("nothing was answered in the interval")
    return weighed | load_figures(load, scenario, subject.workers, subject.beside, bench.upstream)


def _wait_until_quiet(pids: Sequence[int]) -> None:
    """Let the work that the last load left behind (settlements, rows, closed streams) end before the next one is measured."""
    give_up_at = time.monotonic() + _QUIET_TIMEOUT
    before = sum(cpu_ns(pid) for pid in pids)
    while time.monotonic() < give_up_at:
        time.sleep(_QUIET_GLANCE)
        after = sum(cpu_ns(pid) for pid in pids)
        if after - before < _QUIET_SHARE * _QUIET_GLANCE * 1e9:
            return
        before = after
