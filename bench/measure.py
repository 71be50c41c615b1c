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
from bench.generator import Exchange, LoadFailedError, Target, learn_exchange, run_load, suit
from bench.ledger import measure_scripts
from bench.names import BARE, DIRECT, LEDGER, OURS, OURS_IN_PART, OURS_WITH_TWO_WORKERS, PEERS, YARDSTICK
from bench.native import build
from bench.processes import (
    Cores,
    Memory,
    ProcessGoneError,
    SubjectUnavailableError,
    cpu_ns,
    free_port,
    memory,
    started,
    wait_for_port,
)
from bench.scenarios import SCENARIOS, Scenario
from bench.subjects import PEERS as PEER_SUBJECTS
from bench.subjects import SUBJECTS, Place, Running
from bench.subjects.base import Secure
from bench.subjects.farebox import redis_alone
from bench.subjects.insight import insight_figures
from bench.tls import behind_tls

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
                if takes(subject, scenario):
                    yield scenario, subject


def takes(subject: str, scenario: Scenario) -> bool:
    """Return whether a load is put on a subject."""
    if subject == DIRECT:
        return scenario.direct
    if subject in {OURS_WITH_TWO_WORKERS, OURS_IN_PART}:
        return scenario.two_workers
    return scenario.peers if subject in PEERS else subject in {YARDSTICK, BARE, OURS}


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


@dataclass(frozen=True)
class _Bench:
    """The parts that stay up for the whole run."""

    generator: Path
    upstream: int
    upstream_port: int
    exchanges: dict[str, Exchange]
    secure: Secure | None
    terminator: Sequence[int]


def measure(plan: Plan, on_load: Callable[[int, str, str], None]) -> Results:
    """Run the plan; `on_load` hears round, subject and scenario before each load. Peers must be installed.

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
                running = _start_subjects(plan, stack, place, bench, results)
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
        with contextlib.ExitStack() as stack:
            secure: Secure | None = None
            terminator: list[int] = []
            if any(scenario.tls for scenario in plan.scenarios):
                with contextlib.suppress(SubjectUnavailableError):  # without nginx there are no such loads
                    secure, terminator = stack.enter_context(behind_tls(port, directory))
            yield _Bench(generator, process.pid, port, exchanges, secure, terminator)


def _start_subjects(
    plan: Plan, stack: contextlib.ExitStack, directory: Path, bench: _Bench, results: Results
) -> dict[str, Running]:
    running = {}
    for name in plan.subjects:
        own = directory / name
        own.mkdir()
        place = Place(bench.upstream_port, own, plan.cores, secure=bench.secure)
        try:
            running[name] = stack.enter_context((SUBJECTS | PEER_SUBJECTS)[name](place))
        except (SubjectUnavailableError, subprocess.CalledProcessError) as error:
            results.unavailable[name] = str(error)
            continue
        results.versions |= running[name].versions
        results.notes[name] = running[name].notes
        if not running[name].manner.exact:
            results.rewriting.add(name)
    return running


def _one_round(
    plan: Plan, number: int, running: dict[str, Running], bench: _Bench, on_load: Callable[[int, str, str], None]
) -> Round:
    one = Round()
    idle: dict[str, Memory] = {}
    for scenario, name in plan.pairs(number):
        if name not in running or (scenario.tls and not running[name].over_tls):
            continue
        on_load(number, name, scenario.name)
        subject = running[name]
        try:
            _wait_until_quiet([*subject.workers, *subject.beside.values()])
            if scenario.weighs_memory and name not in idle:
                idle[name] = _idle(subject, bench)
            one.figures[name, scenario.name] = _one_load(scenario, subject, bench, idle.get(name))
        except (LoadFailedError, ProcessGoneError) as error:
            one.failures[name, scenario.name] = str(error)
            if gone := subject.gone():
                one.failures[name, scenario.name] += f"; {gone}"
                del running[name]
    return one


def _idle(subject: Running, bench: _Bench) -> Memory:
    """What a worker occupies that has served a few calls and no load yet."""
    target = Target(subject.port, subject.authorization, subject.workers, subject.manner)
    run_load(bench.generator, _TOUCH, suit(bench.exchanges[_TOUCH.name], _TOUCH, subject.manner), target)
    _wait_until_quiet(subject.workers)
    return memory(subject.workers)


def _one_load(scenario: Scenario, subject: Running, bench: _Bench, idle: Memory | None) -> Figures:
    asked = subject.over_tls if scenario.tls and subject.over_tls else subject
    workers = asked.workers
    watched = [*workers, *subject.beside.values(), bench.upstream, *(bench.terminator if scenario.tls else ())]
    target = Target(asked.port, asked.authorization, list(dict.fromkeys(watched)), subject.manner)
    exchange = suit(bench.exchanges[scenario.name], scenario, subject.manner)
    weighed: Figures = {}

    if scenario.weighs_memory and idle:

        def weigh() -> None:
            weighed.update(memory_figures(idle, memory(workers), scenario.connections))

        load = run_load(bench.generator, scenario, exchange, target, weigh)
        _wait_until_quiet(workers)
        weighed["after_mb"] = megabytes(memory(workers))
    else:
        before = subject.insight() if subject.insight else None
        load = run_load(bench.generator, scenario, exchange, target)
        if subject.insight and before:
            weighed.update(insight_figures(before, subject.insight()))
    if not (load.events if scenario.stream else load.calls):
        raise LoadFailedError("nothing was answered in the interval")
    beside = subject.beside | {
        f"terminator {number}": pid for number, pid in enumerate(bench.terminator) if scenario.tls
    }
    return weighed | load_figures(load, scenario, workers, beside, bench.upstream)


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
