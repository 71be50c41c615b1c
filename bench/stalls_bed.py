"""Where stalls are measured: an installation, one closely watched worker on the subject's core, a bare timer beside it.

The installation's own worker serves nothing and runs elsewhere. The watched one works on the same Redis and the same database with a
copy of the configuration: another port, a state directory of its own, and 300 more prices, as many as a real one may have.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TextIO

from bench.generator import PATH, Exchange, Target, run_load
from bench.native import build
from bench.processes import Cores, free_port, pin, started, wait_for_port, wait_for_report
from bench.scenarios import Scenario
from bench.subjects.base import Place, Running
from bench.subjects.farebox import _ENVIRONMENT, ask, farebox

_READY_TIMEOUT_S = 30.0
_PRICES = "".join(f'[prices."model-{number}"]\ninput = "1.00"\noutput = "2.00"\n' for number in range(300))
_LEFT_AFTER_BYTES = 400_000


@dataclass(frozen=True)
class Seen:
    """One condition: how late (ms) worker and bare timer were, each time; what the worker did in its longest turns.

    Of the worker's loop from one look to the next: `waited_ms` for a core that it could have used, `worked_ms` of CPU.
    """

    late_ms: list[float]
    waited_ms: list[float]
    bare_ms: list[float]
    worked_ms: list[float] = field(default_factory=list)
    by_work: list[dict[str, Any]] = field(default_factory=list)
    by_clock: list[dict[str, Any]] = field(default_factory=list)
    collections_ms: list[tuple[int, float]] = field(default_factory=list)

    @property
    def held_up_ms(self) -> list[float]:
        """How late the loop was each time, had it had a core whenever it wanted one."""
        return [max(late - waited, 0.0) for late, waited in zip(self.late_ms, self.waited_ms, strict=True)]

    def as_json(self) -> dict[str, object]:
        """What is kept: the long ones, and how many looks there were."""
        return {
            "looks": len(self.late_ms),
            "late_ms": sorted((ms for ms in self.late_ms if ms > 1), reverse=True)[:200],
            "worked_ms": sorted((ms for ms in self.worked_ms if ms > 1), reverse=True)[:200],
            "waited_ms": sorted((ms for ms in self.waited_ms if ms > 1), reverse=True)[:200],
            "held_up_ms": sorted((ms for ms in self.held_up_ms if ms > 1), reverse=True)[:200],
            "bare_looks": len(self.bare_ms),
            "bare_ms": sorted((ms for ms in self.bare_ms if ms > 1), reverse=True)[:200],
            "by_work": self.by_work,
            "by_clock": self.by_clock,
            "collections_ms": sorted(self.collections_ms, key=lambda one: -one[1])[:20],
        }


@dataclass(frozen=True)
class Bed:
    """The worker under watch: where it answers, and how to learn what it saw. `upstream`: the mock provider's process."""

    port: int
    authorization: str
    worker: int
    manager_key: str
    report: Path
    bare: "subprocess.Popen[str]"
    learn: Callable[[Scenario], Exchange]
    seconds: float = 3.0
    upstream: int = 0

    def load(self, scenario: Scenario, at_full_load: Callable[[], None] | None = None) -> None:
        """Put a load on it; `at_full_load` is called shortly before its end. Raises LoadFailedError."""
        target = Target(self.port, self.authorization, [self.worker])
        run_load(build("load"), scenario, self.learn(scenario), target, at_full_load)

    def seen(self) -> Seen:
        """What both saw since the last time this was asked."""
        told, bare = self._told()
        return Seen(bare_ms=bare, **told)

    def _told(self) -> tuple[Mapping[str, Any], list[float]]:
        self.report.unlink(missing_ok=True)
        os.kill(self.worker, signal.SIGUSR1)
        told = json.loads(wait_for_report(self.report))
        asked, answered = _pipes(self.bare)
        asked.write("\n")
        asked.flush()
        return told, json.loads(answered.readline())


