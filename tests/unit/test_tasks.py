"""Work that leaves room for others': all of it is done, in order, and the event loop turns meanwhile."""

import time

from proxy import tasks
from proxy.tasks import in_turns, used_up
from tests.support.turns import counted_turns


async def test_long_work_takes_many_turns_of_the_loop() -> None:
    def slowly(number: int) -> int:
        time.sleep(tasks.TURN_S)
        return number

    found, turns = await counted_turns(in_turns(slowly(number) for number in range(20)))
    assert found == list(range(20))
    assert turns >= 20


async def test_short_work_waits_for_nobody() -> None:
    found, turns = await counted_turns(in_turns(range(1000)))
    assert found == list(range(1000))
    assert turns < 100
    assert await in_turns([]) == []


def test_rows_are_let_go_of_one_by_one() -> None:
    rows = [1, 2, 3]
    left = used_up(rows)
    assert next(left) == 1
    assert len(rows) == 2
    assert list(left) == [2, 3]
    assert rows == []
