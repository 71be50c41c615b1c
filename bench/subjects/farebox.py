"""Farebox with full metering, as it is run: `farebox serve` with one worker, a Redis, SQLite, an account and a key.

Nothing is switched off: the key has a request and a token limit (too high to be reached), each call is authenticated,
held, settled and recorded, and metrics are counted. Redis appends to its file every second. Only the worker has the
subject's core; Redis, recorder, reaper, operator and supervisor run beside, on the cores of the rest.
"""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from bench.names import PART
from bench.processes import (
    SubjectUnavailableError,
    command_line,
    descendants,
    free_port,
    pin,
    started,
    tail,
    wait_for_port,
)
from bench.quota import join, part_of_a_core
from bench.scenarios import SCENARIOS
from bench.subjects.base import Place, Running
from bench.subjects.insight import look

_READY_TIMEOUT = 60.0
_COMMAND = [sys.executable, "-P", "-m", "proxy"]
_ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).parents[2]),  # this checkout is measured, whatever is installed
    "FAREBOX_PEPPER": "a pepper for the bench, of no value",
    "FAREBOX_ADMIN_TOKEN": "a token for the bench, of no value",
    "BENCH_API_KEY": "a key for the mock upstream, of no value",
}
_CREDITS = "1000000000"
_LIMIT = "10000000000"  # a minute, the highest there is: never reached, always counted
_CONFIGURATION = """
[server]
listen = "127.0.0.1:{port}"
workers = {workers}
state_dir = "{directory}/state"
[admin]
listen = "127.0.0.1:{admin_port}"
token = "env:FAREBOX_ADMIN_TOKEN"
[keys]
pepper = "env:FAREBOX_PEPPER"
[redis]
url = "redis://127.0.0.1:{redis_port}/0"
[database]
url = "sqlite:///{database}"
[credits]
per_usd = 1000
[upstream]
max_connections = 8192
[providers.bench]
dialect = "openai"
base_url = "http://127.0.0.1:{upstream_port}/v1"
api_key = "env:BENCH_API_KEY"
models = ["bench-*"]
"""
_OVER_TLS = """
[providers.bench-tls]
dialect = "openai"
base_url = "https://localhost:{port}/v1"
ca_file = "{authority}"
api_key = "env:BENCH_API_KEY"
models = ["secure-*"]
"""
_PRICE = """
[prices."{model}"]
input = "1.00"
cache_read = "0.50"
output = "2.00"
"""


def farebox(place: Place) -> AbstractContextManager[Running]:
    """Run Farebox with one worker."""
    return _farebox(place, (place.cores.subject,))


def farebox_with_two_workers(place: Place) -> AbstractContextManager[Running]:
    """Run Farebox with two workers on two cores, or where that leaves too few for the rest on a third of the subject's core each.

    Raises SubjectUnavailableError where neither can be had.
    """
    if place.cores.second is None:
        return _farebox(place, (place.cores.subject, place.cores.subject), part=PART)
    return _farebox(place, (place.cores.subject, place.cores.second))


def farebox_in_part(place: Place) -> AbstractContextManager[Running]:
    """Run Farebox with one worker on a third of a core, which two on a third each are compared with."""
    if place.cores.second is not None:
        raise SubjectUnavailableError("there are cores enough to give two workers one each")
    return _farebox(place, (place.cores.subject,), part=PART)


