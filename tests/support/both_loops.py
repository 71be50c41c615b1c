"""Runs an async test on uvloop and on asyncio's own loop, and holds that it leaves nothing behind."""

import asyncio
import contextlib
import functools
import gc
import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvloop

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


def both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """The test fails also when the loop reports an error that nobody awaited, or a task is left."""

    @functools.wraps(test)
    def runs(loop_name: str, **fixtures: Any) -> None:
        reported: list[dict[str, Any]] = []
        with _collecting_its_own(), asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
            loop = runner.get_loop()
            loop.set_exception_handler(lambda _, context: reported.append(context))
            runner.run(asyncio.wait_for(_without_leftovers(test(**fixtures)), 30))
            gc.collect()  # an unclosed transport says so when it is collected, and warnings are errors
        assert not reported

    given = inspect.signature(test)
    loop_name = inspect.Parameter("loop_name", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    runs.__signature__ = given.replace(parameters=[loop_name, *given.parameters.values()])  # type: ignore[attr-defined]
    return pytest.mark.parametrize("loop_name", list(LOOPS))(runs)


@contextlib.contextmanager
def _collecting_its_own() -> Iterator[None]:
    """Collections look at what came since; everything that the process has would take them a fifth of a second."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _without_leftovers(work: Awaitable[None]) -> None:
    await work
    for _ in range(50):
        if len(asyncio.all_tasks()) <= 2:  # this one, and the timeout around it
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"left running: {asyncio.all_tasks()}")
