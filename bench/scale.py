"""`python -m bench.scale`: what a call costs against the number of accounts, keys, open holds, partitions and unread events.

A curve is one thing at sizes from few to many, everything else small. All sizes of a curve are up at once and are sampled in
turn, several times over, so that drift of the machine hits all alike; figures are medians over the rounds. No figure may grow
faster than a logarithm of the size (see scale_fit); where one does the page says so. Redis is alone on the subject's core.
"""

import contextlib
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
from rich.console import Console

from bench.conditions import observe
from bench.figures import Figures
from bench.processes import Cores, divide_cores
from bench.scale_keys import KeySite, new_runner
from bench.scale_redis import Crowd, Effort, site
from bench.scale_report import Measured, carries, findings, sheets, write
from bench.subjects.farebox import redis_alone

_LOG_WIDTH = 150
_ROUNDS, _QUICK_ROUNDS = 5, 3
_EFFORT, _QUICK_EFFORT = Effort(calls=4096, timed=512, looks=64), Effort(calls=2048, timed=256, looks=32)
_LOOKUPS, _QUICK_LOOKUPS = 4000, 2000

Sample = Callable[[], Figures]


@dataclass(frozen=True)
class Curve:
    """One thing that is there in different numbers. `crowd` makes a Redis of a size; None: keys in SQL."""

    name: str
    title: str
    sizes: Sequence[int]
    quick_sizes: Sequence[int]
    crowd: Callable[[int], Crowd] | None


CURVES = (
    Curve(
        "accounts",
        "accounts, with a key that has two limits each, all of them in use",
        (100, 1000, 10_000, 100_000, 1_000_000),
        (100, 1000, 10_000, 100_000),
        lambda size: Crowd(accounts=size),
    ),
    Curve(
        "holds",
        "open holds",
        (1, 10, 100, 1000, 10_000, 100_000),
        (1, 100, 10_000),
        lambda size: Crowd(open_holds=size),
    ),
    Curve("partitions", "partitions", (1, 2, 4, 8, 16, 32, 64), (1, 8, 64), lambda size: Crowd(partitions=size)),
    Curve(
        "unread",
        "events that the recorder has not read",
        (0, 100, 1000, 10_000, 100_000, 1_000_000),
        (0, 1000, 100_000),
        lambda size: Crowd(unread=size),
    ),
    Curve(
        "keys",
        "API keys in SQL, as a worker looks them up",
        (100, 1000, 10_000, 100_000, 1_000_000),
        (100, 10_000, 100_000),
        None,
    ),
)


@click.command()
@click.option("--quick", is_flag=True, help="Fewer sizes and rounds, nothing above 10^5: a first look, not a result.")
@click.option("--rounds", type=click.IntRange(1, 50), help=f"How often each size is sampled (default {_ROUNDS}).")
@click.option(
    "--curve", "names", multiple=True, type=click.Choice([curve.name for curve in CURVES]), help="Only these."
)
def main(*, quick: bool, rounds: int | None, names: tuple[str, ...]) -> None:
    """Measure the curves and write tables to the terminal and to bench/results/."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_WIDTH)
    cores, number = divide_cores(), rounds or (_QUICK_ROUNDS if quick else _ROUNDS)
    conditions = observe(cores, number, quick=quick)
    os.sched_setaffinity(0, cores.rest)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    began, measured = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="farebox-scale-") as name:
        directory = Path(name)
        (directory / "version").mkdir()
        with redis_alone(directory / "version") as (_, _, version):
            conditions = replace(conditions, versions=version)
        for curve in CURVES:
            if names and curve.name not in names:
                continue
            one = _measure(curve, directory / curve.name, cores, number, quick=quick)
            measured.append(one)
            console.print(f"{curve.name}: {time.monotonic() - began:.0f} s", highlight=False)
    made, found = sheets(measured), [*carries(measured), *findings(measured)]
    suffix = f"{'-quick' if quick else ''}{'-partial' if names else ''}{'-changed' if conditions.changed else ''}"
    page = write(conditions, measured, made, found, suffix)
    console.print(page.read_text(), markup=False, highlight=False)
    console.print(f"{time.monotonic() - began:.0f} s; written to {page.name} in bench/results", highlight=False)


def _measure(curve: Curve, directory: Path, cores: Cores, rounds: int, *, quick: bool) -> Measured:
    """All sizes up at once; round after round, each size is sampled, beginning with another one every time."""
    sizes = curve.quick_sizes if quick else curve.sizes
    seen: dict[int, list[Figures]] = {size: [] for size in sizes}
    with contextlib.ExitStack() as stack:
        filled = _fill(curve, sizes, directory, cores, stack, quick=quick)
        for number in range(rounds):
            turn = number % len(sizes)
            for size in (*sizes[turn:], *sizes[:turn]):
                seen[size].append(filled[size][0]())
        middle = {
            size: {name: statistics.median(one[name] for one in samples) for name in samples[0]} | filled[size][1]
            for size, samples in seen.items()
        }
    return Measured(curve.name, curve.title, middle, seen)


def _fill(
    curve: Curve, sizes: Sequence[int], directory: Path, cores: Cores, stack: contextlib.ExitStack, *, quick: bool
) -> dict[int, tuple[Sample, Figures]]:
    """What samples each size, and what it takes in memory."""
    if curve.crowd is None:
        return _fill_keys(sizes, directory, stack, _QUICK_LOOKUPS if quick else _LOOKUPS)
    effort, filled = _QUICK_EFFORT if quick else _EFFORT, {}
    for size in sizes:
        one = stack.enter_context(site(directory / str(size), curve.crowd(size), cores))
        one.sample(effort)  # caches and tables are warm
        filled[size] = (lambda one=one: one.sample(effort), one.memory)
    return filled


def _fill_keys(
    sizes: Sequence[int], directory: Path, stack: contextlib.ExitStack, lookups: int
) -> dict[int, tuple[Sample, Figures]]:
    runner, filled = stack.enter_context(new_runner()), {}
    for size in sizes:
        one = KeySite(directory / str(size) / "farebox.db", size, runner.run)
        one.fill()
        stack.callback(one.close)
        filled[size] = (lambda one=one: one.sample(lookups), {})
    return filled


if __name__ == "__main__":
    main()
