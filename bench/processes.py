"""Starting, pinning and weighing processes: what the bench needs from Linux's /proc.

Sizes are bytes. A process that the bench started never outlives it: each one is ended by the block that started it.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_START_TIMEOUT = 20.0
_STOP_TIMEOUT = 15.0
_REPORT_TIMEOUT = 30.0


class ProcessGoneError(Exception):
    """A process that was being measured has ended."""


class SubjectUnavailableError(Exception):
    """A subject cannot be measured on this machine; the message says why."""


@dataclass(frozen=True)
class Memory:
    """What a process occupies: resident, and its proportional share of what it has in common with others."""

    rss_bytes: int
    pss_bytes: int


@dataclass(frozen=True)
class Cores:
    """Which CPU the subject's worker runs on, which a second worker would (None: there is none to spare), and the others."""

    subject: int
    second: int | None
    rest: tuple[int, ...]


def divide_cores() -> Cores:
    """Give the subject the first CPU that we may use, of four or more a second one, and the rest of the bench the others."""
    first, *others = sorted(os.sched_getaffinity(0))
    if len(others) < 3:
        return Cores(first, None, tuple(others) or (first,))
    return Cores(first, others[0], tuple(others[1:]))


@contextlib.contextmanager
def started(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for the length of the block, its output in `log`; ended by SIGTERM, then SIGKILL."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_report(path: Path) -> str:
    """Return the text of a file that a process was asked to write, whole as soon as it is there. Raises TimeoutError."""
    give_up_at = time.monotonic() + _REPORT_TIMEOUT
    while not path.exists():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"no report in {path.name}")
        time.sleep(0.01)  # another process writes it, and nothing here is measured meanwhile
    return path.read_text()


def find_program(*names: str) -> str:
    """Return the first of these programs that is installed; raises SubjectUnavailableError when none is."""
    for name in names:
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
        if found:
            return found
    raise SubjectUnavailableError(f"{' or '.join(names)} is not installed")


def free_port() -> int:
    """Return a TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path, timeout: float = _START_TIMEOUT) -> None:
    """Return once something listens; raises SubjectUnavailableError with the log's end when the process gives up."""
    give_up_at = time.monotonic() + timeout
    while time.monotonic() < give_up_at and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise SubjectUnavailableError(f"did not listen on port {port}: {tail(log)}")


def tail(log: Path) -> str:
    """Return the end of a log, for a message."""
    return log.read_text(errors="replace")[-500:].strip()


def pin(pid: int, cpu: int) -> None:
    """Bind every thread of a process to one CPU; threads that it starts later inherit that."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), (cpu,))


def children(pid: int) -> list[int]:
    """Return the pids of a process's children, oldest first."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return sorted(found)


def descendants(pid: int) -> list[int]:
    """Return the pids of a process's children and theirs."""
    direct = children(pid)
    return direct + [deeper for child in direct for deeper in descendants(child)]


def command_line(pid: int) -> list[str]:
    """Return the arguments that a process was started with; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def memory(pids: Sequence[int]) -> Memory:
    """Return what these processes occupy together."""
    sizes = [_sizes(pid) for pid in pids]
    return Memory(sum(size["Rss"] for size in sizes), sum(size["Pss"] for size in sizes))


def _sizes(pid: int) -> dict[str, int]:
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        sizes[name.rstrip(":")] = int(value) * 1024
    return sizes


def cpu_ns(pid: int) -> int:
    """Return the CPU time that all threads of a process have used, in nanoseconds (whole ticks without schedstat).

    Raises ProcessGoneError.
    """
    if not Path(f"/proc/{pid}").exists():
        raise ProcessGoneError(f"process {pid} has ended")
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
    except FileNotFoundError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))
