"""Few in a turn of the loop, everybody in the end, in order."""

import asyncio
import gc
from collections.abc import Mapping
from itertools import pairwise

from proxy.pipeline.turnstile import Line, Turnstile


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


async def test_the_collector_looks_at_what_is_made_while_a_long_line_waits() -> None:
    turnstile = Turnstile(8, collects=True)
    looked_at: list[int] = []

    def note(phase: str, about: Mapping[str, int]) -> None:
        if phase == "start":
            looked_at.append(about["generation"])

    gc.callbacks.append(note)
    try:
        async with asyncio.TaskGroup() as crowd:
            for _ in range(40):
                crowd.create_task(turnstile.pass_through())
    finally:
        gc.callbacks.remove(note)
    assert 4 <= looked_at.count(0) <= 6


async def test_a_line_is_served_in_order_and_few_in_a_turn() -> None:
    served: list[int] = []
    seen: list[int] = []

    def serve(number: int) -> None:
        served.append(number)
        if number < 10:
            line.enter(number + 100)

    line = Line[int](3, serve)
    for number in range(20):
        line.enter(number)
    assert not served
    while len(served) < 30:
        seen.append(len(served))
        await asyncio.sleep(0)
    assert served == [*range(20), *range(100, 110)]
    assert max(after - before for before, after in pairwise(seen)) <= 3


async def test_one_that_fails_holds_up_nobody_behind_its_turn() -> None:
    served: list[int] = []
    failed: list[object] = []

    def serve(number: int) -> None:
        served.append(10 // number)

    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context["exception"]))
    line = Line[int](1, serve)
    for number in (5, 0, 2):
        line.enter(number)
    for _ in range(5):
        await asyncio.sleep(0)
    assert served == [2, 5]
    assert len(failed) == 1
