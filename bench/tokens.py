"""`python -m bench.tokens`: what counting large prompts does to everything else, and how far counts are from what was billed.

The first table: prompts of 1 MB are counted one after another, so many at a time, on the event loop of a process that
also makes small counts and whose loop is watched. `in the process of its own` is how Farebox counts; the other two rows are
what it avoids. A stall is how much later than asked the loop came back; latencies are milliseconds, wall time. The second
needs FAREBOX_RECORDINGS.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import click
import uvloop

from bench.conditions import observe
from bench.processes import divide_cores
from bench.report import RESULTS
from bench.token_errors import FILE, measure_errors, table
from proxy.providers.encodings import count_now
from proxy.providers.estimates import count_input
from proxy.providers.openai_chat import ChatCompletions
from proxy.providers.tokens import TokenCounter

MEGABYTE = 1024 * 1024
_SENTENCE = (
    "The tide carries {} ships past the harbour wall, and keeper number {} writes down what each of them is called. "
)
_SMALL = "What is the capital of France?"
_MODEL = "gpt-4o"
_TICK_S = 0.001
_SECONDS = 4.0
_AT_ONCE = (0, 1, 4, 16)

Count = Callable[[bytes], Awaitable[int]]


@dataclass(slots=True)
class Watched:
    """What was seen while large prompts were counted."""

    stalls_ms: list[float] = field(default_factory=list)
    small_ms: list[float] = field(default_factory=list)
    large_ms: list[float] = field(default_factory=list)


def prompt_of(size: int) -> bytes:
    """A request of this many bytes of prose."""
    text = "".join(_SENTENCE.format(number, number * 7) for number in range(size // len(_SENTENCE) + 1))[:size]
    return json.dumps({"model": _MODEL, "messages": [{"role": "user", "content": text}]}).encode()


async def watch(large: Count, small: Count, at_once: int, seconds: float) -> Watched:
    """Keep `at_once` large counts going and look at the loop and at small counts meanwhile."""
    seen, body, little = Watched(), prompt_of(MEGABYTE), prompt_of(len(_SMALL))
    end = time.perf_counter() + seconds

    async def tick() -> None:
        while (before := time.perf_counter()) < end:
            await asyncio.sleep(_TICK_S)
            seen.stalls_ms.append((time.perf_counter() - before - _TICK_S) * 1000)

    async def repeat(count: Count, content: bytes, taken_ms: list[float], pause: float) -> None:
        while (before := time.perf_counter()) < end:
            await count(content)
            taken_ms.append((time.perf_counter() - before) * 1000)
            await asyncio.sleep(pause)

    loads = [repeat(large, body, seen.large_ms, 0) for _ in range(at_once)]
    await asyncio.gather(tick(), repeat(small, little, seen.small_ms, 0.005), *loads)
    return seen


async def measure_stalls(seconds: float, at_once: Sequence[int]) -> list[tuple[str, ...]]:
    """Return the rows of the first table."""
    operation, counter = ChatCompletions(), TokenCounter()

    async def apart(body: bytes) -> int:
        return await count_input(counter, operation, body, _MODEL)

    async def on_the_loop(body: bytes) -> int:
        return count_now(operation.prompt_text(body), _MODEL)

    async def in_a_thread(body: bytes) -> int:
        return await asyncio.to_thread(count_now, operation.prompt_text(body), _MODEL)

    await counter.warm((_MODEL,))
    count_now("", _MODEL)
    rows = [_row("in the process of its own", number, await watch(apart, apart, number, seconds)) for number in at_once]
    most = max(at_once)
    rows.append(_row("in threads", most, await watch(in_a_thread, in_a_thread, most, seconds)))
    rows.append(_row("on the event loop", 1, await watch(on_the_loop, on_the_loop, 1, seconds)))
    await counter.close()
    return rows


def _row(where: str, at_once: int, seen: Watched) -> tuple[str, ...]:
    large = [f"{len(seen.large_ms)}", f"{median(seen.large_ms):.0f}"] if seen.large_ms else ["-", "-"]
    stalls, small = sorted(seen.stalls_ms), sorted(seen.small_ms)
    figures = [f"{_at(stalls, 0.99):.1f}", f"{stalls[-1]:.1f}", f"{_at(small, 0.5):.2f}", f"{small[-1]:.1f}"]
    return where, str(at_once), *large, *figures


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


_HEADINGS = (
    "counted",
    "1 MB prompts at once",
    "of them done",
    "each ms",
    "stall p99 ms",
    "longest stall ms",
    "small count p50 ms",
    "longest small count ms",
)


@click.command()
@click.option("--seconds", default=_SECONDS, show_default=True, help="How long each load runs.")
@click.option("--quick", is_flag=True, help="A second each: a first look, not a result.")
def main(*, seconds: float, quick: bool) -> None:
    """Measure, print both tables, and write them to bench/results/."""
    conditions = observe(divide_cores(), 1, quick=quick)
    rows = uvloop.run(measure_stalls(1.0 if quick else seconds, _AT_ONCE))
    lines = [f"# Counting tokens, {conditions.date}, commit {conditions.commit}", ""]
    busy = ", ".join(f"{share:.0%}" for share in conditions.others_busy)
    lines += [f"{conditions.cpu}, {conditions.cores} cores (busy before the run: {busy}), {conditions.python}.", ""]
    lines += ["## While prompts of 1 MB are counted", "", _markdown_row(_HEADINGS)]
    lines += [_markdown_row(["---", *["---:"] * (len(_HEADINGS) - 1)]), *map(_markdown_row, rows), ""]
    folder = Path(os.environ.get("FAREBOX_RECORDINGS", ""))
    if os.environ.get("FAREBOX_RECORDINGS") and (folder / FILE).exists():
        lines += ["## Counts and what providers billed, over recorded exchanges", "", table(measure_errors(folder)), ""]
    page = "\n".join(lines)
    sys.stdout.write(page)
    stem = f"tokens-{datetime.now(UTC).date().isoformat()}-{conditions.commit}"
    suffix = f"{'-quick' if quick else ''}{'-changed' if conditions.changed else ''}"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{stem}{suffix}.md").write_text(page, encoding="utf-8")


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
