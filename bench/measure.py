"""The run: rounds of every scenario on every subject, side by side, so that drift of the machine hits all alike.

Within a round all subjects are up at once and idle but for the one under load; the order of subjects turns from round
to round. Each subject's processes have one core, the mock upstream, the load generator and everything else the others.
"""

import contextlib
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.figures import Figures, Results, Round, load_figures, megabytes, memory_figures
from bench.generator import Exchange, LoadFailedError, Target, learn_exchange, run_load, suit
from bench.ledger import measure_scripts
from bench.names import (
    BARE,
    DIRECT,
    LEDGER,
    OURS,
    OURS_IN_PART,
    OURS_UNMETERED,
    OURS_WITH_TWO_WORKERS,
    PEERS,
    YARDSTICK,
)
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
from bench.stage import Stage
from bench.subjects import Place, Running
from bench.subjects.base import Secure
from bench.subjects.farebox import redis_alone
from bench.subjects.insight import insight_figures
from bench.tls import behind_tls

# One client for a moment: a worker that has served calls is idle, one that has served none is not all there yet.
_TOUCH = Scenario(name="touch", title="a few calls", model="bench-small", connections=1, warmup=0.1, interval=0.3)
# Before a peer's first measured load: what compiles itself while it runs shall have done so, and all connections be made once.
_WARM = replace(_TOUCH, title="warming up", connections=8, interval=5.0)
_ALL_OPEN = 0.8  # of the events that so many open streams send
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
    return scenario.peers if subject in PEERS else subject in {YARDSTICK, BARE, OURS_UNMETERED, OURS}


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

    Raises NoCompilerError. A subject that cannot run and a load that fails are told in the results; what a peer could not
    stand in one round is not put on it again.
    """
    os.sched_setaffinity(0, plan.cores.rest)  # inherited by all that is started and not pinned elsewhere
    _raise_file_limit()
    results = Results()
    with tempfile.TemporaryDirectory(prefix="farebox-bench-") as directory, _bench(plan, Path(directory)) as bench:
        for number in range(plan.rounds):
            place = Path(directory) / f"round-{number}"
            place.mkdir()
            with Stage(place, Place(bench.upstream_port, place, plan.cores, secure=bench.secure), results) as stage:
                for name in plan.subjects:
                    stage.start(name)
                given_up = {pair for one in results.rounds for pair in one.failures if pair[0] in PEERS}
                pairs = [
                    (scenario, name) for scenario, name in plan.pairs(number) if (name, scenario.name) not in given_up
                ]
                results.rounds.append(_one_round(pairs, stage, bench, partial(on_load, number)))
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


def _one_round(
    pairs: Sequence[tuple[Scenario, str]], stage: Stage, bench: _Bench, on_load: Callable[[str, str], None]
) -> Round:
    one = Round()
    idle: dict[str, Memory] = {}
    warm: set[str] = set()
    for scenario, name in pairs:
        subject = stage.running.get(name)
        if not subject or (scenario.tls and not subject.over_tls):
            continue
        on_load(name, scenario.name)
        try:
            _wait_until_quiet([*subject.workers, *subject.beside.values()])
            if scenario.weighs_memory and name not in idle:
                idle[name] = _idle(subject, bench)
            if name in PEERS and not scenario.weighs_memory and name not in warm:
                warm.add(name)
                _touch(subject, bench, _WARM)
            one.figures[name, scenario.name] = _one_load(scenario, subject, bench, idle.get(name))
        except (LoadFailedError, ProcessGoneError) as error:
            one.failures[name, scenario.name] = str(error)
            if gone := subject.gone():
                one.failures[name, scenario.name] += f"; {gone}"
                stage.stop(name)
            if name in PEERS:  # which may be stuck for good: the next load is put on a fresh one
                stage.stop(name)
                stage.start(name)
                warm.discard(name)
    return one


def _idle(subject: Running, bench: _Bench) -> Memory:
    """What a worker occupies that has served a few calls and no load yet."""
    _touch(subject, bench, _TOUCH)
    return memory(subject.workers)


def _touch(subject: Running, bench: _Bench, load: Scenario) -> None:
    target = Target(subject.port, subject.authorization, subject.workers, subject.manner)
    run_load(bench.generator, load, suit(bench.exchanges[_TOUCH.name], load, subject.manner), target)
    _wait_until_quiet(subject.workers)


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
    answered, least = (
        (load.events if scenario.stream else load.calls),
        (1 if scenario.weighs_memory else scenario.connections),
    )
    if answered < least:  # what was under way at both ends would outweigh it
        raise LoadFailedError(f"only {answered} {'chunks' if scenario.stream else 'calls'} in {load.seconds:.1f} s")
    beside = subject.beside | {
        f"terminator {number}": pid for number, pid in enumerate(bench.terminator) if scenario.tls
    }
    figures = weighed | load_figures(load, scenario, workers, beside, bench.upstream)
    if scenario.weighs_memory and figures["pace"] < _ALL_OPEN:
        figures.pop("kb_a_stream", None)  # of streams that were not all there
    return figures


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
