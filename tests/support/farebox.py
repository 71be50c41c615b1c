"""A whole Farebox as a process of its own: `farebox dev` or `farebox serve`, and commands beside it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support import command_line
from tests.support.command_line import Said
from tests.support.processes import until

ROOT = Path(__file__).parents[2]
PYTHON = (sys.executable, "-m", "proxy")
START_SECONDS = 60.0


def environment(**extra: str) -> dict[str, str]:
    """Ours without anybody's keys and configuration, and with the checkout on the import path."""
    private = ("_API_KEY", "_BASE_URL", "_AUTH_TOKEN")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.endswith(private) and not name.startswith(("FAREBOX_", "PYTEST_"))
    }
    return kept | {"PYTHONPATH": str(ROOT)} | extra


class Farebox:
    """One running Farebox. `output` is everything that it has said so far, on both streams."""

    def __init__(self, words: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*PYTHON, *words],
            cwd=folder,
            env=environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, seconds: float = START_SECONDS) -> re.Match[str]:
        """The first match in what it says; fails the test when it ends or stays silent instead."""
        found: list[re.Match[str]] = []

        def looked() -> bool:
            match = re.search(pattern, self.output, re.MULTILINE)
            if match is not None:
                found.append(match)
            assert found or self.process.poll() is None, f"it ended ({self.process.returncode}):\n{self.output}"
            return bool(found)

        until(looked, seconds)
        return found[0]

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 60.0) -> int:
        """Asks it to stop and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def kill(self) -> None:
        """kill -9."""
        self.stop(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.kill()
        else:
            self.stop()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))


class Dev(Farebox):
    """`farebox dev` on free ports with its data in `folder/farebox-data`; `report` is its dev.json."""

    def __init__(self, folder: Path, *words: str, env: Mapping[str, str] | None = None) -> None:
        super().__init__(["dev", "--port", "0", "--admin-port", "0", *words], folder, env)
        self.report: dict[str, str] = {}

    def ready(self) -> "Dev":
        """Waits until it serves."""
        self.wait_for("^curl ")
        self.report = json.loads((self.folder / "farebox-data" / "dev.json").read_text(encoding="utf-8"))
        return self


def command(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> Said:
    """Runs one `farebox ...` in a folder and returns its exit code and what it said."""
    return command_line.farebox(words, folder=folder, env=environment(**(env or {})))


def program(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The same as a process of its own: what starts others, and what is to be seen from outside."""
    return subprocess.run(
        [*PYTHON, *words],
        cwd=folder,
        env=environment(**(env or {})),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def command_json(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> Any:
    """What a successful command says with `--json`."""
    done = command(folder, *words, "--json", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def command_lines(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> list[Any]:
    """What a successful command says with `--json` when it is one object a line."""
    done = command(folder, *words, "--json", env=env)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
