"""The subjects of one round: started in their order, each stoppable alone, all ended with the block."""

import contextlib
import subprocess
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.figures import Results
from bench.processes import SubjectUnavailableError
from bench.subjects import PEERS, SUBJECTS, Place, Running


class Stage:
    """Those that run, by name; what they say of themselves goes into the results, and why one does not run."""

    def __init__(self, directory: Path, place: Place, results: Results) -> None:
        self.running: dict[str, Running] = {}
        self._directory = directory
        self._place = place
        self._results = results
        self._stacks: dict[str, contextlib.ExitStack] = {}
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as all_of_them:  # one that cannot be ended keeps none of the others
            for stack in self._stacks.values():
                all_of_them.push(stack)

    def start(self, name: str) -> None:
        """Start a subject in a directory of its own; one that cannot run is noted in the results."""
        self._started += 1
        own = self._directory / f"{self._started}-{name}"
        own.mkdir()
        stack = contextlib.ExitStack()
        try:
            subject = stack.enter_context((SUBJECTS | PEERS)[name](replace(self._place, directory=own)))
        except (SubjectUnavailableError, subprocess.CalledProcessError) as error:
            self._results.unavailable[name] = str(error)
            return
        self.running[name], self._stacks[name] = subject, stack
        self._results.versions |= subject.versions
        self._results.notes[name] = subject.notes
        if not subject.manner.exact:
            self._results.rewriting.add(name)

    def stop(self, name: str) -> None:
        """End a subject; nothing where it does not run."""
        self.running.pop(name, None)
        if stack := self._stacks.pop(name, None):
            stack.close()
