"""`python -m bench.bare_timer`: how late an event loop that has nothing else to do comes to a timer of a millisecond.

What it sees is the machine's own doing: other processes on its core, and the hypervisor. Each line on standard input is answered
with a line of JSON: how late (ms) each time was since the last one.
"""

import asyncio
import json
import sys
import time

TICK_S = 0.001


async def main() -> None:
    """Watch until standard input ends."""
    late: list[float] = []

    def answer() -> None:
        if not sys.stdin.readline():
            raise SystemExit
        sys.stdout.write(json.dumps(late) + "\n")
        sys.stdout.flush()
        late.clear()

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), answer)
    while True:
        due = time.monotonic() + TICK_S
        await asyncio.sleep(TICK_S)
        late.append(round(max(time.monotonic() - due, 0.0) * 1000, 3))


if __name__ == "__main__":
    asyncio.run(main())
