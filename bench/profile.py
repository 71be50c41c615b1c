"""`python -m bench.profile`: where the CPU of a small call goes, function by function.

A worker under the load `small` is sampled for half a minute (see `sampled`), and another one counts how often each function is entered
(see `counted`). The table goes to the terminal and to bench/results.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench.conditions import Conditions, observe
from bench.generator import Exchange, Load, Target, learn_exchange, run_load
from bench.guard import _caller, _counting
from bench.native import build
from bench.processes import Cores, divide_cores, free_port, pin, started, wait_for_port
from bench.scenarios import SCENARIOS, Scenario
from bench.stalls_bed import copied_configuration, wait_until_ready
from bench.subjects.base import Place, Running
from bench.subjects.farebox import _ENVIRONMENT, farebox

_RESULTS = Path(__file__).parent / "results"
_LOG_WIDTH = 140
_ROWS = 100
_CALLS, _WARM_UP = 200, 60
_SMALL = next(scenario for scenario in SCENARIOS if scenario.name == "small")


@dataclass(frozen=True)
class Worker:
    """One more worker of an installation, of the bench's own making, that writes what it saw to `report`."""

    process: "subprocess.Popen[bytes]"
    port: int
    report: Path


@dataclass(frozen=True)
class Profile:
    """Samples and entries by function (`file:name`), of a load that was `load`."""

    load: Load
    cpu_s: float
    own: Mapping[str, int]
    within: Mapping[str, int]
    entered: Mapping[str, float]

    @property
    def call_us(self) -> float:
        """CPU of one call, sampling included."""
        return statistics.fmean(self.load.cpu_ns.values()) / self.load.calls / 1000


@click.command()
@click.option("--seconds", type=click.FloatRange(1.0), default=30.0, show_default=True, help="How long to sample.")
def main(*, seconds: float) -> None:
    """Sample a worker under load, and say which function takes how much of a call."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_WIDTH)
    cores = divide_cores()
    conditions = observe(cores, 1, quick=False)
    os.sched_setaffinity(0, cores.rest)
    with tempfile.TemporaryDirectory(prefix="farebox-profile-") as name:
        profile = _measure(Path(name), cores, replace(_SMALL, interval=seconds))
    rows = _rows(profile)
    console.print(_table(profile, rows))
    console.print(f"written to {_write(profile, rows, conditions).name} in bench/results", highlight=False)


def _measure(directory: Path, cores: Cores, scenario: Scenario) -> Profile:
    upstream_port, log = free_port(), directory / "upstream.log"
    with started([build("upstream"), str(upstream_port)], log) as process:
        wait_for_port(upstream_port, process, log)
        exchange = learn_exchange(scenario, upstream_port, directory)
        with farebox(Place(upstream_port, directory, cores)) as subject:
            load, sampled = _sampled(subject, directory, cores, (scenario, exchange))
            entered = _entered(subject, directory, cores)
    return Profile(load, sampled["cpu_s"], sampled["own"], sampled["within"], entered)


def _sampled(
    subject: Running, directory: Path, cores: Cores, what: tuple[Scenario, Exchange]
) -> tuple[Load, dict[str, Any]]:
    scenario, exchange = what
    port, report = free_port(), directory / "sampled.json"
    with started(_command("bench.sampled", subject, port, report), directory / "sampled.log", _ENVIRONMENT) as process:
        wait_until_ready(port)
        pin(process.pid, cores.subject)
        target = Target(port, subject.authorization, [process.pid])
        run_load(build("load"), replace(scenario, interval=1.0), exchange, target)  # warm
        with _counting(process, report):
            load = run_load(build("load"), scenario, exchange, target)
    return load, json.loads(report.read_text())


def _entered(subject: Running, directory: Path, cores: Cores) -> dict[str, float]:
    """How often each function is entered in a call."""
    assert subject.authorization is not None
    port, report = free_port(), directory / "entered.json"
    with started(_command("bench.counted", subject, port, report), directory / "counted.log", _ENVIRONMENT) as process:
        wait_until_ready(port)
        pin(process.pid, cores.subject)
        call = _caller(port, subject.authorization)
        call(_WARM_UP)
        with _counting(process, report):
            call(_CALLS)
    found: dict[str, int] = json.loads(report.read_text())["python"]
    return {name: times / _CALLS for name, times in found.items()}


def _command(module: str, subject: Running, port: int, report: Path) -> list[str | Path]:
    configuration = report.with_suffix(".toml")
    configuration.write_text(copied_configuration(subject, report.with_suffix(""), port))
    return [sys.executable, "-P", "-m", module, "--config", configuration, "--report", report]


def _rows(profile: Profile) -> list[tuple[str, ...]]:
    """Function, entries a call, microseconds a call of its own and with what it calls, share; dearest first."""
    samples, rows = sum(profile.own.values()), list[tuple[str, ...]]()
    ranked = sorted(profile.own.items(), key=lambda row: -row[1])
    for name, own in ranked[:_ROWS]:
        each_us, within_us = (part / samples * profile.call_us for part in (own, profile.within[name]))
        entries = f"{profile.entered.get(name, 0.0):.1f}"
        rows.append((name, entries, f"{each_us:.1f}", f"{within_us:.1f}", f"{own / samples:.1%}"))
    rest = sum(own for _, own in ranked[_ROWS:])
    rows.append(
        (
            f"{len(ranked) - len(rows)} others",
            "",
            f"{rest / samples * profile.call_us:.1f}",
            "",
            f"{rest / samples:.1%}",
        )
    )
    return rows


_COLUMNS = ("function", "entered", "own us", "with callees us", "own share")


def _table(profile: Profile, rows: list[tuple[str, ...]]) -> Table:
    table = Table(title=_title(profile))
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column == "function" else "right")
    for row in rows:
        table.add_row(*row)
    return table


def _title(profile: Profile) -> str:
    samples = sum(profile.own.values())
    return f"a small call, {_SMALL.connections} clients: {profile.call_us:.0f} us of CPU, {samples:,} samples"


def _write(profile: Profile, rows: list[tuple[str, ...]], conditions: Conditions) -> Path:
    """Write the table beside the conditions."""
    changed = "-changed" if conditions.changed else ""
    path = _RESULTS / f"profile-{conditions.date}-{conditions.commit}{changed}.md"
    lines = [
        f"# {_title(profile)}",
        "",
        f"- {conditions.date}, commit {conditions.commit}{changed}; {conditions.cpu}, {conditions.system}, Linux {conditions.kernel}",
        f"- Python {conditions.python}; worker on CPU {conditions.subject_cpu}, all else on {conditions.rest_cpus}",
        f"- cores busy with other work just before: {', '.join(f'{busy:.0%}' for busy in conditions.others_busy)}",
        "- own: in the function itself and in what it asked of C, the kernel included; reading sockets counts for what is called next",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


if __name__ == "__main__":
    main()
