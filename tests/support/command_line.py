"""The command line without a process of its own: the very code of `farebox ...`, in a thread of the test's process.

A process would spend half a second on its imports, and tests give hundreds of commands. That the program prints and ends as
a process is shown in tests/end_to_end/test_cli.py.
"""

import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.cli.root import run

_PROCESS = threading.Lock()  # standard output, the working folder and the environment are the process's


@dataclass
class Said:
    """What came of a command: its exit code and both streams."""

    returncode: int = -1
    stdout: str = ""
    stderr: str = ""


def farebox(
    words: Sequence[str], timeout_s: float = 60, *, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> Said:
    """Runs one command with nobody to ask, in `folder` and with the whole environment `env` where they are given.

    It has a thread, because the test may run in an event loop and the command brings its own.
    """
    said, output, errors, before = Said(), io.StringIO(), io.StringIO(), sys.stdin

    def work() -> None:
        said.returncode = run(list(words))

    where = contextlib.nullcontext() if folder is None else contextlib.chdir(folder)
    with _PROCESS, where, _environment(env), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        sys.stdin = io.StringIO()
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(timeout_s)
        sys.stdin = before
        assert not thread.is_alive(), f"farebox {' '.join(words)} did not end within {timeout_s} s"
    said.stdout, said.stderr = output.getvalue(), errors.getvalue()
    return said


@contextlib.contextmanager
def _environment(env: Mapping[str, str] | None) -> Iterator[None]:
    kept = dict(os.environ)
    try:
        if env is not None:
            os.environ.clear()
            os.environ.update(env)
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
