"""`python -m bench.guard`: has a call become dearer? Some 25 seconds, after the tests of continuous integration.

Three figures, each beside the one in guard.json. CPU a call over nginx's, from short loads in turn in the same run: a ratio, but on a
shared machine still a matter of luck within a tenth or so. How many functions a call enters in the worker, which is the same number
wherever the version of Python is, and how many instructions it takes where valgrind can count them: above a tenth more of either it
says WARNING. It never fails a build, whatever it finds; what cannot be measured (no nginx, no compiler) is said. `--store` keeps
what was found as what is compared with.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import click
from rich.console import Console

from bench.callgrind import build_of_python, instructions
from bench.generator import PATH, Exchange, LoadFailedError, Target, learn_exchange, run_load
from bench.guard_report import Counts, Found, differences, per_call, table
from bench.native import NoCompilerError, build
from bench.processes import (
    Cores,
    SubjectUnavailableError,
    divide_cores,
    free_port,
    pin,
    started,
    wait_for_port,
    wait_for_report,
)
from bench.scenarios import Scenario
from bench.stalls_bed import copied_configuration, wait_until_ready
from bench.subjects.base import Place, Running
from bench.subjects.farebox import _ENVIRONMENT, farebox
from bench.subjects.nginx import nginx

STORED = Path(__file__).with_name("guard.json")
_LOG_WIDTH = 140
_SMALL = Scenario("small", "small call", "bench-small", connections=64, interval=0.7, warmup=0.3)
_ROUNDS = 3
_BATCHES, _CALLS, _WARM_UP = 5, 40, 60


@click.command()
@click.option("--store", is_flag=True, help="Keep what is found as what later runs are compared with.")
def main(*, store: bool) -> None:
    """Measure, print a table, and never fail."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_WIDTH)
    began = time.monotonic()
    stored = Found.from_json(json.loads(STORED.read_text())) if STORED.exists() else Found()
    try:
        found, remarks = _measure()
    except (NoCompilerError, SubjectUnavailableError, LoadFailedError, OSError, subprocess.SubprocessError) as error:
        console.print(f"guard: not measured: {error}", markup=False, highlight=False)
        return
    shown, said = table(found, stored)
    console.print(shown)
    for line in (*remarks, *said, *differences(found, stored)):
        console.print(f"- {line}", markup=False, highlight=False)
    if store:
        STORED.write_text(json.dumps(found.over(stored).as_json(), indent=1, sort_keys=True) + "\n")
        console.print(f"stored in {STORED.name}", highlight=False)
    console.print(f"guard: {time.monotonic() - began:.0f} s", highlight=False)


def _measure() -> tuple[Found, list[str]]:
    """What can be measured here, and what cannot, in words."""
    cores, remarks = divide_cores(), list[str]()
    os.sched_setaffinity(0, cores.rest)
    with tempfile.TemporaryDirectory(prefix="farebox-guard-") as name, contextlib.ExitStack() as stack:
        directory, upstream_port = Path(name), free_port()
        upstream = stack.enter_context(started([build("upstream"), str(upstream_port)], directory / "upstream.log"))
        wait_for_port(upstream_port, upstream, directory / "upstream.log")
        exchange = learn_exchange(_SMALL, upstream_port, directory)
        ours = stack.enter_context(farebox(Place(upstream_port, directory, cores)))
        try:
            theirs = stack.enter_context(nginx(Place(upstream_port, _new(directory / "nginx"), cores)))
        except SubjectUnavailableError as error:
            remarks.append(f"no ratio: {error}")
            cpu = None
        else:
            cpu = _cpu(ours, theirs, exchange)
        counts = _counted(ours, directory, cores)
        worked = instructions(ours, directory, cores, _caller)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if isinstance(worked, str):
        remarks.append(worked)
    by_build = {} if isinstance(worked, str) else {build_of_python(): round(worked)}
    return Found(*(cpu or (None, None, None)), counts={version: counts}, instructions=by_build), remarks


def _new(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _cpu(ours: Running, theirs: Running, exchange: Exchange) -> tuple[float, float, float]:
    """Microseconds a call of both, and the ratio: medians over rounds in which both took turns."""
    program, rounds = build("load"), list[tuple[float, float]]()
    for _ in range(_ROUNDS):
        costs = []
        for subject in (theirs, ours):
            load = run_load(program, _SMALL, exchange, Target(subject.port, subject.authorization, subject.workers))
            costs.append(sum(load.cpu_ns[pid] for pid in subject.workers) / max(load.calls, 1) / 1000)
        rounds.append((costs[0], costs[1]))
    return (
        statistics.median(one for one, _ in rounds),
        statistics.median(one for _, one in rounds),
        statistics.median(one / yardstick for yardstick, one in rounds),
    )


def _counted(subject: Running, directory: Path, cores: Cores) -> Counts:
    """Functions a call: the smallest of some batches, since now and then something else runs in between."""
    assert subject.authorization is not None
    port, report = free_port(), directory / "counted.json"
    configuration = directory / "counted.toml"
    configuration.write_text(copied_configuration(subject, directory / "counted", port))
    command = [sys.executable, "-P", "-m", "bench.counted", "--config", str(configuration), "--report", str(report)]
    log = directory / "counted.log"
    with started(command, log, {**_ENVIRONMENT, "PYTHONHASHSEED": "0"}) as process:
        wait_for_port(port, process, log)
        wait_until_ready(port)
        pin(process.pid, cores.subject)
        call = _caller(port, subject.authorization)
        call(_WARM_UP)
        batches = []
        for _ in range(_BATCHES):
            with _counting(process, report):
                call(_CALLS)
            batches.append(per_call(json.loads(wait_for_report(report)), _CALLS))
    return min(batches, key=lambda one: one.python + one.c)


@contextlib.contextmanager
def _counting(process: "subprocess.Popen[bytes]", report: Path) -> Iterator[None]:
    report.unlink(missing_ok=True)
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.05)  # the signal is heard in the next turn of the loop
    yield
    process.send_signal(signal.SIGUSR2)


class _caller:  # noqa: N801 - used as a function
    """One client on one connection, one call after the other. Raises LoadFailedError where one is not answered with 200."""

    def __init__(self, port: int, authorization: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {"authorization": authorization, "content-type": "application/json"}

    def __call__(self, calls: int) -> None:
        """So many calls."""
        for _ in range(calls):
            self._connection.request("POST", PATH, _SMALL.body(), self._headers)
            answer = self._connection.getresponse()
            if (body := answer.read()) and answer.status != 200:
                raise LoadFailedError(f"{answer.status}: {body[:200].decode(errors='replace')}")


if __name__ == "__main__":
    main()
