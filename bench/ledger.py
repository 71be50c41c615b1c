"""Both scripts of a call by themselves: the ledger's own client against one Redis, 64 calls in flight, no proxy around.

Under the proxy's load Redis shares a core with the recorder, the mock upstream and the generator, and its caches with them;
what the scripts cost is measured here, with Redis alone on the subject's core. Run as a program this file is the driver:
it writes a line when it is warm, and the number of calls when its time is over.
"""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

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
from proxy.ledger.scripts import RedisScripts

_IN_FLIGHT = 64
_WARM_UP_S = 0.5
_INTERVAL_S = 2.0
_ACCOUNT = "acct_0000000000000000bench"
_EPOCH = "bench"
_LIMITS = (Limit("key:key_bench", REQUESTS, 10**9), Limit("key:key_bench", TOKENS, 10**10))
# As long as the draft and the record of a small call are.
_DRAFT, _RECORD = (json.dumps({"filler": "x" * size}).encode() for size in (520, 660))


def measure_scripts(redis_port: int, redis_pid: int, cores: Cores) -> Figures:
    """Return `scripts_us_a_call`, the CPU of a Redis process that does nothing else. Raises LoadFailedError."""
    pin(redis_pid, cores.subject)
    command = [sys.executable, "-P", "-m", "bench.ledger", str(redis_port)]
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
    return {"scripts_us_a_call": (after - before) / int(calls) / 1000, "calls_a_second": int(calls) / _INTERVAL_S}


async def _drive(port: int) -> None:
    redis = RedisConnection(f"redis://127.0.0.1:{port}/0", command_timeout_s=10)
    await redis.start()
    ledger = Ledger(RedisScripts(redis), 1, _EPOCH)
    await redis.execute("SET", ledger.partitions[0].epoch, _EPOCH)
    await ledger.open_account(_ACCOUNT, 1)
    await ledger.credit(_ACCOUNT, "op_bench", "topup", MAX_AMOUNT, "digest", "bench", "", None)
    calls = 0
    over = time.monotonic() + _WARM_UP_S + _INTERVAL_S

    async def call_on() -> None:
        nonlocal calls
        while time.monotonic() < over:
            call_id = new_call_id()
            held = await ledger.hold(HoldRequest(_ACCOUNT, call_id, 100, 1040, 60_000, _LIMITS, 1, _DRAFT))
            if not isinstance(held, Held):
                raise LoadFailedError(f"a hold was not granted: {held}")
            await ledger.settle(_ACCOUNT, call_id, 60, 40, _RECORD)
            calls += 1

    async def say() -> None:
        nonlocal calls
        await asyncio.sleep(_WARM_UP_S)
        calls = 0
        sys.stdout.write("warm\n")
        sys.stdout.flush()

    async with asyncio.TaskGroup() as group:
        for work in (say(), *(call_on() for _ in range(_IN_FLIGHT))):
            group.create_task(work)
    sys.stdout.write(f"{calls}\n")
    sys.stdout.flush()
    await redis.close()


if __name__ == "__main__":
    uvloop.run(_drive(int(sys.argv[1])))
