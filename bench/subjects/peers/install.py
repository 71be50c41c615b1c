"""Installing a peer into `bench/.cache/peers/NAME`, once a version of its recipe; never into the project's environment.

A recipe pins the peer, and a day: of everything that it needs, what was the newest on that day is taken, so that the same
recipe installs the same files next year. Nothing that is installed runs a script of its own while it is (wheels only;
`--ignore-scripts`).
"""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import SubjectUnavailableError, find_program

_PLACE = Path(__file__).parents[2] / ".cache" / "peers"
_STAMP = ".installed"
_TIMEOUT = 1800.0
_SHOWN = 400


@dataclass(frozen=True)
class Recipe:
    """A peer of PyPI (`python`) or npm (`node`): exact version, the day, and versions forced on what it needs (`node`)."""

    name: str
    kind: str
    package: str
    version: str
    as_of: str
    overrides: dict[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Return what changes when the recipe or the interpreter does."""
        text = json.dumps([self.kind, self.package, self.version, self.as_of, self.overrides, sys.version])
        return hashlib.sha256(text.encode()).hexdigest()


def installed(recipe: Recipe) -> Path:
    """Return the folder of a peer that `install` has made."""
    return _PLACE / recipe.name


def install(recipe: Recipe, say: Callable[[str], None]) -> None:
    """Install a peer where it is not yet; raises SubjectUnavailableError with the installer's complaint."""
    directory = installed(recipe)
    stamp = directory / _STAMP
    if stamp.exists() and stamp.read_text() == recipe.digest():
        return
    say(f"installing {recipe.package} {recipe.version} into bench/.cache/peers/{recipe.name} (once)")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for command in _python(recipe, directory) if recipe.kind == "python" else _node(recipe, directory):
        _run(command, directory)
    stamp.write_text(recipe.digest())


def _python(recipe: Recipe, directory: Path) -> list[list[str]]:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or find_program("uv")
    target = str(directory / "bin" / "python")
    wanted = f"{recipe.package}=={recipe.version}"
    return [
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(directory)],
        [
            uv,
            "pip",
            "install",
            "--quiet",
            "--only-binary",
            ":all:",
            "--exclude-newer",
            recipe.as_of,
            "--python",
            target,
            wanted,
        ],
    ]


def _node(recipe: Recipe, directory: Path) -> list[list[str]]:
    manifest = {"private": True, "dependencies": {recipe.package: recipe.version}, "overrides": recipe.overrides}
    (directory / "package.json").write_text(json.dumps(manifest))
    options = ["--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts", f"--before={recipe.as_of}"]
    return [[find_program("npm"), "install", *options]]


def _run(command: list[str], directory: Path) -> None:
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise SubjectUnavailableError(f"its installation took more than {_TIMEOUT:.0f} s") from error
    if done.returncode != 0:
        complaint = " ".join((done.stderr or done.stdout).split())[-_SHOWN:]
        raise SubjectUnavailableError(f"it could not be installed: {complaint}")
