"""Where foreign clients live: an environment of their own each, made on first use from pinned versions and hashes.

Their dependencies contradict one another's and ours, so none of them is in the lock of the tests. A Python family is
`python/NAME.lock` in a virtual environment, an npm family `npm/NAME` with its lock, installed without running anybody's
install scripts. All are kept in `tests/.clients`, or where FAREBOX_CLIENTS says, until their lock changes.
`scripts/client-locks` writes the locks. Where one cannot be installed the test that needs it is skipped with the reason.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
INSTALL_SECONDS = 600
_ROOT = Path(os.environ.get("FAREBOX_CLIENTS") or Path(__file__).parents[2] / ".clients").absolute()


class Unavailable(Exception):
    """This machine cannot install it; the message says why."""


def python_of(family: str) -> Path:
    """The interpreter that has the packages of a family; skips the test where they cannot be installed."""
    return _made_or_skipped("python", family) / "bin" / "python"


def node_modules_of(family: str) -> Path:
    """The folder that has the packages of a family; skips the test where they cannot be installed, or not run."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip(f"{family} cannot be installed or run here: node and npm are not on PATH")
    return _made_or_skipped("npm", family) / "node_modules"


def _made_or_skipped(kind: str, family: str) -> Path:
    home = _made(kind, family)
    if isinstance(home, str):
        pytest.skip(f"{family} cannot be installed here: {home}")
    return home


@cache
def _made(kind: str, family: str) -> Path | str:
    """Where the family is; or why it is not there, found out once a process."""
    try:
        return _make(kind, family)
    except Unavailable as why:
        return str(why)


def _make(kind: str, family: str) -> Path:
    home, stamp = _ROOT / kind / family, _ROOT / kind / f"{family}.stamp"
    lock = HERE / "python" / f"{family}.lock" if kind == "python" else HERE / "npm" / family / "package-lock.json"
    wanted = hashlib.sha256(lock.read_bytes() + sys.version.encode() + kind.encode()).hexdigest()
    with _alone(_ROOT / kind / f"{family}.lock"):
        if not stamp.exists() or stamp.read_text(encoding="ascii") != wanted:
            shutil.rmtree(home, ignore_errors=True)
            if kind == "python":
                _install_python(home, lock)
            else:
                _install_npm(home, lock)
            stamp.write_text(wanted, encoding="ascii")
    return home


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Only one of the parallel test processes installs a family; the others wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install_python(home: Path, lock: Path) -> None:
    uv = (sys.executable, "-m", "uv")
    _run([*uv, "venv", "--quiet", "--python", sys.executable, str(home)])
    _run([*uv, "pip", "install", "--quiet", "--python", str(home), "--require-hashes", "--requirement", str(lock)])


def _install_npm(home: Path, lock: Path) -> None:
    home.mkdir(parents=True)
    for file in (lock, lock.with_name("package.json")):
        shutil.copy(file, home)
    quiet = ("--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
    # Not `npm ci`: a lock leaves out packages for other machines that the registry did not have.
    _run(["npm", "install", "--ignore-scripts", *quiet], folder=home)


def _run(words: Sequence[str], folder: Path | None = None) -> None:
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"`{words[0]}` did not finish in {INSTALL_SECONDS} s") from None
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise Unavailable(f"`{' '.join(words[:4])}` failed: {' / '.join(said[:6])[:1000] or 'it said nothing'}")
