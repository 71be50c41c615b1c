"""`python -m bench.beside`: what calls feel of searches in the same worker.

Farebox works on a database of many usage records while a client asks it five times a second for all accounts' usage by the minute,
a page of 1,440 buckets: the worker's reader thread reads while its event loop serves calls. The same loads are run without
searches and with them, in turn. The reader has the other cores, as it has wherever a worker is not pinned; its CPU is not a
call's, and is told apart. What the event loop does for a search (rows into JSON) is in the figures of the calls.
"""

import http.client
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import click
from rich.console import Console
from rich.table import Table

from bench.conditions import observe
from bench.generator import Exchange, Target, learn_exchange, run_load
from bench.native import build
from bench.processes import Cores, divide_cores, free_port, started, wait_for_port
from bench.queries import generate_visibly
from bench.query_data import DAY_MS, END_MS, Shape
from bench.scenarios import SCENARIOS, Scenario
from bench.subjects.base import Place, Running
from bench.subjects.farebox import ask, farebox
from bench.subjects.insight import insight_figures

_RESULTS = Path(__file__).parent / "results"
_LOADS = ("one", "small")
_SEARCH = "/v1/organization/usage/completions?bucket_width=1m&limit=1440&start_time={}&end_time={}"
_LOG_WIDTH = 140
_EVERY_S = 0.2


@dataclass
class Felt:
    """What one load measured, a value a round. `cpu_us` is the event loop's, without the reader's; `searches` a second."""

    calls: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    stall_ms: list[float] = field(default_factory=list)
    searches: list[float] = field(default_factory=list)


