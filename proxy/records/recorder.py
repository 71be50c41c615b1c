"""The recorder moves the ledger's events from Redis' streams to SQL: every event once, whatever dies in between.

A batch is one commit: usage records (a correction overrides the record that it corrects, in whichever order they come), their
sums and ledger entries. Only then is it acknowledged, and what is acknowledged may be trimmed. A repeat changes nothing in
SQL, so any number of recorders may run, and each takes over what a dead one left. An event that SQL refuses does not stop
those behind it: the batch is halved until the event stands alone, its ledger entry is kept if that much is good, and the
event goes to the dead-letter stream with the reason. While SQL or Redis is away nothing is acknowledged and the lag grows.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.core.errors import Unavailable
from proxy.ledger.errors import ScriptRefused
from proxy.ledger.keys import Partition
from proxy.records.events import BadEvent, Event, read_event
from proxy.records.streams import Delivered, Streams
from proxy.records.sums import steps
from proxy.sql.database import Database, RowRefused

log = logging.getLogger("farebox.recorder")

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How much and how often: events a commit, idle pause, when an event of another recorder counts as left behind."""

    batch_size: int = 500
    poll_s: float = 0.1
    claim_after_s: float = 30.0
    trim_every_s: float = 5.0


@dataclass(slots=True)
class Tally:
    """What a recorder has done since it started; for metrics."""

    written: int = 0
    buried: int = 0
    claimed: int = 0
    trimmed: int = 0
    failures: int = 0


Good = tuple[Delivered, Event]
Bad = tuple[Delivered, str]


class Recorder:
    """One recorder; `consumer` (in `streams`) should be the same name after a restart, and no other recorder's."""

    def __init__(
        self, streams: Streams, partitions: Sequence[Partition], database: Database, pace: Pace | None = None
    ) -> None:
        self._streams = streams
        self._partitions = tuple(partitions)
        self._database = database
        self._pace = pace or Pace()
        self._ready = False
        self._claimed_at = self._trimmed_at = float("-inf")
        self.tally = Tally()

    async def run(self) -> None:
        """Records until it is cancelled. A store that is away is waited for, with growing pauses."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                moved = await self.step()
            except Unavailable as error:
                self.tally.failures += 1
                log.warning("recording pauses for %.1f s: %s", pause_s, error.message)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            pause_s = _FIRST_PAUSE_S
            if not moved:
                await asyncio.sleep(self._pace.poll_s)

    async def step(self) -> int:
        """One round: what is new, and now and then what others left and the trim. Returns how many events it dealt with.

        Raises Unavailable; then the next round begins with what this one was given and did not acknowledge.
        """
        # Until this round has ended well, the next one begins with what this consumer was given before.
        ready, self._ready = self._ready, False
        try:
            if not ready:
                await self._streams.make_groups()
                await self._finish_own()
            moved = await self._take(await self._streams.read_new(self._pace.batch_size))
            moved += await self._keep_house()
        except ScriptRefused as error:
            if error.kind != "NOGROUP":
                raise
            log.warning("the consumer group is gone (was Redis flushed?); it is made anew")
            return 0
        self._ready = True
        return moved

    async def _finish_own(self) -> None:
        """What this consumer was given before its death, or before a store went away."""
        after: dict[bytes, bytes] = {}
        while entries := await self._streams.read_own(self._pace.batch_size, after):
            after |= {entry.partition.stream: entry.id for entry in entries}
            await self._take(entries)

    async def _keep_house(self) -> int:
        now, moved = asyncio.get_running_loop().time(), 0
        if now - self._claimed_at >= self._pace.claim_after_s / 2:
            self._claimed_at = now
            for partition in self._partitions:
                left = await self._streams.claim(partition, int(self._pace.claim_after_s * 1000), self._pace.batch_size)
                self.tally.claimed += len(left)
                moved += await self._take(left)
        if now - self._trimmed_at >= self._pace.trim_every_s:
            self._trimmed_at = now
            self.tally.trimmed += await self._streams.trim()
        return moved

    async def _take(self, entries: Sequence[Delivered]) -> int:
        for start in range(0, len(entries), self._pace.batch_size):
            await self._record(entries[start : start + self._pace.batch_size])
        return len(entries)

    async def _record(self, entries: Sequence[Delivered]) -> None:
        """Commits, acknowledges, and puts aside what cannot be stored."""
        good, bad = sort_out(entries)
        bad += await self._commit(good)
        refused = {id(entry) for entry, _ in bad}
        done = [(entry, event) for entry, event in good if id(entry) not in refused]
        operations = [(entry.partition, event.operation_id) for entry, event in done if event.operation_id is not None]
        await self._streams.acknowledge([entry for entry, _ in done], operations)
        self.tally.written += len(done)
        for entry, reason in bad:
            log.error(
                "event %s of partition %d goes to the dead-letter stream: %s",
                entry.id.decode(),
                entry.partition.number,
                reason,
            )
            await self._streams.bury(entry, reason)
            self.tally.buried += 1

    async def _commit(self, batch: Sequence[Good]) -> list[Bad]:
        """One commit; where SQL refuses, two of half the size, down to the event that is at fault. Returns the refused."""
        if not batch:
            return []
        try:
            await self._write([event for _, event in batch])
        except RowRefused as error:
            if len(batch) == 1:
                return [await self._save_money(batch[0], str(error))]
            middle = len(batch) // 2
            return await self._commit(batch[:middle]) + await self._commit(batch[middle:])
        return [(entry, event.unreadable) for entry, event in batch if event.unreadable is not None]

    async def _write(self, events: Sequence[Event]) -> None:
        usage = [row for event in events if (row := event.usage_row()) is not None]
        ledger = [row for event in events if (row := event.ledger_row()) is not None]
        await self._database.transaction(*steps(usage), ("insert_ledger_entry", ledger))

    async def _save_money(self, refused: Good, reason: str) -> Bad:
        """The ledger entry of an event whose record is refused, so that the balance in SQL stays right."""
        entry, event = refused
        row = event.ledger_row()
        if row is not None and event.record is not None:
            try:
                await self._database.transaction(("insert_ledger_entry", [row]))
            except RowRefused as error:
                return entry, str(error)
        return entry, reason


def sort_out(entries: Sequence[Delivered]) -> tuple[list[Good], list[Bad]]:
    """Entries that are events, and those that are not, with the reason."""
    good: list[Good] = []
    bad: list[Bad] = []
    for entry in entries:
        try:
            good.append((entry, read_event(_fields(entry))))
        except BadEvent as error:
            bad.append((entry, str(error)))
    return good, bad


def _fields(entry: Delivered) -> Sequence[bytes]:
    if entry.fields is None:
        raise BadEvent("the entry was dropped from the stream before it was recorded")
    return entry.fields
