"""Worker processes of the bench: a usual worker of Farebox, with somebody inside who notes what it does.

They take the place of the worker's own watch of its loop, the one place where it lets others in. SIGUSR1 begins, SIGUSR2 ends and
writes what was noted to a report (JSON), whole or not at all.
"""

import asyncio
import json
import signal
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import CodeType
from typing import Any, NoReturn

import proxy.app
from proxy.metrics import Metrics
from proxy.roles import run_role_process

ROOT = str(Path(__file__).parents[1])


class Witness(ABC):
    """Notes something between two signals."""

    def __init__(self, report: Path) -> None:
        self._report = report

    async def run(self, _: Metrics) -> None:
        """In place of the worker's watch of the loop."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self.begin)
        loop.add_signal_handler(signal.SIGUSR2, lambda: write_whole(self._report, self.end()))
        await asyncio.Event().wait()

    @abstractmethod
    def begin(self) -> None:
        """Begins anew."""

    @abstractmethod
    def end(self) -> Mapping[str, object]:
        """Notes no more; what the report is to say."""


def serve(watch: Callable[[Metrics], Coroutine[Any, Any, None]], path: Path, index: int) -> NoReturn:
    """Runs the worker until SIGTERM, with `watch` in it. `index`: a number that none of the supervisor's workers has."""
    proxy.app._watch_loop = watch  # noqa: SLF001 - see above
    sys.exit(run_role_process("worker", path, index, None))


def write_whole(report: Path, document: Mapping[str, object]) -> None:
    """Writes a report so that nobody reads half of it."""
    unfinished = report.with_suffix(".part")
    unfinished.write_text(json.dumps(document))
    unfinished.rename(report)


def name_of(code: CodeType) -> str:
    """`file:function`, the file as seen from this project or by its last two parts."""
    path = code.co_filename
    known = path.removeprefix(f"{ROOT}/")
    if known == path or known.startswith(".venv"):
        known = "/".join(Path(path).parts[-2:])
    return f"{known}:{code.co_qualname}"


def by_name(found: Counter[CodeType]) -> Counter[str]:
    """The same numbers under `name_of`."""
    names: Counter[str] = Counter()
    for code, times in found.items():
        names[name_of(code)] += times
    return names
