"""How often the event loop comes round to others while some work is done."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def counted_turns(work: Awaitable[T]) -> tuple[T, int]:
    """The work's result, and how many turns of the event loop it took."""
    doing, turns = asyncio.gather(work), 0
    while not doing.done():
        turns += 1
        await asyncio.sleep(0)
    return (await doing)[0], turns
