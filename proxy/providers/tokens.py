"""The owner of the counting process: tokens of texts, for the event loop of a process that serves calls."""

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from proxy.core.errors import Unavailable
from proxy.providers.counting import ANSWER, question
from proxy.providers.encodings import SLICE_CHARS, count_now, slices
from proxy.providers.turns import Turns

# The process needs none of the secrets that the environment may hold.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "VIRTUAL_ENV", "TMPDIR")
_PACKAGE_ROOT = str(Path(__file__).parents[2])

log = logging.getLogger("farebox.tokens")


class TokenCounter:
    """Counts texts in a process of its own, started at the first count.

    Slices of all callers take turns, and texts of one slice go before those of many: a small text waits for a slice or
    two however many large ones are being counted. Where the process cannot be had, a thread counts: slower for everybody,
    but a call that ends is never left without its count.
    """

    def __init__(self) -> None:
        self._turns = Turns()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._given_up = False

    async def count(self, text: str, model: str) -> int:
        """The tokens of a text as this model's encoding cuts it; special tokens count as the text they are written with.

        Raises Unavailable once there is no time to count.
        """
        short = len(text) <= SLICE_CHARS
        return sum([await self._count_slice(part, model, short=short) for part in slices(text)])

    async def warm(self, models: Iterable[str] = ("",)) -> None:
        """Load the encodings of these models before the first count needs them."""
        for model in models:
            await self._count_slice(" ", model, short=True)

    def give_up(self) -> None:
        """There is no time to count any more: who waits for a count hears so, soon."""
        self._given_up = True
        self._end()

    async def close(self) -> None:
        """End the process."""
        async with self._turns.turn(short=True):
            process = self._process
            self._hang_up()
            if process is not None:
                await asyncio.to_thread(process.wait)

    async def _count_slice(self, text: str, model: str, *, short: bool) -> int:
        async with self._turns.turn(short=short):
            for _ in range(2):
                if self._given_up:
                    raise Unavailable("Farebox is shutting down.")
                try:
                    return await self._ask(text, model)
                except (OSError, EOFError) as error:
                    if not self._given_up:
                        log.warning("the counting process is gone (%s)", error.__class__.__name__)
                        self._end()
                except asyncio.CancelledError:
                    self._end()  # its answer to this question would be taken for the next one's
                    raise
        return await asyncio.to_thread(count_now, text, model)

    async def _ask(self, text: str, model: str) -> int:
        if self._writer is None:
            await self._start()
        assert self._reader is not None
        assert self._writer is not None
        self._writer.write(question(text, model))
        await self._writer.drain()
        (count,) = ANSWER.unpack(await self._reader.readexactly(ANSWER.size))
        return int(count)

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await asyncio.to_thread(_spawn, theirs)
            self._reader, self._writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()  # and with it the process, if it was started after all
            raise

    def _end(self) -> None:
        """Kill the process: whatever it is doing is of no use any more."""
        process = self._process
        self._hang_up()
        if process is not None:
            process.kill()
            process.wait()

    def _hang_up(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
        self._process = self._reader = self._writer = None


def _spawn(connection: socket.socket) -> subprocess.Popen[bytes]:
    """Start the process; takes some milliseconds, so not on the event loop."""
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", "proxy.providers.counting"],
        stdin=connection.fileno(),
        stdout=subprocess.DEVNULL,
        env=environment | {"PYTHONPATH": _PACKAGE_ROOT},
    )
