import asyncio

import pytest

from proxy.providers.turns import SHORT_IN_A_ROW, Turns


async def queued(turns: Turns, names: list[str], order: list[str]) -> list[asyncio.Future[list[None]]]:
    """Work that waits for a turn while it is taken, in this order; names of short work begin with s."""

    async def work(name: str) -> None:
        async with turns.turn(short=name.startswith("s")):
            order.append(name)

    tasks = [asyncio.gather(work(name)) for name in names]
    await asyncio.sleep(0)
    return tasks


async def test_short_work_goes_first_and_long_work_goes_on() -> None:
    turns, order = Turns(), []
    async with turns.turn(short=False):
        names = ["l1", "l2", *(f"s{number}" for number in range(SHORT_IN_A_ROW + 2))]
        tasks = await queued(turns, names, order)
        assert order == []
    await asyncio.gather(*tasks)
    first = [f"s{number}" for number in range(SHORT_IN_A_ROW)]
    assert order == [*first, "l1", f"s{SHORT_IN_A_ROW}", f"s{SHORT_IN_A_ROW + 1}", "l2"]


async def test_one_at_a_time() -> None:
    turns, inside = Turns(), 0

    async def work(short: bool) -> None:
        nonlocal inside
        async with turns.turn(short=short):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work(number % 3 == 0) for number in range(50)))


async def test_who_stops_waiting_is_left_out() -> None:
    turns, order = Turns(), []
    async with turns.turn(short=True):
        tasks = await queued(turns, ["s1", "l1", "s2"], order)
        tasks[0].cancel()
        tasks[1].cancel()
    ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1)
    assert [type(end) for end in ended] == [asyncio.CancelledError, asyncio.CancelledError, list]
    assert order == ["s2"]


async def test_a_turn_that_comes_with_the_cancellation_is_passed_on() -> None:
    turns, order = Turns(), []
    async with turns.turn(short=True):
        tasks = await queued(turns, ["s1", "s2"], order)
    tasks[0].cancel()  # it was given the turn just now and has not run since
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    await asyncio.wait_for(tasks[1], 1)
    assert order == ["s2"]
    async with asyncio.timeout(1), turns.turn(short=False):
        pass


async def test_an_error_inside_gives_the_turn_back() -> None:
    turns = Turns()
    with pytest.raises(KeyError):
        async with turns.turn(short=True):
            raise KeyError
    async with asyncio.timeout(1), turns.turn(short=True):
        pass
