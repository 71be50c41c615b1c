"""`python -m bench.sampled --config FILE --report FILE`: one worker of Farebox that notes where its CPU time goes.

Between SIGUSR1 and SIGUSR2 the operating system interrupts the worker every few ms of CPU time that it took (what it did in the kernel
included), and the function that runs then is noted, with those that it was called by. Work in C counts for the Python function that
asked for it; what the event loop does by itself (waiting, reading from sockets) for the first function that runs after it.
"""

import signal
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, FrameType

import click

from bench.inside import Witness, by_name, serve

_OWN_INDEX = 92
_EVERY_S = 0.001  # the system rounds it up to its own tick


class Samples(Witness):
    """Where the worker was at each interruption."""

    def __init__(self, report: Path) -> None:
        super().__init__(report)
        self._own: Counter[CodeType] = Counter()
        self._within: Counter[CodeType] = Counter()
        self._began_s = 0.0

    def begin(self) -> None:
        """From now on it is interrupted."""
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

    def end(self) -> Mapping[str, object]:
        """Seconds of CPU, and by function how often it was the one that ran, and how often among those that had called it."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        cpu_s = time.process_time() - self._began_s
        return {"cpu_s": cpu_s, "own": by_name(self._own), "within": by_name(self._within)}


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), required=True)
@click.option("--report", type=click.Path(path_type=Path), required=True)
def main(*, path: Path, report: Path) -> None:
    """Run the worker until SIGTERM."""
    serve(Samples(report).run, path, _OWN_INDEX)


if __name__ == "__main__":
    main()
