"""How many instructions a call takes in a worker, counted by valgrind's callgrind: the steadiest measure of CPU there is.

The worker starts without being counted (that takes some ten seconds under valgrind all the same), then one client makes calls one after
the other. Two countings of the same code differ by less than a hundredth. The number belongs to one build of Python on one kind of
machine, so it is only compared with itself there.
"""

import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from bench.processes import Cores, free_port, pin, started
from bench.stalls_bed import copied_configuration, wait_until_ready
from bench.subjects.base import Running
from bench.subjects.farebox import _ENVIRONMENT

_WARM_UP, _CALLS = 40, 400  # so many that one collection of garbage more or less does not show
_TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)


def build_of_python() -> str:
    """What numbers of instructions belong to."""
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return f"{platform.python_version()}{'' if optimised else ' without PGO'} on {platform.machine()}"


def instructions(
    subject: Running, directory: Path, cores: Cores, connect: Callable[[int, str], Callable[[int], None]]
) -> float | str:
    """Instructions a call, or why there are none. `connect(port, authorization)` gives what makes so many calls."""
    if not (shutil.which("valgrind") and shutil.which("callgrind_control")):
        return "no instructions are counted: valgrind is not installed"
    assert subject.authorization is not None
    port, out = free_port(), directory / "callgrind.out"
    configuration = directory / "callgrind.toml"
    configuration.write_text(copied_configuration(subject, directory / "callgrind", port))
    valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
    worker = [sys.executable, "-P", "-m", "bench.counted", "--config", str(configuration)]
    command = [*valgrind, *worker, "--report", str(directory / "unused.json")]
    with started(command, directory / "callgrind.log", {**_ENVIRONMENT, "PYTHONHASHSEED": "0"}) as process:
        pin(process.pid, cores.subject)
        try:
            wait_until_ready(port)
        except TimeoutError:
            return "no instructions are counted: the worker does not start under valgrind in time"
        call = connect(port, subject.authorization)
        _control(process.pid, "-i", "on")
        call(_WARM_UP)
        _control(process.pid, "-z")
        call(_CALLS)
        _control(process.pid, "-d")
    found = [int(total) for path in directory.glob(f"{out.name}*") for total in _TOTALS.findall(path.read_text())]
    return max(found) / _CALLS if found else "no instructions are counted: callgrind wrote nothing"


def _control(pid: int, *what: str) -> None:
    subprocess.run(["callgrind_control", *what, str(pid)], capture_output=True, check=True, timeout=10)
