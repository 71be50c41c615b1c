"""`python -m bench.stalls`: the longest time that a worker's event loop is blocked, under all that might block it.

One worker of Farebox has the subject's core to itself; its loop looks at the clock every millisecond (see watched). On the same
core, at the same time, a process with nothing else to do watches a timer of its own: what that one sees is the machine, not
Farebox. The worker's CPU time from one look to the next tells work from waiting. Nothing of ours may take above 10 ms.
"""

import contextlib
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import click
from rich.console import Console

from bench.beside import Searcher
from bench.conditions import Conditions, observe
from bench.generator import LoadFailedError, learn_exchange
from bench.native import build
from bench.processes import divide_cores, free_port, started, wait_for_port
from bench.queries import generate_visibly
from bench.query_data import Shape
from bench.report import RESULTS, describe
from bench.scenarios import Scenario, Stream
from bench.stalls_bed import Bed, Leavers, Seen, bed, reasons
from bench.stalls_report import lines_of, sheet

_LOG_WIDTH = 150
_PROFILES = ("bench-open=30@1000", "bench-flat=20000@0")


def _small(seconds: float, clients: int = 64) -> Scenario:
    return Scenario("small", "small call", "bench-small", clients, interval=seconds, warmup=0.2)


def _prompt(size: int, clients: int) -> Scenario:
    return Scenario(f"prompt{size}", "prompt", "bench-small", clients, interval=3.0, warmup=0.2, prompt_bytes=size)


def _streams(count: int) -> Scenario:
    stagger = count / 600
    stream = Stream(chunks=30, period_ms=1000)
    return Scenario("streams", "streams", "bench-open", count, 4.0, stream, warmup=stagger + 1, stagger=stagger)


def _crowd(count: int) -> Scenario:
    return Scenario("crowd", "streams", "bench-open", count, 4.0, Stream(chunks=30, period_ms=1000), warmup=1.0)


Work = Callable[[Bed], list[Seen]]
_SETTLED_S = 1.0
_ALL_SETTLED_S = 5.0  # thousands of calls that were cut


@dataclass(frozen=True)
class Condition:
    """What a worker is put under, and a title for each thing that was seen of it."""

    name: str
    titles: tuple[str, ...]
    work: Work


def _idle(here: Bed) -> list[Seen]:
    time.sleep(here.seconds)  # nothing is asked of the worker meanwhile
    return [here.seen()]


def _load(scenario: Scenario) -> Work:
    return _beside(scenario, lambda _: contextlib.nullcontext())


def _beside(scenario: Scenario, other: Callable[[Bed], contextlib.AbstractContextManager[object]]) -> Work:
    def work(here: Bed) -> list[Seen]:
        with other(here):
            here.load(replace(scenario, interval=here.seconds))
        time.sleep(_SETTLED_S)  # the last settlements are part of it
        return [here.seen()]

    return work


def _open(scenario: Scenario) -> Work:
    """Streams that open and are open, and apart from that what it takes when all of them are cut at the same instant."""

    def work(here: Bed) -> list[Seen]:
        found: list[Seen] = []
        here.load(replace(scenario, interval=here.seconds), lambda: found.append(here.seen()))
        time.sleep(_ALL_SETTLED_S)
        return [*found, here.seen()]

    return work


def _provider_gone(scenario: Scenario) -> Work:
    """Streams whose provider ends all of them at the same instant, in the middle."""

    def work(here: Bed) -> list[Seen]:
        def end() -> None:
            here.seen()
            os.kill(here.upstream, signal.SIGUSR1)
            time.sleep(2 * _SETTLED_S)

        with contextlib.suppress(LoadFailedError):  # which is what broken streams are to the load
            here.load(replace(scenario, interval=here.seconds), end)
        time.sleep(_ALL_SETTLED_S)
        return [here.seen()]

    return work


class Reloads:
    """SIGHUP every second, as `farebox reload` has it sent to every worker."""

    def __init__(self, here: Bed) -> None:
        self._pid, self._over = here.worker, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Begins."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(1.0):
            os.kill(self._pid, signal.SIGHUP)


@contextlib.contextmanager
def _searching(here: Bed) -> Iterator[None]:
    with Searcher(here.port, here.manager_key) as searcher:
        searcher.switch(on=True)
        yield
        searcher.switch(on=False)
    if searcher.failed:
        raise LoadFailedError(f"a search failed: {searcher.failed}")


