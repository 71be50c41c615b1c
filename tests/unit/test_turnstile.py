"""Few in a turn of the loop, everybody in the end, in order."""

import asyncio
from itertools import pairwise

from proxy.pipeline.turnstile import Turnstile


async def test_a_crowd_passes_in_order_and_few_in_a_turn() -> None:
    turnstile = Turnstile(3)
    passed: list[int] = []
    seen: list[int] = []

    async def one(number: int) -> None:
        await turnstile.pass_through()
        passed.append(number)

    async with asyncio.TaskGroup() as crowd:
        for number in range(20):
            crowd.create_task(one(number))
        while len(passed) < 20:
            seen.append(len(passed))
            await asyncio.sleep(0)
    assert passed == list(range(20))
    assert max(after - before for before, after in pairwise(seen)) <= 3


async def test_who_comes_alone_does_not_wait() -> None:
    turnstile = Turnstile(1)
    for _ in range(3):
        turns = 0

        def count() -> None:
            nonlocal turns
            turns += 1

        asyncio.get_running_loop().call_soon(count)
        await turnstile.pass_through()
        assert turns == 0
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_who_gave_up_waiting_holds_up_nobody() -> None:
    turnstile = Turnstile(1)
    await turnstile.pass_through()
    async with asyncio.timeout(1), asyncio.TaskGroup() as crowd:
        waiting = [crowd.create_task(turnstile.pass_through()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
    assert not any(one.cancelled() for one in waiting[1:])
