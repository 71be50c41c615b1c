"""Both scripts of a call by themselves: the ledger's own commands against one Redis, 64 calls in flight, no proxy around.

Under the proxy's load Redis shares a core with the recorder, the mock upstream and the generator, and its caches with them;
what the scripts cost is measured here, with Redis alone on the subject's core, twice: busy, as every other subject is measured
(the commands are encoded beforehand, so that it never waits for them), and fed by the ledger's own client, for which it waits
half of the time and comes back to cold caches. Run as a program this file is the driver: it writes a line when it is warm, and
the number of calls when its time is over.
"""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import hiredis
import msgspec
import uvloop

from bench.figures import Figures
from bench.generator import LoadFailedError
from bench.processes import Cores, cpu_ns, pin
from proxy.core.ids import new_call_id
from proxy.core.limits import REQUESTS, TOKENS, Limit
from proxy.core.money import MAX_AMOUNT
from proxy.core.outcomes import Held, HoldRequest
from proxy.ledger.connection import RedisConnection
from proxy.ledger.ledger import Ledger
from proxy.ledger.scripts import RedisScripts, ScriptRunner, load
from proxy.records.row import CallRecord, encode_record

_IN_FLIGHT = 64
_WARM_UP_S = 0.5
_INTERVAL_S = 2.0
_BUSY_CALLS = 40_000
_ACCOUNT = "acct_0000000000000000bench"
_EPOCH = "bench"
_LIMITS = (Limit("key:key_bench", REQUESTS, 10**9), Limit("key:key_bench", TOKENS, 10**10))
_ENDED = {
    "status": 200,
    "outcome": "completed",
    "usage": {"input": 25, "output": 15},
    "input_tokens": 25,
    "output_tokens": 15,
    "cost_nano_usd": 12_750,
    "charge_microcredits": 60,
    "settlement_basis": "reported",
    "duration_ms": 412,
    "time_to_first_byte_ms": 398,
}
# The draft and the record of a small call.
_CALL = CallRecord(
    *(1_764_000_000_000, "key_0000000000000000bench", "openai", "gpt-4o-mini", "openai", "/v1/chat/completions"),
    hold_microcredits=100,
    price_version="2026-11-01",
    trace_id="0" * 32,
)
DRAFT, RECORD = encode_record(_CALL), encode_record(msgspec.structs.replace(_CALL, **_ENDED))


def measure_scripts(redis_port: int, redis_pid: int, cores: Cores) -> Figures:
    """Return `scripts_us_a_call` (busy) and `waiting_us_a_call`: CPU of a Redis that does nothing else. Raises LoadFailedError."""
    pin(redis_pid, cores.subject)
    busy, waiting = (_drive_once(kind, redis_port, redis_pid) for kind in ("busy", "waiting"))
    return {"scripts_us_a_call": busy, "waiting_us_a_call": waiting}


def _drive_once(kind: str, redis_port: int, redis_pid: int) -> float:
    command = [sys.executable, "-P", "-m", "bench.ledger", kind, str(redis_port)]
    root = str(Path(__file__).parents[1])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env={"PYTHONPATH": root}) as driver:
        assert driver.stdout is not None
        if not driver.stdout.readline():
            raise LoadFailedError("the ledger's driver did not start")
        before = cpu_ns(redis_pid)
        calls = driver.stdout.readline()
        after = cpu_ns(redis_pid)
    if not calls.strip():
        raise LoadFailedError("the ledger's driver failed")
    return (after - before) / int(calls) / 1000


class _Recorder:
    """Keeps the commands that the ledger would send."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    async def post(self, command: bytes) -> Any:
        self.commands.append(command)
        return bytes(8 * 2 * (1 + len(_LIMITS))) if load("hold").sha in command else b"S" + bytes(25)


async def _opened(port: int) -> tuple[RedisConnection, Ledger]:
    redis = RedisConnection(f"redis://127.0.0.1:{port}/0", command_timeout_s=10)
    await redis.start()
    ledger = Ledger(RedisScripts(redis), 1, _EPOCH)
    await redis.execute("SET", ledger.partitions[0].epoch, _EPOCH)
    await ledger.open_account(_ACCOUNT, 1)
    await ledger.credit(_ACCOUNT, "op_bench", "topup", MAX_AMOUNT, "digest", "bench", "", None)
    return redis, ledger


async def _hold_and_settle(ledger: Ledger, call_ids: Sequence[str]) -> None:
    for call_id in call_ids:
        held = await ledger.hold(HoldRequest(_ACCOUNT, call_id, 100, 1040, 60_000, _LIMITS, 1, DRAFT))
        if not isinstance(held, Held):
            raise LoadFailedError(f"a hold was not granted: {held}")
    for call_id in call_ids:
        await ledger.settle(_ACCOUNT, call_id, 60, 40, RECORD)


async def _prepared(port: int) -> list[bytes]:
    """What a Redis is sent for many calls, 64 holds and 64 settlements in turn; the scripts are loaded, the account is open."""
    redis, ledger = await _opened(port)
    await _hold_and_settle(ledger, [new_call_id()])
    await redis.close()
    recorder = _Recorder()
    encoding = Ledger(cast("ScriptRunner", recorder), 1, _EPOCH)
    for _ in range(_BUSY_CALLS // _IN_FLIGHT):
        await _hold_and_settle(encoding, [new_call_id() for _ in range(_IN_FLIGHT)])
    return recorder.commands


def _drive_busy(port: int) -> None:
    commands = asyncio.run(_prepared(port))
    batches = [commands[place : place + _IN_FLIGHT] for place in range(0, len(commands), _IN_FLIGHT)]
    warm = len(batches) // 5 // 2 * 2
    with socket.create_connection(("127.0.0.1", port)) as connection:
        reader = hiredis.Reader()
        connection.sendall(b"".join(batches[0]))
        for number, batch in enumerate(batches):
            if number == warm:
                _say("warm")
            if number + 1 < len(batches):  # the next one is there before this one is answered
                connection.sendall(b"".join(batches[number + 1]))
            _read(connection, reader, len(batch))
    _say(str((len(batches) - warm) // 2 * _IN_FLIGHT))


def _read(connection: socket.socket, reader: hiredis.Reader, replies: int) -> None:
    while replies:
        reply = reader.gets()
        if reply is False:  # only then: the last batch's replies may have come with those of the one before
            reader.feed(connection.recv(1 << 20))
            continue
        if not isinstance(reply, bytes):  # a refusal is a list
            raise LoadFailedError(f"not what a call is answered: {reply!r}")
        replies -= 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _drive_waiting(port: int) -> None:
    redis, ledger = await _opened(port)
    calls = 0
    over = time.monotonic() + _WARM_UP_S + _INTERVAL_S

    async def call_on() -> None:
        nonlocal calls
        while time.monotonic() < over:
            await _hold_and_settle(ledger, [new_call_id()])
            calls += 1

    async def say() -> None:
        nonlocal calls
        await asyncio.sleep(_WARM_UP_S)
        calls = 0
        _say("warm")

    async with asyncio.TaskGroup() as group:
        for work in (say(), *(call_on() for _ in range(_IN_FLIGHT))):
            group.create_task(work)
    _say(str(calls))
    await redis.close()


if __name__ == "__main__":
    if sys.argv[1] == "busy":
        _drive_busy(int(sys.argv[2]))
    else:
        uvloop.run(_drive_waiting(int(sys.argv[2])))