class Searcher:
    """One client that searches all the time while `on`."""

    def __init__(self, port: int, key: str) -> None:
        self._port, self._key = port, key
        self._on, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.done = 0
        self.failed: str | None = None

    def __enter__(self) -> Self:
        """Starts, and waits."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends after the search in hand."""
        self._over.set()
        self._on.set()
        self._thread.join()

    def switch(self, *, on: bool) -> None:
        """Searches from now on, or stops after the one in hand."""
        if on:
            self._on.set()
        else:
            self._on.clear()

    def search(self) -> None:
        """One search; what is wrong with its answer goes into `failed`."""
        end = END_MS // 1000
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            path = _SEARCH.format(end - DAY_MS // 1000, end)
            connection.request("GET", path, headers={"authorization": f"Bearer {self._key}"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != http.client.OK or len(body) < 10_000:
            self.failed = f"{answer.status}: {body[:300].decode(errors='replace')}"

    def _run(self) -> None:
        due = time.monotonic()
        while self._on.wait() and not self._over.is_set() and not self.failed:
            self.search()
            self.done += 1
            due = max(due + _EVERY_S, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))  # the pace of the searches


@click.command()
@click.option(
    "--records", type=click.IntRange(1000), default=1_000_000, show_default=True, help="How many usage records."
)
@click.option("--rounds", type=click.IntRange(1, 20), default=5, show_default=True, help="How often each load is run.")
def main(*, records: int, rounds: int) -> None:
    """Run the loads with and without searches; a table to the terminal and to bench/results/."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_WIDTH)
    shape, cores = Shape(records, 60), divide_cores()
    if not shape.path.exists():
        generate_visibly(shape, console)
    with tempfile.TemporaryDirectory(prefix="farebox-bench-", dir=shape.path.parent) as name:
        directory = Path(name)
        database = directory / "copy.db"
        shutil.copyfile(shape.path, database)
        os.sched_setaffinity(0, cores.rest)
        with _running(directory, database, cores) as (subject, exchanges):
            felt = _measure(subject, exchanges, cores, rounds)
    title = f"small calls beside searches in {records:,} usage records"
    console.print(_table(title, felt))
    console.print(f"written to {_write(title, felt, cores, rounds).name} in bench/results", highlight=False)


@contextmanager
def _running(directory: Path, database: Path, cores: Cores) -> Iterator[tuple[Running, dict[str, Exchange]]]:
    upstream_port, log = free_port(), directory / "upstream.log"
    with started([build("upstream"), str(upstream_port)], log) as process:
        wait_for_port(upstream_port, process, log)
        exchanges = {name: learn_exchange(_scenario(name), upstream_port, directory) for name in _LOADS}
        with farebox(Place(upstream_port, directory, cores, database)) as subject:
            yield subject, exchanges


def _scenario(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def _measure(
    subject: Running, exchanges: dict[str, Exchange], cores: Cores, rounds: int
) -> dict[tuple[str, bool], Felt]:
    assert subject.configuration is not None
    key = str(ask(subject.configuration, "key", "create", "bench", "--manager")["key"])
    felt = {(name, searching): Felt() for name in _LOADS for searching in (False, True)}
    with Searcher(subject.port, key) as searcher:
        reader = _reader(subject, searcher)
        os.sched_setaffinity(reader, cores.rest)
        for number in range(rounds):
            for name in _LOADS:
                for searching in (False, True) if number % 2 else (True, False):
                    searches = searcher if searching else None
                    for figure, value in _one_load(subject, exchanges[name], _scenario(name), reader, searches):
                        getattr(felt[name, searching], figure).append(value)
                    if searcher.failed:
                        raise click.ClickException(f"a search failed: {searcher.failed}")
    return felt


def _one_load(
    subject: Running, exchange: Exchange, scenario: Scenario, reader: int, searcher: Searcher | None
) -> Iterator[tuple[str, float]]:
    """One load's figures by name, as `Felt` has them."""
    assert subject.insight is not None
    if searcher:
        searcher.switch(on=True)
    before, done, read_ns = subject.insight(), searcher.done if searcher else 0, _thread_ns(reader)
    load = run_load(build("load"), scenario, exchange, Target(subject.port, subject.authorization, subject.workers))
    read_ns, done = _thread_ns(reader) - read_ns, (searcher.done if searcher else 0) - done
    whole_s = scenario.warmup + load.seconds
    if searcher:
        searcher.switch(on=False)
    assert load.latency is not None
    yield "calls", load.calls / load.seconds
    yield "cpu_us", (sum(load.cpu_ns.values()) - read_ns * load.seconds / whole_s) / load.calls / 1000
    yield "p50_ms", load.latency.p50 / 1000
    yield "p99_ms", load.latency.p99 / 1000
    yield "stall_ms", insight_figures(before, subject.insight()).get("stall_ms", 0.0)
    yield "searches", done / whole_s


def _reader(subject: Running, searcher: Searcher) -> int:
    """The worker's thread that reads SQL: of those beside the first one, the one that a search keeps busy."""
    searcher.search()  # it starts with the first one
    threads = [int(task.name) for pid in subject.workers for task in Path(f"/proc/{pid}/task").iterdir()]
    before = {thread: _thread_ns(thread) for thread in threads if thread not in subject.workers}
    searcher.search()
    return max(before, key=lambda thread: _thread_ns(thread) - before[thread])


def _thread_ns(thread: int) -> int:
    return int(Path(f"/proc/{thread}/schedstat").read_text().split()[0])


def _rows(felt: dict[tuple[str, bool], Felt]) -> Iterator[tuple[str, ...]]:
    for (name, searching), one in felt.items():
        middle = [statistics.median(values) for values in (one.calls, one.cpu_us, one.p50_ms, one.p99_ms, one.searches)]
        calls, cpu, p50, p99, searches = middle
        yield (
            _scenario(name).title,
            f"{searches:.1f} a second" if searching else "none",
            f"{calls:,.0f}",
            f"{cpu:.0f}",
            f"{p50:.2f}",
            f"{p99:.2f}",
            f"{max(one.stall_ms):.0f}",
        )


_COLUMNS = ("load", "searches", "calls/s", "CPU us a call", "p50 ms", "p99 ms", "longest stall ms")


def _table(title: str, felt: dict[tuple[str, bool], Felt]) -> Table:
    table = Table(*_COLUMNS, title=title)
    for row in _rows(felt):
        table.add_row(*row)
    return table


def _write(title: str, felt: dict[tuple[str, bool], Felt], cores: Cores, rounds: int) -> Path:
    conditions = observe(cores, rounds, quick=False)
    lines = [
        f"# {title[0].upper()}{title[1:]}",
        "",
        f"{conditions.date}, commit {conditions.commit}, {rounds} rounds, Python {conditions.python}",
        f"{conditions.cpu}, {conditions.cores} cores, busy with other work: {conditions.others_busy}",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'---|' * len(_COLUMNS)}",
        *(f"| {' | '.join(row)} |" for row in _rows(felt)),
    ]
    path = _RESULTS / f"beside-{conditions.date}-{conditions.commit}{'-changed' if conditions.changed else ''}.md"
    path.write_text("\n".join(lines) + "\n")
    return path


if __name__ == "__main__":
    main()
