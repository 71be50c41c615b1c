"""Running the ledger's own code on a plain socket: commands are kept, or sent and waited for, without an event loop.

A driver that waits in the system for each reply costs the other core next to nothing, and knows exactly when a reply came.
"""

import asyncio
import socket
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import hiredis

from bench.generator import LoadFailedError
from proxy.ledger.connection import Argument, encode
from proxy.ledger.scripts import Script, load

T = TypeVar("T")


class Kept:
    """Keeps the commands that the ledger would send, and answers them as if all went well."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    async def post(self, command: bytes) -> Any:
        """Keeps the command."""
        self.commands.append(command)
        return bytes(48) if load("hold").sha in command else b"S" + bytes(25)


class Wire:
    """A plain socket that waits for each reply: what the ledger, the streams and the reaper are run on here."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        self._outbox: list[bytes] = []

    def ask(self, *args: Argument) -> Any:
        """The reply of one command. Raises LoadFailedError where it is an error, as all here do."""
        self._socket.sendall(encode(args))
        return self.replies(1)[0]

    async def execute(self, *args: Argument) -> Any:
        """As the ledger's connection does: commands of one turn of the event loop leave in one write."""
        self._outbox.append(encode(args))
        await asyncio.sleep(0)
        if self._outbox:
            self.write(b"".join(self._outbox))
            self._outbox.clear()
        return self.replies(1)[0]

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[Argument]) -> Any:
        """As a ScriptRunner does; the script must be loaded."""
        return self.ask(b"EVALSHA", script.sha, len(keys), *keys, *args)

    async def post(self, command: bytes) -> Any:
        """As a ScriptRunner does; the script must be loaded."""
        self.write(command)
        return self.replies(1)[0]

    def write(self, commands: bytes) -> None:
        """Sends without waiting."""
        self._socket.sendall(commands)

    def replies(self, wanted: int) -> list[Any]:
        """Waits for so many. Raises LoadFailedError where one is an error."""
        found: list[Any] = []
        while len(found) < wanted:
            reply = self._reader.gets()
            if reply is False:
                self._reader.feed(self._socket.recv(1 << 20))
            elif isinstance(reply, hiredis.ReplyError):
                raise LoadFailedError(f"Redis refused: {reply}")
            else:
                found.append(reply)
        return found

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()


def now(work: Coroutine[Any, Any, T]) -> T:
    """The result of what never waits: everything under it writes to a blocking socket, or to no socket at all."""
    try:
        while work.send(None) is None:  # a turn of the event loop, had there been one
            pass
    except StopIteration as end:
        result: T = end.value
        return result
    raise LoadFailedError("this waits for something that is no reply of Redis")


def gathered(work: Coroutine[Any, Any, T]) -> T:
    """The same for what sends several commands at once, which needs an event loop."""
    return _RUNNER.run(work)


_RUNNER = asyncio.Runner()