_SMALL = _small(3.0)
CONDITIONS = (
    Condition("idle", ("nothing",), _idle),
    Condition("small", ("small calls, 64 clients",), _load(_SMALL)),
    Condition("many", ("small calls, 512 clients",), _load(_small(3.0, 512))),
    Condition("prompt1", ("prompts of 1 MB, 4 clients",), _load(_prompt(1_000_000, 4))),
    Condition("prompt10", ("prompts of 10 MB, 2 clients",), _load(_prompt(10_000_000, 2))),
    Condition(
        "counting",
        ("16 clients that leave their streams (counted, with prompts of 100 KB), and 4 with small calls",),
        _beside(replace(_SMALL, connections=4), lambda here: Leavers(here, 16, 100_000)),
    ),
    Condition("reloads", ("a reload every second (300 prices), and small calls",), _beside(_SMALL, Reloads)),
    Condition(
        "streams",
        ("5,000 streams open, and are open, an event a second each", "5,000 streams are cut at the same instant"),
        _open(_streams(5000)),
    ),
    Condition(
        "crowd",
        ("5,000 clients connect and ask at the same instant", "these 5,000 are cut at the same instant"),
        _open(_crowd(5000)),
    ),
    Condition(
        "provider", ("the provider of 5,000 streams is gone at the same instant",), _provider_gone(_streams(5000))
    ),
    Condition("search", ("searches, five a second, and small calls",), _beside(_SMALL, _searching)),
)


@click.command()
@click.option("--quick", is_flag=True, help="Three seconds each instead of ten: a first look, not a result.")
@click.option("--explain", is_flag=True, help="Show the stacks of long stalls; the figures are worse for it.")
@click.option(
    "--condition", "names", multiple=True, type=click.Choice([one.name for one in CONDITIONS]), help="Only these."
)
def main(*, quick: bool, explain: bool, names: tuple[str, ...]) -> None:
    """Put a worker under each condition; a table to the terminal and to bench/results/."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_WIDTH)
    cores = divide_cores()
    conditions = observe(cores, 1, quick=False)
    shape = Shape(200_000, 60)
    if not shape.path.exists():
        generate_visibly(shape, console)
    chosen = [one for one in CONDITIONS if not names or one.name in names]
    seen: list[tuple[str, Seen]] = []
    with tempfile.TemporaryDirectory(prefix="farebox-stalls-", dir=shape.path.parent) as name:
        directory = Path(name)
        database = directory / "copy.db"
        shutil.copyfile(shape.path, database)
        os.sched_setaffinity(0, cores.rest)
        upstream_port, log = free_port(), directory / "upstream.log"
        with started([build("upstream"), str(upstream_port), *_PROFILES], log) as upstream:
            wait_for_port(upstream_port, upstream, log)
            learn = lambda scenario: learn_exchange(scenario, upstream_port, directory)  # noqa: E731 - a partial with its order turned
            with bed(directory, database, cores, upstream_port, learn, explain=explain) as made:
                here = replace(made, seconds=3.0 if quick else 10.0, upstream=upstream.pid)
                for one in chosen:
                    time.sleep(_SETTLED_S)  # what the last one left behind comes to its end
                    here.seen()  # what was before is none of its doing
                    found = list(zip(one.titles, one.work(here), strict=True))
                    seen += found
                    for row in found:
                        console.print(" | ".join(lines_of(*row)), highlight=False)
    page = _write(conditions, seen, quick=quick, partial=bool(names) or explain)
    console.print(page.read_text(), markup=False, highlight=False)


def _write(conditions: Conditions, seen: list[tuple[str, Seen]], *, quick: bool, partial: bool) -> Path:
    table = sheet(seen)
    lines = [f"# Stalls of the event loop, {conditions.date}, commit {conditions.commit}", ""]
    lines += [f"- {line}" for line in describe(conditions)]
    lines += ["", f"| {' | '.join(table.headings)} |", f"|{' --- |' * len(table.headings)}"]
    lines += [f"| {' | '.join(row)} |" for row in table.rows]
    for title, one in seen:
        for order, turns in (("by CPU", one.by_work), ("by the clock", one.by_clock)):
            if turns:
                lines += ["", f"## The longest turns {order}: {title}", ""]
                lines += [line for turn in turns for line in reasons(turn)]
    suffix = f"{'-quick' if quick else ''}{'-partial' if partial else ''}{'-changed' if conditions.changed else ''}"
    stem = f"stalls-{conditions.date}-{conditions.commit}{suffix}"
    RESULTS.mkdir(exist_ok=True)
    document = {"conditions": conditions.as_json(), "seen": {title: one.as_json() for title, one in seen}}
    (RESULTS / f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n")
    page = RESULTS / f"{stem}.md"
    page.write_text("\n".join(lines) + "\n")
    return page


if __name__ == "__main__":
    main()
