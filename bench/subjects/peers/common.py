"""What all peers have in common: a process that is started, asked until it answers, and bound to the subject's core."""

import contextlib
import http.client
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.generator import Manner
from bench.processes import SubjectUnavailableError, command_line, descendants, pin, started, tail
from bench.scenarios import SCENARIOS, Scenario
from bench.subjects.base import Place, Running

_READY_TIMEOUT = 240.0  # imports of a gateway in Python take half a minute of a busy core
_END_TIMEOUT = 5.0
MODELS = sorted({scenario.model for scenario in SCENARIOS if not scenario.tls})
_SMALL = Scenario(name="ready", title="a call", model="bench-small", connections=1, interval=0.1)


@dataclass(frozen=True)
class Launch:
    """A command that serves on a port, and how it wants to be asked; `version` is shown beside its name."""

    name: str
    version: str
    command: Sequence[str | Path]
    port: int
    manner: Manner = field(default_factory=Manner)
    authorization: str | None = None
    notes: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def launched(place: Place, launch: Launch, prepare: Callable[[Launch], Launch] | None = None) -> Iterator[Running]:
    """Run a peer for the length of the block; its process without children is the worker, those above it run beside.

    `prepare` finds out what is known only once it runs, such as its port, and raises OSError while it cannot.
    Raises SubjectUnavailableError where the peer does not answer.
    """
    log = place.directory / f"{launch.name}.log"
    environment = {"HOME": str(place.directory), **launch.environment}
    with started(launch.command, log, environment) as process, _children_end_with(process):
        launch = _until_answered(launch, process, log, prepare)
        family = [process.pid, *descendants(process.pid)]
        workers = tuple(pid for pid in family if not descendants(pid))
        parents = [pid for pid in family if pid not in workers]
        for worker in workers:
            pin(worker, place.cores.subject)
        yield Running(
            port=launch.port,
            workers=workers,
            beside={f"parent {number}": pid for number, pid in enumerate(parents, 1)},
            authorization=launch.authorization,
            versions={launch.name: launch.version},
            notes=launch.notes,
            log=log,
            manner=launch.manner,
        )


@contextlib.contextmanager
def _children_end_with(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """End what a peer has started: not every one does so itself when it is told to end."""
    try:
        yield
    finally:
        left = descendants(process.pid) if process.poll() is None else []
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal_number)
            give_up_at = time.monotonic() + _END_TIMEOUT
            while left and time.monotonic() < give_up_at:
                left = [pid for pid in left if command_line(pid)]  # a zombie has none
                time.sleep(0.05)


def _until_answered(
    launch: Launch, process: "subprocess.Popen[bytes]", log: Path, prepare: Callable[[Launch], Launch] | None
) -> Launch:
    """Ask a small call until it is answered with 200: a gateway may listen long before it can serve."""
    give_up_at = time.monotonic() + _READY_TIMEOUT
    heard, ready = "no answer", None if prepare else launch
    while time.monotonic() < give_up_at and process.poll() is None:
        with contextlib.suppress(OSError):
            if prepare and not ready:
                ready = prepare(launch)
            if ready:
                status, heard = _ask(ready)
                if status == 200:
                    return ready
        time.sleep(0.3)
    raise SubjectUnavailableError(f"it did not come to serve: {heard}; its log ends: {tail(log)}")


def _ask(launch: Launch) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", launch.port, timeout=30)
    headers = {"content-type": "application/json"}
    headers |= dict(header.split(": ", 1) for header in launch.manner.headers)
    if launch.authorization:
        headers["authorization"] = launch.authorization
    body = replace(_SMALL, model=launch.manner.model_prefix + _SMALL.model).body()
    try:
        connection.request("POST", launch.manner.path, body, headers)
        answer = connection.getresponse()
        return answer.status, f"status {answer.status}: {answer.read()[:200].decode(errors='replace')}"
    except http.client.HTTPException as error:
        return 0, str(error)
    finally:
        connection.close()