@contextlib.contextmanager
def _farebox(place: Place, cpus: tuple[int, ...], part: float | None = None) -> Iterator[Running]:
    """Run Farebox with a worker on each of these CPUs (or on that part of it), and a Redis of its own."""
    with contextlib.ExitStack() as stack:
        groups = (
            [stack.enter_context(part_of_a_core(part, f"{len(cpus)}-{number}")) for number in range(len(cpus))]
            if part
            else []
        )
        redis_port, redis_pid, redis_version = stack.enter_context(redis_alone(place.directory))
        port, admin_port = free_port(), free_port()
        configuration = place.directory / "farebox.toml"
        configuration.write_text(
            _CONFIGURATION.format(
                port=port,
                workers=len(cpus),
                admin_port=admin_port,
                redis_port=redis_port,
                upstream_port=place.upstream_port,
                directory=place.directory,
                database=place.database or place.directory / "farebox.db",
            )
            + (_OVER_TLS.format(port=place.secure.port, authority=place.secure.authority) if place.secure else "")
            + "".join(_PRICE.format(model=model) for model in sorted({scenario.model for scenario in SCENARIOS}))
        )
        key = _open_account(configuration)
        log = place.directory / "farebox.log"
        with started([*_COMMAND, "serve", "--config", configuration], log, _ENVIRONMENT) as process:
            _wait_until_ready(port, process, log)
            workers, beside = _roles(process.pid)
            for worker, cpu in zip(workers, cpus, strict=True):
                pin(worker, cpu)
            for worker, group in zip(workers, groups, strict=bool(groups)):
                join(group, worker)
            running = Running(
                port=port,
                workers=tuple(workers),
                beside={"redis": redis_pid, **beside},
                authorization=f"Bearer {key}",
                versions=redis_version,
                log=log,
                insight=lambda: look(admin_port, _ENVIRONMENT["FAREBOX_ADMIN_TOKEN"]),
                configuration=configuration,
            )
            # A model's name says which provider has it, so that the same port serves both.
            yield replace(running, over_tls=running) if place.secure else running


@contextlib.contextmanager
def redis_alone(directory: Path) -> Iterator[tuple[int, int, dict[str, str]]]:
    """Run a Redis as production has it (append-only file, never evicting); yields port, pid and version."""
    program = _redis_program()
    port, log = free_port(), directory / "redis.log"
    settings = {
        "port": port,
        "bind": "127.0.0.1",
        "dir": directory,
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
    }
    command = [program, *(str(word) for name, value in settings.items() for word in (f"--{name}", value))]
    with started(command, log) as process:
        wait_for_port(port, process, log)
        yield port, process.pid, _redis_version(program)


def _redis_program() -> str:
    """`redis-server` where it is installed, else the server that Farebox brings along."""
    try:
        from proxy.embedded import find_server  # noqa: PLC0415 - a checkout without it can still measure the others
    except ImportError as error:
        raise SubjectUnavailableError(f"the proxy cannot be imported: {error}") from error
    return shutil.which("redis-server") or str(find_server())


def _redis_version(program: str) -> dict[str, str]:
    words = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()
    version = next((word.removeprefix("v=") for word in words if word.startswith("v=")), "unknown")
    return {"valkey" if "Valkey" in words[0] else "redis": version}


def _open_account(configuration: Path) -> str:
    """Make an account with ample credits and return a key of it that has limits."""
    account = ask(configuration, "account", "create", "bench")
    ask(configuration, "topup", str(account["id"]), _CREDITS, "--key", "bench")
    limits = ("--requests-per-minute", _LIMIT, "--tokens-per-minute", _LIMIT)
    return str(ask(configuration, "key", "create", str(account["id"]), *limits)["key"])


def ask(configuration: Path, *command: str) -> dict[str, object]:
    """Run one command of Farebox and return the JSON that it prints; raises SubjectUnavailableError with its complaint."""
    complete = [*_COMMAND, *command, "--config", str(configuration), "--json"]
    environment = {**os.environ, **_ENVIRONMENT}
    answer = subprocess.run(complete, capture_output=True, text=True, env=environment, check=False)
    if answer.returncode != 0:
        raise SubjectUnavailableError(f"farebox {' '.join(command[:2])}: {answer.stderr.strip()[-500:]}")
    printed: dict[str, object] = json.loads(answer.stdout)
    return printed


def _wait_until_ready(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """The supervisor listens before its workers do: ready is what /readyz says."""
    give_up_at = time.monotonic() + _READY_TIMEOUT
    while time.monotonic() < give_up_at and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise SubjectUnavailableError(f"farebox serve did not become ready: {tail(log)}")


def _roles(supervisor: int) -> tuple[list[int], dict[str, int]]:
    """The workers of `farebox serve`, and its other processes by role, the supervisor among them."""
    workers, others = [], {"supervisor": supervisor}
    for pid in descendants(supervisor):
        words = command_line(pid)
        role = words[words.index("role") + 1] if "role" in words[:-1] else ""
        if role == "worker":
            workers.append(pid)
        elif role:
            others[role] = pid
    return workers, others
