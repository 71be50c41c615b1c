"""The audit as a service of the operator's process: now and then by itself, now when somebody asks, never twice at once."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.core.errors import Unavailable
from proxy.records.audit import Audit

if TYPE_CHECKING:
    from proxy.core.clock import Clock
    from proxy.ledger.connection import RedisConnection
    from proxy.ledger.ledger import Ledger
    from proxy.records.audit import AuditReport
    from proxy.sql.database import Database
    from proxy.tasks import Tasks

log = logging.getLogger("farebox.operator")

_RETRY_S = 5.0
_LISTED = 20  # differences that are logged one by one


@dataclass(frozen=True, slots=True)
class Finished:
    """An audit of everything that has ended; instants in Unix milliseconds."""

    report: AuditReport
    started_at: int
    finished_at: int


class Auditor:
    """`last` is the newest finished audit of everything, None before the first one."""

    def __init__(
        self, database: Database, redis: RedisConnection, ledger: Ledger, clock: Clock, every_s: float
    ) -> None:
        self._database = database
        self._redis = redis
        self._ledger = ledger
        self._clock = clock
        self._every_s = every_s
        self._wanted = asyncio.Event()
        self._running = False
        self.last: Finished | None = None

    @property
    def running(self) -> bool:
        """Whether an audit of everything runs, or was asked for and is about to."""
        return self._running or self._wanted.is_set()

    def start(self, tasks: Tasks) -> None:
        """Starts the audits that stand behind the drift metric."""
        tasks.spawn("audit", self._watch())

    def ask(self) -> None:
        """An audit of everything now; one that runs already is the one that is meant."""
        if not self._running:
            self._wanted.set()

    async def account(self, account_id: str) -> AuditReport:
        """One account, at once. Raises Unavailable."""
        return await self._audit().account(account_id)

    def _audit(self) -> Audit:
        return Audit(self._ledger, self._redis, self._database)

    async def _watch(self) -> None:
        while True:
            self._running, pause_s = True, self._every_s
            self._wanted.clear()
            try:
                await self._run()
            except Unavailable as error:
                log.warning("the audit waits for its stores: %s", error.code)
                pause_s = _RETRY_S
            finally:
                self._running = False
            try:
                await asyncio.wait_for(self._wanted.wait(), pause_s)
            except TimeoutError:
                continue

    async def _run(self) -> None:
        started_at = self._clock.now_ms()
        report = await self._audit().run()
        self.last = Finished(report, started_at, self._clock.now_ms())
        for difference in report.differences[:_LISTED]:
            log.error("audit: %s", difference)
