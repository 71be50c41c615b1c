"""Addresses of one host, remembered for a while, so that a burst of connections costs one look-up and no thread each."""

import asyncio
import socket
from typing import Any

TTL_S = 30.0
FAILED_TTL_S = 1.0


class Addresses:
    """The resolver of one origin: callers that ask at the same time share one look-up."""

    def __init__(self, host: str, port: int, ttl_s: float = TTL_S) -> None:
        self._host = host
        self._port = port
        self._ttl_s = ttl_s
        self._found: tuple[str, ...] = ()
        self._failure: OSError | None = None
        self._good_until = 0.0
        self._looking_up: asyncio.Event | None = None

    async def get(self) -> tuple[str, ...]:
        """Numeric addresses in the resolver's order, at least one; raises OSError where the name cannot be resolved."""
        loop = asyncio.get_running_loop()
        while loop.time() >= self._good_until:
            if self._looking_up is None:
                await self._look_up(loop)
            else:
                await self._looking_up.wait()
        if self._failure is not None:
            raise type(self._failure)(*self._failure.args)  # a fresh one: a shared one would gather tracebacks
        return self._found

    def forget(self) -> None:
        """The next call looks the name up again: none of the addresses answered."""
        self._good_until = 0.0

    async def _look_up(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking_up = asyncio.Event()
        try:
            rows = await _look_up_name(self._host, self._port)
            self._found = tuple(dict.fromkeys(str(row[4][0]) for row in rows))
            self._failure = None
            self._good_until = loop.time() + self._ttl_s
        except OSError as error:
            self._failure = error
            self._good_until = loop.time() + FAILED_TTL_S
        finally:
            # Also when this caller was cancelled: the next one that waits looks up instead.
            self._looking_up.set()
            self._looking_up = None


async def _look_up_name(host: str, port: int) -> list[tuple[Any, ...]]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
