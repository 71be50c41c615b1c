"""One load on one port: starts the load generator and reads what it measured.

Times are as the C program prints them: microseconds for latencies, nanoseconds for CPU time.
"""

import http.client
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.scenarios import Scenario

PATH = "/v1/chat/completions"
_SLACK = 30.0
_ADDRESS = "127.0.0.1"


class LoadFailedError(Exception):
    """A load had errors: wrong status, wrong bytes, a broken connection. Its figures are worth nothing."""


@dataclass(frozen=True)
class Percentiles:
    """Exact percentiles of all samples of an interval, in microseconds."""

    count: int
    p50: float
    p99: float
    max: float
    mean: float


@dataclass(frozen=True)
class Load:
    """What one load measured in its interval."""

    seconds: float
    calls: int
    events: int
    bytes: int
    latency: Percentiles | None
    first_byte: Percentiles | None
    lateness: Percentiles | None
    cpu_ns: dict[int, int]
    own_cpu_ns: int
    machine_cpu_ns: int


@dataclass(frozen=True)
class Exchange:
    """A request body and the answer that it must get, as files for the load generator.

    `marks`: pieces of text that the answer must have in this order, where its bytes are not compared.
    """

    body: Path
    expected: Path
    marks: Path | None = None


@dataclass(frozen=True)
class Manner:
    """How a subject wants to be asked: path, headers beside the usual, what stands before a model's name.

    `exact`: its answers are the upstream's, byte for byte; otherwise it writes them anew, and they must be complete.
    """

    path: str = PATH
    headers: tuple[str, ...] = ()
    model_prefix: str = ""
    exact: bool = True


def learn_exchange(scenario: Scenario, upstream_port: int, directory: Path) -> Exchange:
    """Ask the mock upstream itself, without the stream's pace, and keep its answer as the one that is right."""
    exchange = Exchange(directory / f"{scenario.name}.request", directory / f"{scenario.name}.answer")
    body = scenario.body()
    connection = http.client.HTTPConnection(_ADDRESS, upstream_port, timeout=_SLACK)
    try:
        connection.request("POST", PATH, body, {"Content-Type": "application/json", "x-bench-unpaced": "1"})
        answer = connection.getresponse()
        exchange.body.write_bytes(body)
        exchange.expected.write_bytes(answer.read())
    finally:
        connection.close()
    return exchange


def suit(exchange: Exchange, scenario: Scenario, manner: Manner) -> Exchange:
    """Return the exchange as a subject of this manner has it; writes its files beside the others."""
    if manner.model_prefix:
        body = replace(scenario, model=manner.model_prefix + scenario.model).body()
        path = exchange.body.with_suffix("." + re.sub(r"\W+", "-", manner.model_prefix) + "request")
        path.write_bytes(body)
        exchange = replace(exchange, body=path)
    if not manner.exact:
        path = exchange.expected.with_suffix(".marks")
        path.write_bytes(b"\n".join(marks_of(exchange.expected.read_bytes())))
        exchange = replace(exchange, marks=path)
    return exchange


def marks_of(answer: bytes) -> list[bytes]:
    """Return what of an answer must come through every proxy: each piece of text, and the end of a stream."""
    texts = [text.strip() for text in re.findall(rb'"content":"([^"]+)"', answer)]
    return [*texts, b"[DONE]"] if answer.startswith(b"data: ") else texts


@dataclass(frozen=True)
class Target:
    """Where a load goes: a port, the Authorization header, the processes whose CPU time is taken, how it wants to be asked."""

    port: int
    authorization: str | None
    watched: Sequence[int]
    manner: Manner = field(default_factory=Manner)


def run_load(
    program: Path,
    scenario: Scenario,
    exchange: Exchange,
    target: Target,
    at_full_load: Callable[[], None] | None = None,
) -> Load:
    """Run one load to its end; `at_full_load` is called once while every connection is busy.

    Raises LoadFailedError when a single call was not answered with status 200 and the upstream's exact bytes (or its marks).
    """
    command: list[str | Path] = [program, *_arguments(scenario, exchange, target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            if at_full_load:
                _pause(process, scenario.warmup + 0.6 * scenario.interval)
                at_full_load()
            output, complaint = process.communicate(timeout=scenario.warmup + scenario.interval + _SLACK)
        finally:
            process.kill()
    if process.returncode != 0:
        raise LoadFailedError(f"load generator: {complaint.strip()}")
    return _read(json.loads(output))


def _pause(process: "subprocess.Popen[str]", seconds: float) -> None:
    """Sleep, but no longer than the load lives."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise LoadFailedError("the load ended before its time")


def _arguments(scenario: Scenario, exchange: Exchange, target: Target) -> list[str]:
    arguments = {
        "port": target.port,
        "path": target.manner.path,
        "body": exchange.body,
        **({"marks": exchange.marks} if exchange.marks else {"expect": exchange.expected}),
        "connections": scenario.connections,
        "stagger-ms": round(scenario.stagger * 1000),
        "warmup-ms": round(scenario.warmup * 1000),
        "interval-ms": round(scenario.interval * 1000),
        "period-ms": scenario.stream.period_ms if scenario.stream else 0,
    }
    text = [f"--{name}={value}" for name, value in arguments.items()]
    if target.authorization:
        text.append(f"--auth={target.authorization}")
    text += [f"--header={header}" for header in target.manner.headers]
    return text + [f"--watch={pid}" for pid in target.watched]


def _read(answer: dict[str, object]) -> Load:
    if answer["errors"]:
        raise LoadFailedError(f"{answer['errors']} errors, the first: {answer['first_error']}")
    cpu_ns = answer["cpu_ns"]
    assert isinstance(cpu_ns, dict)
    return Load(
        seconds=float(str(answer["seconds"])),
        calls=int(str(answer["calls"])),
        events=int(str(answer["events"])),
        bytes=int(str(answer["bytes"])),
        latency=_percentiles(answer.get("latency_us")),
        first_byte=_percentiles(answer.get("first_byte_us")),
        lateness=_percentiles(answer.get("lateness_us")),
        cpu_ns={int(pid): int(ns) for pid, ns in cpu_ns.items()},
        own_cpu_ns=int(str(answer["own_cpu_ns"])),
        machine_cpu_ns=int(str(answer["machine_cpu_ns"])),
    )


def _percentiles(value: object) -> Percentiles | None:
    return Percentiles(**value) if isinstance(value, dict) else None
