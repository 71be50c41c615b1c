"""`python -m bench.counted --config FILE --report FILE`: one worker of Farebox that counts the functions it calls.

Between SIGUSR1 and SIGUSR2: how often each function was entered (a coroutine counts each time it goes on), and each function in C that
Python code called. What C code calls by itself is not seen. What a worker does every so often, calls or none (metrics, looks at the
lag, sweeps), is switched off: a machine's speed does not change these numbers then.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import click

from bench.inside import Witness, by_name, serve
from proxy.tasks import Tasks

_OWN_INDEX = 91


class Count(Witness):
    """What was called since counting began, in the thread of the event loop."""

    def __init__(self, report: Path) -> None:
        super().__init__(report)
        self._entered: Counter[CodeType] = Counter()
        self._in_c: Counter[str] = Counter()

    def begin(self) -> None:
        """From now on it counts."""
        self._entered.clear()
        self._in_c.clear()
        sys.setprofile(self._count)

    def end(self) -> Mapping[str, object]:
        """Numbers by function, of Python's and of C's."""
        sys.setprofile(None)
        return {"python": by_name(self._entered), "c": self._in_c}

    def _count(self, frame: FrameType, event: str, what: Any) -> None:
        if event == "call":
            self._entered[frame.f_code] += 1
        elif event == "c_call":
            self._in_c[f"{what.__module__ or ''}.{what.__qualname__}".lstrip(".")] += 1


async def _never() -> None:
    await asyncio.Event().wait()


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), required=True)
@click.option("--report", type=click.Path(path_type=Path), required=True)
def main(*, path: Path, report: Path) -> None:
    """Run the worker until SIGTERM."""
    Tasks.every = lambda tasks, name, interval_s, step: tasks.spawn(name, _never())  # type: ignore[method-assign] # noqa: ARG005
    serve(Count(report).run, path, _OWN_INDEX)


if __name__ == "__main__":
    main()
