"""`python -m bench.counted --config FILE --report FILE`: one worker of Farebox that counts the functions it calls.

SIGUSR1 begins to count, SIGUSR2 ends it and writes the report (JSON): how often each function was entered (a coroutine counts each
time it goes on), and each function in C that Python code called. What C code calls by itself is not seen. What a worker does every so
often, calls or none (metrics, looks at the lag, sweeps), is switched off: a machine's speed does not change these numbers then.
"""

import asyncio
import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import click

import proxy.app
from proxy.metrics import Metrics
from proxy.roles import run_role_process
from proxy.tasks import Tasks

_OWN_INDEX = 91  # no worker of the supervisor's has this number
_ROOT = str(Path(__file__).parents[1])


class Count:
    """What was called since counting began, in the thread of the event loop."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._entered: Counter[CodeType] = Counter()
        self._in_c: Counter[str] = Counter()

    async def run(self, _: Metrics) -> None:
        """In place of the worker's watch of the loop."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._begin)
        loop.add_signal_handler(signal.SIGUSR2, self._end)
        await asyncio.Event().wait()

    def _begin(self) -> None:
        self._entered.clear()
        self._in_c.clear()
        sys.setprofile(self._count)

    def _end(self) -> None:
        sys.setprofile(None)
        entered: Counter[str] = Counter()
        for code, times in self._entered.items():
            entered[name_of(code)] += times
        unfinished = self._report.with_suffix(".part")
        unfinished.write_text(json.dumps({"python": entered, "c": self._in_c}))
        unfinished.rename(self._report)

    def _count(self, frame: FrameType, event: str, what: Any) -> None:
        if event == "call":
            self._entered[frame.f_code] += 1
        elif event == "c_call":
            self._in_c[f"{what.__module__ or ''}.{what.__qualname__}".lstrip(".")] += 1


def name_of(code: CodeType) -> str:
    """`file:function`, the file as seen from this project or by its last two parts."""
    path = code.co_filename
    known = path.removeprefix(f"{_ROOT}/")
    if known == path or known.startswith(".venv"):
        known = "/".join(Path(path).parts[-2:])
    return f"{known}:{code.co_qualname}"


async def _never() -> None:
    await asyncio.Event().wait()


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), required=True)
@click.option("--report", type=click.Path(path_type=Path), required=True)
def main(*, path: Path, report: Path) -> None:
    """Run the worker until SIGTERM."""
    count = Count(report)
    Tasks.every = lambda tasks, name, interval_s, step: tasks.spawn(name, _never())  # type: ignore[method-assign] # noqa: ARG005
    proxy.app._watch_loop = count.run  # noqa: SLF001 - nor this
    sys.exit(run_role_process("worker", path, _OWN_INDEX, None))


if __name__ == "__main__":
    main()
