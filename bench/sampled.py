"""`python -m bench.sampled --config FILE --report FILE`: one worker of Farebox that notes where its CPU time goes.

SIGUSR1 begins, SIGUSR2 ends and writes the report (JSON). In between the operating system interrupts the worker every few ms of CPU
time that it took (what it did in the kernel included), and the function that runs then is noted, with those that it was called by. Work in C
counts for the Python function that asked for it; what the event loop does by itself (waiting, reading from sockets) for the first
function that runs after it.
"""

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

import click

import proxy.app
from bench.counted import name_of
from proxy.metrics import Metrics
from proxy.roles import run_role_process

_OWN_INDEX = 92  # no worker of the supervisor's has this number
_EVERY_S = 0.001  # the system rounds it up to its own tick


class Samples:
    """Where the worker was at each interruption."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._own: Counter[CodeType] = Counter()
        self._within: Counter[CodeType] = Counter()
        self._began_s = 0.0

    async def run(self, _: Metrics) -> None:
        """In place of the worker's watch of the loop."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._begin)
        loop.add_signal_handler(signal.SIGUSR2, self._end)
        await asyncio.Event().wait()

    def _begin(self) -> None:
        self._own.clear()
        self._within.clear()
        self._began_s = time.process_time()
        signal.signal(signal.SIGPROF, self._note)
        signal.setitimer(signal.ITIMER_PROF, _EVERY_S, _EVERY_S)

    def _note(self, _: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self._own[frame.f_code] += 1
        above = set()
        while frame is not None:
            above.add(frame.f_code)
            frame = frame.f_back
        self._within.update(above)

    def _end(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        found = {"cpu_s": time.process_time() - self._began_s, "own": _named(self._own), "within": _named(self._within)}
        unfinished = self._report.with_suffix(".part")
        unfinished.write_text(json.dumps(found))
        unfinished.rename(self._report)


def _named(found: Counter[CodeType]) -> Counter[str]:
    names: Counter[str] = Counter()
    for code, times in found.items():
        names[name_of(code)] += times
    return names


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), required=True)
@click.option("--report", type=click.Path(path_type=Path), required=True)
def main(*, path: Path, report: Path) -> None:
    """Run the worker until SIGTERM."""
    proxy.app._watch_loop = Samples(report).run  # noqa: SLF001 - the one place where a worker lets others in
    sys.exit(run_role_process("worker", path, _OWN_INDEX, None))


if __name__ == "__main__":
    main()
