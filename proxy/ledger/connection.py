"""The connection to Redis that the request path uses: pipelined by turn of the event loop, never retrying by itself.

A command that was not sent fails with RedisUnavailable, one whose reply was lost with RedisAmbiguous: whether to repeat
is a decision of whoever knows what the command does. While the connection is down commands fail at once, and it comes
back by itself with growing pauses. Blocking commands (XREADGROUP BLOCK) would hold up everybody else's replies: give
them a connection of their own, with a timeout above the block.
"""

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis

from proxy.core.errors import ConfigError, FareboxError
from proxy.ledger.errors import RedisUnavailable, ScriptRefused
from proxy.ledger.link import Link
from proxy.tasks import Tasks

log = logging.getLogger("farebox.redis")

FIRST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 1.0
HEALTHY_AFTER_S = 1.0  # a connection that lived this long starts the pauses from the first one again
DEFAULT_PORT = 6379
CLOSED = "closed"

Argument = bytes | str | int
encode = cast(
    "Callable[[tuple[Argument, ...]], bytes]", hiredis.pack_command
)  # its stub knows tuples of one element only


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis listens, and how we introduce ourselves. The password is in no repr."""

    host: str
    port: int
    path: str | None = None
    tls: bool = False
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    database: int = 0

    @classmethod
    def parse(cls, url: str) -> "Address":
        """`redis://[user:password@]host[:port][/db]`, `rediss://` (TLS) or `unix://[user:password@]/path[?db=1]`."""
        parts = urlsplit(url)
        if parts.scheme not in {"redis", "rediss", "unix"}:
            raise ConfigError("a Redis URL begins with redis://, rediss:// or unix://")
        username = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        is_unix = parts.scheme == "unix"
        number = parse_qs(parts.query).get("db", ["0"])[-1] if is_unix else parts.path.strip("/") or "0"
        try:
            port, database = parts.port or DEFAULT_PORT, int(number)
        except ValueError:
            raise ConfigError("the port and the database of a Redis URL are numbers") from None
        if is_unix:
            return cls("", 0, unquote(parts.path), False, username, password, database)
        return cls(parts.hostname or "127.0.0.1", port, None, parts.scheme == "rediss", username, password, database)

    def introduction(self) -> list[tuple[Argument, ...]]:
        """The commands that every new socket starts with; the last one tells whether the server can serve."""
        commands: list[tuple[Argument, ...]] = []
        if self.password is not None:
            commands.append(("AUTH", self.username, self.password) if self.username else ("AUTH", self.password))
        if self.database:
            commands.append(("SELECT", self.database))
        commands.append(("PING",))
        return commands


class RedisConnection:
    """One kept connection to Redis; commands from one event loop only.

    `command_timeout_s` bounds the wait for a reply (the connection is closed when it is exceeded), `max_pending` the
    commands that wait at once. `on_up` and `on_down` are called without arguments at every change.
    """

    def __init__(
        self,
        url: str,
        *,
        command_timeout_s: float = 0.8,
        max_pending: int = 20_000,
        tls: ssl.SSLContext | None = None,
        on_up: Callable[[], None] | None = None,
        on_down: Callable[[], None] | None = None,
    ) -> None:
        self._address = Address.parse(url)
        self._timeout_s = command_timeout_s
        self._max_pending = max_pending
        self._tls = (tls or ssl.create_default_context()) if self._address.tls else None
        self._on_up = on_up
        self._on_down = on_down
        self._link: Link | None = None
        self._up = asyncio.Event()
        self._lost = asyncio.Event()
        self._tasks = Tasks()
        self._started = False
        self._why_down = "not started"

    @property
    def is_up(self) -> bool:
        """Whether a command can be sent now."""
        return self._link is not None

    @property
    def pending(self) -> int:
        """Commands that wait for a reply now."""
        return 0 if self._link is None else self._link.pending

    async def start(self, timeout_s: float = 5.0) -> None:
        """Connects and keeps connected. Raises RedisUnavailable when that takes longer; it goes on trying all the same."""
        if not self._started:
            self._started = True
            self._tasks.spawn("redis connection", self._keep())
        if not await self.ready(timeout_s):
            raise RedisUnavailable(f"The credit store cannot be reached: {self._why_down}.")

    async def ready(self, timeout_s: float) -> bool:
        """Waits until the connection is up; False when it is not after `timeout_s` seconds."""
        if self._link is None and timeout_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._up.wait()
        return self._link is not None

    def execute(self, *args: Argument) -> asyncio.Future[Any]:
        """Sends one command with this turn's others; await the future for its reply (bytes, int, None or a list).

        Raises RedisUnavailable (not sent), RedisAmbiguous (sent, no reply) or ScriptRefused (an error reply).
        """
        return self.send(encode(args))

    def send(self, command: bytes) -> asyncio.Future[Any]:
        """As `execute`, for a command that is encoded already."""
        if self._link is None:
            raise RedisUnavailable("The credit store cannot be reached.")
        return self._link.send(command)

    async def close(self) -> None:
        """Closes the connection; what still waits fails."""
        await self._tasks.close()
        self._drop(CLOSED)
        await asyncio.sleep(0)  # the event loop closes an aborted socket on its next turn

    async def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(self._timeout_s + 1.0):  # wait_for may swallow the cancellation of `close`
                    await self._connect()
            except (OSError, FareboxError) as error:  # TimeoutError is an OSError
                self._why_down = f"{type(error).__name__}: {_reason(error)}"
                log.debug("no connection to Redis: %s", self._why_down)
            else:
                connected_at = loop.time()
                await self._lost.wait()
                if loop.time() - connected_at >= HEALTHY_AFTER_S:
                    pause_s = FIRST_PAUSE_S
                    continue
            # Jitter, so that workers that lost the same server do not return to it in step.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _connect(self) -> None:
        self._lost = asyncio.Event()
        link = await self._open()
        try:
            await asyncio.gather(*(link.send(encode(line)) for line in self._address.introduction()))
        except BaseException:
            link.abort()
            raise
        if link.lost:
            raise RedisUnavailable("The connection to the credit store was lost.")
        self._link = link
        self._up.set()
        log.info("connected to Redis")
        if self._on_up is not None:
            self._on_up()

    async def _open(self) -> Link:
        loop, address, lost = asyncio.get_running_loop(), self._address, self._lost

        def lose(link: Link) -> None:
            if link is self._link:
                self._drop("connection lost")  # at once: nobody must be told that a lost connection is ready
            lost.set()

        def protocol() -> Link:
            return Link(self._timeout_s, self._max_pending, lose)

        if address.path is not None:
            _, link = await loop.create_unix_connection(protocol, address.path)
        else:
            _, link = await loop.create_connection(protocol, address.host, address.port, ssl=self._tls)
        return link

    def _drop(self, why: str) -> None:
        link, self._link = self._link, None
        self._up.clear()
        if link is None:
            return
        self._why_down = why
        link.abort()
        log.log(logging.INFO if why == CLOSED else logging.WARNING, "the connection to Redis is gone: %s", why)
        if self._on_down is not None:
            self._on_down()


def _reason(error: Exception) -> str:
    """Why a connection failed, in words that hold no credential."""
    if isinstance(error, ScriptRefused):
        return "it refuses our credentials" if error.kind in {"NOAUTH", "WRONGPASS"} else f"it answers {error.kind}"
    return str(error) or "no answer in time"
