"""A part of a CPU for a process, by the kernel's control groups: version 2, or 1 with its `cpu` controller.

For what needs more CPUs than there are: two workers with a third of a core each show what they gain on one, as two whole
cores would, and leave enough for Redis, upstream and load.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from bench.processes import SubjectUnavailableError

_PERIOD_US = 10_000  # short, so that a worker never stands still for long
_ROOT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def part_of_a_core(share: float, name: str) -> Iterator[Path]:
    """A group whose processes get that share of one CPU together; raises SubjectUnavailableError where none can be made.

    Its processes must have ended when the block does. To put one in: `join`.
    """
    unified = (_ROOT / "cgroup.controllers").exists()
    group = (_ROOT if unified else _ROOT / "cpu") / f"farebox-bench-{os.getpid()}-{name}"
    try:
        group.mkdir()
    except OSError as error:
        raise SubjectUnavailableError(f"it needs four cores, or control groups to divide two: {error}") from error
    try:
        quota_us = round(share * _PERIOD_US)
        if unified:
            (group / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
        yield group
    except OSError as error:
        raise SubjectUnavailableError(f"it needs four cores, or control groups to divide two: {error}") from error
    finally:
        group.rmdir()


def join(group: Path, pid: int) -> None:
    """Put a process with all of its threads into a group."""
    (group / "cgroup.procs").write_text(str(pid))
