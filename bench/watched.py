"""`python -m bench.watched --config FILE --report FILE [--explain]`: one worker of Farebox whose event loop is watched closely.

The same worker as `farebox serve` runs, but its watch of the loop fires every millisecond instead of every ten, and it keeps
exactly how late each time was: a stall of 8 ms may fall between two looks of the worker's own watch. SIGUSR1 writes what was
seen since the last one to the report (JSON) and begins anew. With --explain a thread looks every millisecond at what the loop, and beside it
any other thread, is doing, and collections of garbage are timed: what that costs is felt in the figures, so it is for finding reasons only.
"""

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

from bench.bare_timer import TICK_S
from bench.inside import ROOT, serve, write_whole
from proxy.metrics import Metrics

_OWN_INDEX = 90
_LOOK_S = 0.001
_LONG_S = 0.004
_MOST_TURNS = 8
_OUTER, _INNER = 1, 5
_IDLE_THREAD = "concurrent/futures/thread.py"


@dataclass(order=True, slots=True)
class Turn:
    """A long turn of the loop: seconds of CPU, of lateness and of waiting for a core, and what was seen of it.

    `looks`: the CPU until then, the stack of the loop, and those of other threads.
    """

    worked: float
    late: float
    waited: float
    looks: list[tuple[float, str]]

    def as_json(self) -> dict[str, object]:
        """In milliseconds."""
        looks = [(round(worked * 1000, 1), what) for worked, what in self.looks]
        numbers = {"worked_ms": self.worked, "late_ms": self.late, "waited_ms": self.waited}
        return {name: round(value * 1000, 1) for name, value in numbers.items()} | {"looks": looks}


class Watch:
    """How late the loop was since the last report, in seconds, and the CPU it used meanwhile; what it did, where that is looked at."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self.late: list[float] = []
        self.worked: list[float] = []  # CPU of the main thread from one look to the next
        self.waited: list[float] = []  # for a core, likewise
        self.turns: list[Turn] = []
        self.collections: list[tuple[int, float]] = []  # generation, seconds of CPU
        self._began = 0.0  # the main thread's CPU when this turn began
        self._looks: list[tuple[float, str]] = []  # of this turn
        self._collecting_since = 0.0
        self._told = False

    async def run(self, metrics: Metrics) -> None:
        """In place of the worker's own watch."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self.tell)
        account = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        while True:
            had_no_core = _had_no_core(account)
            due = time.monotonic() + TICK_S
            self._began = time.thread_time()
            await asyncio.sleep(TICK_S)
            seconds = max(time.monotonic() - due, 0.0)
            worked = time.thread_time() - self._began
            waited = _had_no_core(account) - had_no_core
            looks, self._looks = self._looks, []
            if self._told:  # a long report takes the loop some milliseconds, which are the bench's own
                self._told = False
                continue
            self.late.append(seconds)
            self.worked.append(worked)
            self.waited.append(waited)
            metrics.loop_lag.observe((), seconds)
            if looks and max(seconds, worked) > _LONG_S:
                self.turns = [*self.turns, Turn(worked, seconds, waited, looks)]

    def tell(self) -> None:
        """Writes the report, whole or not at all, and begins anew."""
        self._told = True
        late, self.late = self.late, []
        worked, self.worked = self.worked, []
        waited, self.waited = self.waited, []
        turns, self.turns = self.turns, []
        collections, self.collections = self.collections, []
        latest = sorted(turns, key=lambda turn: turn.late)[-_MOST_TURNS:]
        document = {
            "late_ms": [round(seconds * 1000, 3) for seconds in late],
            "worked_ms": [round(seconds * 1000, 3) for seconds in worked],
            "waited_ms": [round(seconds * 1000, 3) for seconds in waited],
            "by_work": [turn.as_json() for turn in sorted(turns, reverse=True)[:_MOST_TURNS]],
            "by_clock": [turn.as_json() for turn in reversed(latest)],
            "collections_ms": [(generation, round(seconds * 1000, 1)) for generation, seconds in collections],
        }
        write_whole(self._report, document)

    def explain(self) -> None:
        """Starts looking at stacks and collections."""
        gc.callbacks.append(self._time_collection)
        threading.Thread(target=self._look, args=(threading.get_ident(),), daemon=True).start()

    def _look(self, main_thread: int) -> None:
        clock, own = time.pthread_getcpuclockid(main_thread), threading.get_ident()
        while True:
            time.sleep(_LOOK_S)
            frames = sys._current_frames()  # noqa: SLF001 - its documented use
            worked = time.clock_gettime(clock) - self._began
            what = describe(frames.pop(main_thread, None))
            others = [describe(frame) for thread, frame in frames.items() if thread != own and not _idle(frame)]
            self._looks.append((worked, " | beside: ".join([what, *others])))

    def _time_collection(self, phase: str, about: Mapping[str, int]) -> None:
        if phase == "start":
            self._collecting_since = time.thread_time()
        else:
            self.collections.append((about["generation"], time.thread_time() - self._collecting_since))


def _had_no_core(account: int) -> float:
    """Seconds that this thread could have run and did not, since it began: https://docs.kernel.org/scheduler/sched-stats.html"""
    return int(os.pread(account, 100, 0).split()[1]) / 1e9


def _idle(frame: FrameType) -> bool:
    """A thread of a pool that waits for work."""
    return frame.f_code.co_filename.endswith(_IDLE_THREAD)


def describe(frame: FrameType | None) -> str:
    """A stack in one line, from what the event loop called inwards, and where it was just then: `file:line function`."""
    parts: list[str] = []
    while frame is not None:
        code = frame.f_code
        name = code.co_filename.removeprefix(f"{ROOT}/")
        if name.endswith(("uvloop/__init__.py", "asyncio/runners.py")):  # beneath is the program's start
            break
        parts.append(f"{name if not name.startswith('/') else Path(name).name}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    if len(parts) > _OUTER + _INNER:
        parts[_INNER:-_OUTER] = ["..."]
    return " > ".join(reversed(parts)) or "the event loop itself, or a C function that it called"


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), required=True)
@click.option("--report", type=click.Path(path_type=Path), required=True)
@click.option("--explain", is_flag=True)
def main(*, path: Path, report: Path, explain: bool) -> None:
    """Run the worker until SIGTERM."""
    watch = Watch(report)
    if explain:
        watch.explain()
    serve(watch.run, path, _OWN_INDEX)


if __name__ == "__main__":
    main()
