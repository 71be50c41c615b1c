"""When everything is collected: while few calls are open, and at the latest after an hour."""

import gc
from collections.abc import Iterator

import pytest

from proxy import memory
from proxy.tasks import Tasks


class Cycle:
    """Refers to itself: no reference count frees it."""

    alive = 0

    def __init__(self) -> None:
        self.own = self
        Cycle.alive += 1

    def __del__(self) -> None:
        Cycle.alive -= 1


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


async def test_few_open_calls_are_a_moment_for_it() -> None:
    Cycle()
    kept = [[number] for number in range(1000)]
    await memory.Collector(lambda: 3).look()
    assert Cycle.alive == 0
    assert gc.get_freeze_count() >= len(kept)


async def test_many_open_calls_are_not_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    now = 1000.0
    monkeypatch.setattr(memory, "monotonic", lambda: now)
    collector = memory.Collector(lambda: 5000)
    Cycle()
    frozen = gc.get_freeze_count()
    now += 3000
    await collector.look()
    assert Cycle.alive == 1
    now += 700
    await collector.look()
    assert Cycle.alive == 0
    assert gc.get_freeze_count() == frozen  # what calls in progress hold will be looked at again


async def test_no_allocation_brings_a_collection_of_everything() -> None:
    tasks = Tasks()
    memory.Collector(lambda: 5000).start(tasks)
    full = gc.get_stats()[2]["collections"]
    many = [[number] for number in range(1_000_000)]
    assert gc.get_stats()[2]["collections"] == full
    assert len(many) == 1_000_000
    await tasks.close()
