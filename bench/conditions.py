"""Under which conditions a run was made: without them its figures mean nothing."""

import os
import platform
import subprocess
import sysconfig
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.processes import Cores

_ROOT = Path(__file__).parent.parent
_GLANCE = 0.5


@dataclass(frozen=True)
class Conditions:
    """Machine, versions and manner of a run. `others_busy`: what each core did just before it, as a share of 1."""

    date: str
    commit: str
    changed: bool
    cpu: str
    cores: int
    kernel: str
    system: str
    python: str
    versions: dict[str, str]
    subject_cpu: int
    rest_cpus: tuple[int, ...]
    others_busy: tuple[float, ...]
    rounds: int
    quick: bool

    def as_json(self) -> dict[str, object]:
        """Return the conditions as a JSON object."""
        return asdict(self)


def observe(cores: Cores, rounds: int, *, quick: bool) -> Conditions:
    """Look at the machine as it is before the first load; takes half a second. Versions of subjects come later."""
    return Conditions(
        date=datetime.now(UTC).date().isoformat(),
        commit=_git("rev-parse", "--short", "HEAD") or "no-commit",
        changed=bool(_git("status", "--porcelain", "--", "proxy", "bench", ":!bench/results")),
        cpu=_cpu_model(),
        cores=os.cpu_count() or 0,
        kernel=platform.release(),
        system=_system(),
        python=_python(),
        versions={},
        subject_cpu=cores.subject,
        rest_cpus=cores.rest,
        others_busy=_others_busy(sorted({cores.subject, *cores.rest})),
        rounds=rounds,
        quick=quick,
    )


def _git(*arguments: str) -> str:
    """Return what git says, nothing where this is no checkout."""
    try:
        answer = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return answer.stdout.strip()


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _python() -> str:
    """The version, and whether the interpreter was built without what makes it quick: every Python subject pays for that."""
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return platform.python_version() + ("" if optimised else " (built without profile-guided optimisation)")


def _others_busy(cpus: list[int]) -> tuple[float, ...]:
    before = _ticks()
    time.sleep(_GLANCE)
    after = _ticks()
    shares = []
    for cpu in cpus:
        busy, total = (after[cpu][i] - before[cpu][i] for i in (0, 1))
        shares.append(round(busy / total, 2) if total else 0.0)
    return tuple(shares)


def _ticks() -> dict[int, tuple[int, int]]:
    """Per CPU: ticks that were not idle, and all ticks."""
    ticks = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name != "cpu":
            counts = [int(value) for value in values[:8]]
            ticks[int(name[3:])] = (sum(counts) - counts[3] - counts[4], sum(counts))
    return ticks
