"""`python -m bench.watched --config FILE --report FILE [--explain]`: one worker of Farebox whose event loop is watched closely.

The same worker as `farebox serve` runs, but its watch of the loop fires every millisecond instead of every ten, and it keeps
exactly how late each time was: a stall of 8 ms may fall between two looks of the worker's own watch. SIGUSR1 writes what was
seen since the last one to the report (JSON) and begins anew. With --explain a thread looks at the stack of the main thread while the
loop is late, and collections of garbage are timed: what that costs is felt in the figures, so it is for finding reasons only.
"""

import asyncio
import gc
import json
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import click

import proxy.app
from bench.bare_timer import TICK_S
from proxy.metrics import Metrics
from proxy.roles import run_role_process

_OWN_INDEX = 90  # no worker of the supervisor's has this number
_LOOK_S = 0.001
_WORTH_A_LOOK_S = 0.004
_OUTER, _INNER, _MOST_STACKS = 1, 5, 12
_ROOT = str(Path(__file__).parents[1])


class Watch:
    """How late the loop was since the last report, in seconds, and the CPU it used meanwhile; what it did, where that is looked at."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self.due = float("inf")
        self.late: list[float] = []
        self.worked: list[float] = []  # CPU of the main thread from one look to the next
        self.stacks: dict[str, tuple[int, float]] = {}
        self.collections: list[tuple[int, float]] = []  # generation, seconds of CPU
        self._collecting_since = 0.0
        self._told = False

    async def run(self, metrics: Metrics) -> None:
        """In place of the worker's own watch."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self.tell)
        while True:
            self.due = time.monotonic() + TICK_S
            before = time.thread_time()
            await asyncio.sleep(TICK_S)
            seconds = max(time.monotonic() - self.due, 0.0)
            worked = time.thread_time() - before
            if self._told:  # a long report takes the loop some milliseconds, which are the bench's own
                self._told = False
                continue
            self.late.append(seconds)
            self.worked.append(worked)
            metrics.loop_lag.observe((), seconds)

    def tell(self) -> None:
        """Writes the report, whole or not at all, and begins anew."""
        self._told = True
        late, self.late = self.late, []
        worked, self.worked = self.worked, []
        stacks, self.stacks = self.stacks, {}
        collections, self.collections = self.collections, []
        found = sorted(stacks.items(), key=lambda item: -item[1][1])[:_MOST_STACKS]
        document = {
            "late_ms": [round(seconds * 1000, 3) for seconds in late],
            "worked_ms": [round(seconds * 1000, 3) for seconds in worked],
            "stacks": [{"stack": stack, "seen": seen, "late_ms": round(ms * 1000, 1)} for stack, (seen, ms) in found],
            "collections_ms": [(generation, round(seconds * 1000, 1)) for generation, seconds in collections],
        }
        unfinished = self._report.with_suffix(".part")
        unfinished.write_text(json.dumps(document))
        unfinished.rename(self._report)

    def explain(self) -> None:
        """Starts looking at stacks and collections."""
        sys.setswitchinterval(0.0005)
        gc.callbacks.append(self._time_collection)
        threading.Thread(target=self._look, args=(threading.get_ident(),), daemon=True).start()

    def _look(self, main_thread: int) -> None:
        while True:
            time.sleep(_LOOK_S)
            late = time.monotonic() - self.due
            if late > _WORTH_A_LOOK_S and (frame := sys._current_frames().get(main_thread)):  # noqa: SLF001 - its documented use
                stack = describe(frame)
                seen, longest = self.stacks.get(stack, (0, 0.0))
                self.stacks[stack] = (seen + 1, max(longest, late))

    def _time_collection(self, phase: str, about: Mapping[str, int]) -> None:
        if phase == "start":
            self._collecting_since = time.thread_time()
        else:
            self.collections.append((about["generation"], time.thread_time() - self._collecting_since))


def describe(frame: FrameType | None) -> str:
    """A stack in one line, from what the event loop called inwards, and where it was just then: `file:line function`."""
    parts: list[str] = []
    while frame is not None:
        code = frame.f_code
        name = code.co_filename.removeprefix(f"{_ROOT}/")
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
    proxy.app._watch_loop = watch.run  # noqa: SLF001 - the one thing that is different here
    if explain:
        watch.explain()
    sys.exit(run_role_process("worker", path, _OWN_INDEX, None))


if __name__ == "__main__":
    main()
