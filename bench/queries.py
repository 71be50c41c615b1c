"""`python -m bench.queries`: how long searches and summaries take on a database of millions of usage records.

Each query is asked again and again with other bounds for a moment, by itself, in the process that measures; the times include
all that a handler does, from reading what is asked to the objects that become JSON. Bound: a p99 under 100 ms.

Beside it a task of the same event loop wants to wake every millisecond: how late it wakes is what a call of the same worker feels
of the search ("loop"). The first line of the table, without any search, is what the machine does to it by itself.
"""

import asyncio
import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.conditions import observe
from bench.processes import divide_cores
from bench.query_cases import Case, Desk
from bench.query_data import Shape, generate
from proxy.core.errors import FareboxError
from proxy.sql.sqlite import SqliteDatabase

BOUND_MS = 100
_RESULTS = Path(__file__).parent / "results"
_LOG_WIDTH = 140
_RUNS = 100
_FEWEST = 5
_LONGEST_S = 5.0
_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Timed:
    """One query's times in milliseconds; `error` where it was refused."""

    case: Case
    runs: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    late_p99_ms: float
    error: str = ""


@click.command()
@click.option(
    "--records", type=click.IntRange(1000), default=10_000_000, show_default=True, help="How many usage records."
)
@click.option("--days", type=click.IntRange(1, 365), default=60, show_default=True, help="Over how many days.")
@click.option("--only", default="", help="Only queries whose line contains this.")
@click.option(
    "--runs", type=click.IntRange(1), default=_RUNS, show_default=True, help="How often each is asked, at most."
)
def main(*, records: int, days: int, only: str, runs: int) -> None:
    """Make the database once, ask every query, and write a table to the terminal and to bench/results/."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_WIDTH)
    shape = Shape(records, days)
    if not shape.path.exists():
        generate_visibly(shape, console)
    timed = asyncio.run(_measure(shape.path, only, runs, console))
    title = f"{records:,} usage records of {days} days, {shape.path.stat().st_size / _MB:,.0f} MB"
    _show(console, title, timed)
    if not only:
        console.print(f"written to {_write(title, timed).name} in bench/results", highlight=False)


def generate_visibly(shape: Shape, console: Console) -> None:
    started = time.monotonic()
    with console.status("making the database") as status:
        generate(shape, shape.path, lambda step, done: status.update(f"making the database: {step} ({done:,} records)"))
    size = shape.path.stat().st_size / _MB
    console.print(f"made {shape.path.name}: {size:,.0f} MB in {time.monotonic() - started:.0f} s", highlight=False)


async def _measure(path: Path, only: str, runs: int, console: Console) -> list[Timed]:
    database = SqliteDatabase(path)
    found = [await _time(Case("none", "nothing is asked", "", lambda _: asyncio.sleep(0.02)), runs)]
    console.print(_line(found[0]), highlight=False)
    try:
        for case in Desk(database).cases():
            if only not in f"{case.surface} {case.what} {case.who}":
                continue
            one = await _time(case, runs)
            console.print(_line(one), highlight=False)
            found.append(one)
    finally:
        await database.close()
    return found


async def _time(case: Case, runs: int) -> Timed:
    chance = random.Random(f"{case.surface} {case.what} {case.who}")
    times: list[float] = []
    late: list[float] = []
    try:
        await case.ask(chance)  # the first one fetches pages from disk that a busy installation has in memory
        deadline = time.monotonic() + _LONGEST_S
        waking = asyncio.create_task(_wake(late))  # noqa: TID251 - ended below
        while len(times) < runs and (len(times) < _FEWEST or time.monotonic() < deadline):
            began = time.perf_counter()
            await case.ask(chance)
            times.append((time.perf_counter() - began) * 1000)
        waking.cancel()
    except FareboxError as error:
        return Timed(case, len(times), 0, 0, 0, 0, error.code)
    return Timed(case, len(times), statistics.median(times), _p99(times), max(times), _p99(late or [0.0]))


async def _wake(late: list[float]) -> None:
    """Notes by how many milliseconds each wake after a millisecond is late."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        late.append((time.perf_counter() - began) * 1000 - 1)


def _p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def _line(one: Timed) -> str:
    case = one.case
    return f"{case.surface:24} {case.what:36} {case.who:12} {one.p50_ms:9.2f} {one.p99_ms:9.2f} {one.worst_ms:9.2f} {one.late_p99_ms:7.2f} {one.runs:5} {one.error}"


def _rows(timed: list[Timed]) -> list[tuple[str, ...]]:
    return [
        (
            *(one.case.surface, one.case.what, one.case.who),
            *(one.error or f"{value:.1f}" for value in (one.p50_ms, one.p99_ms, one.worst_ms, one.late_p99_ms)),
            str(one.runs),
            "" if one.p99_ms < BOUND_MS else "over",
        )
        for one in timed
    ]


_HEADS = ("surface", "query", "of", "p50 ms", "p99 ms", "worst ms", "loop p99 ms", "runs", f"{BOUND_MS} ms")


def _show(console: Console, title: str, timed: list[Timed]) -> None:
    table = Table(*_HEADS, title=title)
    for row in _rows(timed):
        table.add_row(*row)
    console.print(table)
    queries = timed[1:]  # behind the row of an idle process
    under = sum(one.p99_ms < BOUND_MS for one in queries)
    console.print(f"{under} of {len(queries)} under {BOUND_MS} ms", highlight=False)


def _write(title: str, timed: list[Timed]) -> Path:
    seen = observe(divide_cores(), 1, quick=False)
    lines = [
        f"# Queries: {title}",
        "",
        ", ".join(
            (
                seen.date,
                f"commit {seen.commit}{' with changes' if seen.changed else ''}",
                f"{seen.cpu}, {seen.cores} cores",
                f"Linux {seen.kernel}",
                f"Python {seen.python}",
                f"cores busy with other work just before: {seen.others_busy}",
            )
        ),
        "",
        f"| {' | '.join(_HEADS)} |",
        f"|{'---|' * len(_HEADS)}",
        *(f"| {' | '.join(row)} |" for row in _rows(timed)),
        "",
    ]
    path = _RESULTS / f"queries-{seen.date}-{seen.commit}.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
