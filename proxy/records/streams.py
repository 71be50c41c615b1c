"""The ledger's streams as the recorder and the audit see them: reading, acknowledging, trimming, how far behind."""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from proxy.ledger.connection import Argument
from proxy.ledger.errors import ScriptRefused
from proxy.ledger.keys import Partition
from proxy.ledger.scripts import ScriptRunner, load

log = logging.getLogger("farebox.recorder")

GROUP = "recorder"
OPERATION_KEPT_MS = 24 * 60 * 60 * 1000


class RedisCommands(Protocol):
    """One command to Redis, its reply in return: `proxy.ledger.connection.RedisConnection`."""

    def execute(self, *args: Argument) -> Awaitable[Any]:
        """The reply: bytes, int, None or a list. Raises RedisUnavailable, RedisAmbiguous, ScriptRefused."""
        ...


@dataclass(frozen=True, slots=True)
class Delivered:
    """An entry of a partition's stream. `fields` None: it was dropped from the stream before it was acknowledged."""

    partition: Partition
    id: bytes
    fields: Sequence[bytes] | None


class Streams:
    """The streams of `partitions`, read by one consumer of the group `recorder`."""

    def __init__(
        self, redis: RedisCommands, scripts: ScriptRunner, partitions: Iterable[Partition], consumer: str
    ) -> None:
        self._redis = redis
        self._scripts = scripts
        self._by_stream = {partition.stream: partition for partition in partitions}
        self._consumer = consumer

    async def make_groups(self) -> None:
        """Makes the consumer group of every stream, from its very beginning, where it is missing."""
        for stream in self._by_stream:
            try:
                await self._redis.execute("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM")
            except ScriptRefused as error:
                if error.kind != "BUSYGROUP":
                    raise

    async def read_new(self, count: int) -> list[Delivered]:
        """Entries that nobody was given yet, at most `count` a stream; does not wait for any."""
        return await self._read(count, [b">"] * len(self._by_stream))

    async def read_own(self, count: int, after: dict[bytes, bytes]) -> list[Delivered]:
        """Entries that this consumer was given and did not acknowledge, after the given id of each stream."""
        return await self._read(count, [after.get(stream, b"0") for stream in self._by_stream])

    async def _read(self, count: int, ids: list[bytes]) -> list[Delivered]:
        reply = await self._redis.execute(
            "XREADGROUP", "GROUP", GROUP, self._consumer, "COUNT", count, "STREAMS", *self._by_stream, *ids
        )
        return [
            Delivered(self._by_stream[stream], entry_id, fields)
            for stream, entries in reply or ()
            for entry_id, fields in entries
        ]

    async def claim(self, partition: Partition, idle_ms: int, count: int) -> list[Delivered]:
        """Takes over entries that another consumer was given more than `idle_ms` ago and never acknowledged."""
        found: list[Delivered] = []
        cursor = b"0-0"
        while len(found) < count:
            cursor, entries, *lost = await self._redis.execute(
                "XAUTOCLAIM", partition.stream, GROUP, self._consumer, idle_ms, cursor, "COUNT", count
            )
            if lost and lost[0]:
                log.error("%d events were dropped from the stream before they were recorded", len(lost[0]))
            found += [Delivered(partition, entry_id, fields) for entry_id, fields in entries]
            if cursor == b"0-0":
                break
        return found

    async def acknowledge(self, entries: Iterable[Delivered], operations: Iterable[tuple[Partition, str]]) -> None:
        """After the commit: the answers of credit operations get their end of life first, then the entries are done."""
        ids: dict[Partition, list[bytes]] = {}
        for entry in entries:
            ids.setdefault(entry.partition, []).append(entry.id)
        # In this order on one connection: an entry that is acknowledged will not come again to have its operation ended.
        replies = [
            self._redis.execute("PEXPIRE", partition.operation(operation_id), OPERATION_KEPT_MS)
            for partition, operation_id in operations
        ]
        replies += [
            self._redis.execute("XACK", partition.stream, GROUP, *entry_ids) for partition, entry_ids in ids.items()
        ]
        await asyncio.gather(*replies)

    async def bury(self, entry: Delivered, reason: str) -> None:
        """Moves an entry to the partition's dead-letter stream, with why, and acknowledges it, in one step."""
        await self._scripts.run(
            load("dead_letter"),
            [entry.partition.stream, entry.partition.dead],
            [GROUP, entry.id, reason, *(entry.fields or ())],
        )

    async def trim(self) -> int:
        """Drops what every group has acknowledged; returns how many entries were dropped."""
        dropped = 0
        for stream in self._by_stream:
            dropped += int((await self._scripts.run(load("trim"), [stream], []))[0])
        return dropped


async def lag(redis: RedisCommands, partitions: Iterable[Partition]) -> int:
    """How many events are not yet committed to SQL: never read, or read and not acknowledged. For readiness and metrics."""
    return sum(await asyncio.gather(*(_lag_of(redis, partition) for partition in partitions)))


async def _lag_of(redis: RedisCommands, partition: Partition) -> int:
    try:
        groups = await redis.execute("XINFO", "GROUPS", partition.stream)
    except ScriptRefused as error:
        if error.detail.startswith("ERR no such key"):
            return 0
        raise
    for group in groups:
        facts = dict(zip(group[::2], group[1::2], strict=True))
        if facts[b"name"] == GROUP.encode():
            unread = facts.get(b"lag")
            # Redis cannot tell after some deletions: the whole stream is the safe side.
            return int(facts[b"pending"]) + int(
                await redis.execute("XLEN", partition.stream) if unread is None else unread
            )
    return int(await redis.execute("XLEN", partition.stream))


async def depth_of_dead(redis: RedisCommands, partitions: Iterable[Partition]) -> int:
    """How many events lie in the dead-letter streams, waiting for a person."""
    return sum(await asyncio.gather(*(redis.execute("XLEN", partition.dead) for partition in partitions)))
