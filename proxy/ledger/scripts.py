"""The Lua scripts of the ledger, and how one is run.

A script is `lua/<name>.lua`. Its first line is the shebang with the flags; a line `-- include: a, b` is replaced by
`lua/parts/a.lua` and `b.lua`. Redis runs a script by the SHA-1 of its whole text; one that it has forgotten (a restart, SCRIPT
FLUSH) is loaded and run again, which is safe: a script that is not there has not run.
"""

import functools
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from proxy.ledger.connection import Argument, RedisConnection
from proxy.ledger.errors import ScriptMissing

FOLDER = Path(__file__).parent / "lua"
_INCLUDE = re.compile(r"^ *-- include: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """One script as it is sent: its name, whole text, and SHA-1 in hexadecimal."""

    name: str
    text: bytes
    sha: bytes

    @classmethod
    def of(cls, name: str, text: str) -> "Script":
        """A script from its whole text."""
        encoded = text.encode()
        return cls(name, encoded, hashlib.sha1(encoded, usedforsecurity=False).hexdigest().encode())


class ScriptRunner(Protocol):
    """Runs a script, receives its reply: all that the ledger needs of Redis."""

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[Argument]) -> Any:
        """The script's reply. Raises RedisUnavailable, RedisAmbiguous, ScriptRefused, or Conflict and InvalidRequest
        where the script itself says so; never repeats what was sent.
        """
        ...

    async def send(self, script: Script, command: bytes) -> Any:
        """The reply of a command that runs the script, encoded by whoever sends it (see places). Raises as `run`."""
        ...

    @property
    def post(self) -> Callable[[bytes], Awaitable[Any]]:
        """As `send` where Redis knows the script, and cheaper; raises ScriptMissing where it does not."""
        ...

    async def ready(self, timeout_s: float) -> bool:
        """Waits until scripts can be sent; False when they cannot after `timeout_s` seconds."""
        ...


class RedisScripts:
    """Scripts over one connection."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self.post: Callable[[bytes], Awaitable[Any]] = connection.send

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[Argument]) -> Any:
        """See ScriptRunner."""
        execute = self._connection.execute
        try:
            return await execute(b"EVALSHA", script.sha, len(keys), *keys, *args)
        except ScriptMissing:
            await execute(b"SCRIPT", b"LOAD", script.text)
            return await execute(b"EVALSHA", script.sha, len(keys), *keys, *args)

    async def send(self, script: Script, command: bytes) -> Any:
        """See ScriptRunner."""
        send = self._connection.send
        try:
            return await send(command)
        except ScriptMissing:
            await self._connection.execute(b"SCRIPT", b"LOAD", script.text)
            return await send(command)

    async def ready(self, timeout_s: float) -> bool:
        """See ScriptRunner."""
        return await self._connection.ready(timeout_s)


def expand(text: str) -> str:
    """The text of a script with its parts put in, and theirs."""

    def part(match: re.Match[str]) -> str:
        names = (name.strip() for name in match[1].split(","))
        return "\n".join(expand((FOLDER / "parts" / f"{name}.lua").read_text(encoding="utf-8")) for name in names)

    return _INCLUDE.sub(part, text)


@functools.cache
def load(name: str) -> Script:
    """The script with this name."""
    return Script.of(name, expand((FOLDER / f"{name}.lua").read_text(encoding="utf-8")))


def load_all() -> None:
    """Reads every script, so that no call waits for it: each takes some tenths of a millisecond."""
    for path in FOLDER.glob("*.lua"):
        load(path.stem)