class Leavers:
    """Clients that open a stream, read some of it and leave: there is no usage to charge by, so it is counted."""

    def __init__(self, here: Bed, clients: int, prompt_bytes: int) -> None:
        scenario = Scenario("leave", "leave", "bench-flat", 1, 1.0, prompt_bytes=prompt_bytes)
        body = scenario.body()[:-1] + b',"stream":true}'
        head = f"POST {PATH} HTTP/1.1\r\nhost: bench\r\nauthorization: {here.authorization}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._request, self._port, self._over = head.encode() + body, here.port, threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]
        self.left = 0

    def __enter__(self) -> Self:
        """Begins."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends with the streams in hand."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self._port), timeout=10) as client,
            ):
                client.sendall(self._request)
                read = 0
                while read < _LEFT_AFTER_BYTES and (piece := client.recv(65536)):
                    read += len(piece)
                self.left += 1


@contextlib.contextmanager
def bed(
    directory: Path,
    database: Path,
    cores: Cores,
    upstream_port: int,
    learn: Callable[[Scenario], Exchange],
    *,
    explain: bool,
) -> Iterator[Bed]:
    """The installation, the worker and the bare timer, for the length of the block."""
    with farebox(Place(upstream_port, directory, cores, database)) as subject:
        assert subject.configuration is not None
        assert subject.authorization is not None
        for worker in subject.workers:
            pin(worker, cores.rest[0])
        key = str(ask(subject.configuration, "key", "create", "bench", "--manager")["key"])
        report, log = directory / "late.json", directory / "watched.log"
        port = free_port()
        configuration = directory / "watched.toml"
        configuration.write_text(copied_configuration(subject, directory / "watched", port) + _PRICES)
        command = [sys.executable, "-P", "-m", "bench.watched", "--config", str(configuration), "--report", str(report)]
        with started([*command, *(["--explain"] if explain else [])], log, _ENVIRONMENT) as process:
            wait_for_port(port, process, log)
            pin(process.pid, cores.subject)
            wait_until_ready(port)
            with _bare_timer(cores) as bare:
                yield Bed(port, subject.authorization, process.pid, key, report, bare, learn)


def copied_configuration(subject: Running, state: Path, port: int) -> str:
    """An installation's configuration for one more worker: another port, a state directory of its own, room for any load."""
    assert subject.configuration is not None
    text = subject.configuration.read_text().replace(f'"127.0.0.1:{subject.port}"', f'"127.0.0.1:{port}"')
    text = re.sub(r'state_dir = ".*"', f'state_dir = "{state}"', text)
    return re.sub(r"max_connections = \d+", "max_connections = 8192", text)


def wait_until_ready(port: int) -> None:
    """Return once a worker takes paid calls. Raises TimeoutError."""
    give_up_at = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < give_up_at:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError):
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.client.OK:
                return
        time.sleep(0.1)
    raise TimeoutError("the watched worker does not become ready")


@contextlib.contextmanager
def _bare_timer(cores: Cores) -> Iterator["subprocess.Popen[str]"]:
    """On the core of the worker: what happens to it happens to both."""
    command = [sys.executable, "-P", "-m", "bench.bare_timer"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, **_ENVIRONMENT}, **pipes) as process:
        pin(process.pid, cores.subject)
        try:
            yield process
        finally:
            _pipes(process)[0].close()
            process.wait()


def _pipes(process: "subprocess.Popen[str]") -> tuple[TextIO, TextIO]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout  # type: ignore[return-value] # text streams, since `text` was asked for


def reasons(turn: Mapping[str, Any]) -> list[str]:
    """A long turn as lines: what it took, and what was seen of it, each stack after so many milliseconds of CPU."""
    lines = [
        f"- {turn['worked_ms']:.1f} ms of CPU, late by {turn['late_ms']:.1f} ms, {turn['waited_ms']:.1f} of them for a core"
    ]
    return lines + [f"    - {worked:.1f}: {what}" for worked, what in turn["looks"]]
