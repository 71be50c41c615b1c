"""Settlements that Redis could not take: a local file of JSON lines, synced before a call counts as settled.

One file a worker. A line is a settlement by call id; replaying one that was applied after all changes nothing, because
the ledger answers a repeat with the first result. Lines leave the file only after the ledger has answered them; those that
it has no place for go to a file `.unresolved` beside it, for a person.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

import msgspec

from proxy.core.errors import InvalidRequest, Unavailable
from proxy.core.outcomes import UNKNOWN

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.ledger.ledger import Ledger
    from proxy.tasks import Tasks

log = logging.getLogger("farebox.spool")

_REPLAY_EVERY_S = 0.5


class _Line(msgspec.Struct, frozen=True):
    account_id: str
    call_id: str
    charge_microcredits: int
    tokens: int
    record: str


class Spool:
    """The file of one worker: `depth` settlements wait in it."""

    def __init__(self, path: Path, ledger: Ledger) -> None:
        self._path = path
        self._unresolved = path.with_suffix(".unresolved")
        self._ledger = ledger
        self._lock = asyncio.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = self._read()
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            self._keep(lines)  # a torn line would swallow the next one
        self.depth = len(lines)

    def start(self, tasks: Tasks) -> None:
        """Starts the replay, which runs whenever something waits."""
        tasks.every("spool replay", _REPLAY_EVERY_S, self.replay)

    async def put(self, account_id: str, call_id: str, charge_microcredits: int, tokens: int, record: bytes) -> None:
        """Keeps one settlement; returns when it is on the disk."""
        line = _Line(account_id, call_id, charge_microcredits, tokens, record.decode())
        async with self._lock:
            await asyncio.get_running_loop().run_in_executor(None, self._append, self._path, line)
            self.depth += 1

    async def replay(self) -> None:
        """Hands everything that waits to the ledger, in order; what it cannot take yet stays."""
        if not self.depth:
            return
        async with self._lock:
            loop = asyncio.get_running_loop()
            lines = await loop.run_in_executor(None, self._read)
            settled = 0
            try:
                for line in lines:
                    if not await self._settle(line):
                        await loop.run_in_executor(None, self._append, self._unresolved, line)
                    settled += 1
            except Unavailable:
                log.info("spool: %d of %d settlements replayed, Redis is still away", settled, len(lines))
            if settled:
                await loop.run_in_executor(None, self._keep, lines[settled:])
                self.depth = len(lines) - settled
                log.info("spool: %d settlements replayed, %d wait", settled, self.depth)

    async def _settle(self, line: _Line) -> bool:
        """Hands over one settlement; False where the ledger has no place for it, so that a person must look."""
        try:
            ended = await self._ledger.settle(
                line.account_id, line.call_id, line.charge_microcredits, line.tokens, line.record.encode()
            )
        except InvalidRequest as error:
            log.error("spool: call %s cannot be settled: %s", line.call_id, error.message)  # noqa: TRY400 - no trace needed
            return False
        if ended.state == UNKNOWN:
            # Settled long ago and forgotten, or its hold went with a Redis that was rebuilt: the record tells which.
            log.error("spool: the ledger does not know call %s; kept in %s", line.call_id, self._unresolved)
            return False
        return True

    def _append(self, path: Path, line: _Line) -> None:
        with path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> list[_Line]:
        if not self._path.exists():
            return []
        lines = []
        for raw in self._path.read_bytes().splitlines():
            try:
                lines.append(msgspec.json.decode(raw, type=_Line))
            except msgspec.MsgspecError:
                # Only the last line can be torn, by a kill during its write; its call was never reported as settled.
                log.exception("spool: a torn line was left out; its hold ends at its checkpoint")
        return lines

    def _keep(self, lines: list[_Line]) -> None:
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.writelines(msgspec.json.encode(line) + b"\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
