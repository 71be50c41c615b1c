"""Compiles the two C programs of the bench, once a version of their sources.

They are in C so that they are not what is measured: the mock upstream answers a call in some 5 us, and the load
generator asks as cheaply. The programs land in `bench/.cache/`, named by a digest of sources and flags.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

_HERE = Path(__file__).parent
_FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


class NoCompilerError(Exception):
    """No C compiler was found, and without one there is nothing to measure with."""


def build(name: str) -> Path:
    """Return the program made from `native/<name>.c`, compiling it when its sources are new.

    Raises NoCompilerError, and subprocess.CalledProcessError where the compiler refuses the source.
    """
    source = _HERE / "native" / f"{name}.c"
    digest = hashlib.sha256(" ".join(_FLAGS).encode())
    for part in (source, source.with_name("common.h")):
        digest.update(part.read_bytes())
    program = _HERE / ".cache" / f"{name}-{digest.hexdigest()[:16]}"
    if not program.exists():
        program.parent.mkdir(exist_ok=True)
        # Compiled aside and moved into place: a run that is stopped half-way leaves no broken program.
        unfinished = program.with_suffix(f".{os.getpid()}")
        subprocess.run([_compiler(), *_FLAGS, "-o", unfinished, source], check=True)
        unfinished.rename(program)
    return program


def _compiler() -> str:
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise NoCompilerError("the bench needs a C compiler (cc, gcc or clang on PATH, or CC): its load generator is in C")
