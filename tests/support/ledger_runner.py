"""The ledger's scripts without an event loop, on a clock that the test moves, and with a piece of a script swapped if it says so.

The scripts are the real ones but for their clock: TIME is read from a key.
"""

import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import hiredis

from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.ledger.connection import Argument, encode
from proxy.ledger.errors import RedisAmbiguous, ScriptMissing, reply_error
from proxy.ledger.scripts import Script
from proxy.records.events import CHARGE, CORRECTED, CORRECTION, read_call_end

CLOCK = "redis.call('TIME')"
CLOCK_KEY = "test:now"
TEST_CLOCK = (
    f"(function() local ms = tonumber(redis.call('GET', '{CLOCK_KEY}')) "
    "return { math.floor(ms / 1000), (ms % 1000) * 1000 } end)()"
)


@dataclass(frozen=True)
class Mutation:
    """A change of a script that must be noticed. `history`: the number of one that does, so that the search is short."""

    name: str
    old: str
    new: str
    script: str
    history: int = 0


class BlockingRunner:
    """A ScriptRunner that waits: its coroutines never suspend, so that a test without an event loop can run them."""

    def __init__(self, path: str, mutation: Mutation | None = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(path)
        self._reader = hiredis.Reader(replyError=reply_error, notEnoughData=Ellipsis)
        self._mutation = mutation
        self._loaded: dict[bytes, bytes] = {}
        self.lose_next = False

    def command(self, *args: Argument) -> Any:
        """One command, one reply; an error reply is raised."""
        return self._reply(encode(args))

    def _reply(self, command: bytes) -> Any:
        self._socket.sendall(command)
        while (reply := self._reader.gets()) is Ellipsis:
            self._reader.feed(self._socket.recv(1 << 16))
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[Any]) -> Any:
        return await self.send(script, encode((b"EVALSHA", script.sha, len(keys), *keys, *args)))

    async def send(self, script: Script, command: bytes) -> Any:
        sha = self._loaded.get(script.sha)
        if sha is None:
            sha = self._loaded[script.sha] = self.command("SCRIPT", "LOAD", self._changed(script))
        return self._replied(command.replace(script.sha, sha, 1))

    def _replied(self, command: bytes) -> Any:
        reply = self._reply(command)
        if self.lose_next:
            self.lose_next = False
            raise RedisAmbiguous
        return reply

    async def post(self, command: bytes) -> Any:
        own = command.split(b"\r\n", 5)[4]
        sha = self._loaded.get(own)
        if sha is None:
            raise ScriptMissing("NOSCRIPT")
        return self._replied(command.replace(own, sha, 1))

    async def ready(self, timeout_s: float) -> bool:
        return True

    def close(self) -> None:
        self._socket.close()

    def _changed(self, script: Script) -> str:
        text = script.text.decode()
        if self._mutation is not None and self._mutation.script == script.name:
            text = text.replace(self._mutation.old, self._mutation.new)
        return text.replace(CLOCK, TEST_CLOCK)


def finish(work: Awaitable[Any]) -> Any:
    """The result of a coroutine that never suspends."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for an event loop")


def outcome(work: Callable[[], Any]) -> Any:
    """What comes of it: a value, or the class of an error of the ledger."""
    try:
        return work()
    except (Conflict, InvalidRequest, NotFound) as error:
        return type(error)


def as_bytes(value: str | int | bytes) -> bytes:
    """A value of an event as Redis has it."""
    return value if isinstance(value, bytes) else str(value).encode()


def named_event(parts: Sequence[bytes]) -> dict[bytes, bytes]:
    """What an event of a stream says, by name; a call's figures taken out of their packing."""
    if parts[0] != b"call":
        return dict(zip(parts[::2], parts[1::2], strict=True))
    end = read_call_end(parts[1])
    said: dict[str, str | int | bytes] = {
        "kind": "call", "account": end.account_id, "call": end.call_id, "state": end.state, "charge": end.charge,
        "at": end.at, "record": parts[3],
    }  # fmt: skip
    if end.seq:
        entry = CORRECTION if end.state == CORRECTED else CHARGE
        said |= {"seq": end.seq, "entry": entry, "amount": end.amount, "before": end.before}
        said |= {"after": end.before + end.amount}
    return {name.encode(): as_bytes(value) for name, value in said.items()}
