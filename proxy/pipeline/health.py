"""Whether this process may take paid calls: Redis answers and is ours, and the recorder keeps up. Behind `/healthz` and `/readyz`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.core.errors import FareboxError, Unavailable
from proxy.pipeline.reply import send_json
from proxy.records.epoch import is_current
from proxy.records.streams import lag

if TYPE_CHECKING:
    from proxy.ledger.connection import RedisConnection
    from proxy.ledger.ledger import Ledger
    from proxy.pipeline.exchange import Exchange
    from proxy.tasks import Tasks

_LOOK_EVERY_S = 2.0


class Health:
    """What is known of the stores; `behind` stops paid calls until the recorder has caught up."""

    def __init__(self, redis: RedisConnection, ledger: Ledger, max_lag: int) -> None:
        self._redis = redis
        self._ledger = ledger
        self._max_lag = max_lag
        self.behind = False
        self.draining = False

    def start(self, tasks: Tasks) -> None:
        """Starts looking at the recorder's lag."""
        tasks.every("recorder lag", _LOOK_EVERY_S, self._look)

    def check(self) -> None:
        """Raises Unavailable while the recorder is too far behind: records must not pile up in Redis without a bound."""
        if self.behind:
            msg = "Usage cannot be recorded at the moment. Try again shortly."
            raise Unavailable(msg, code="recorder_behind")

    async def report(self) -> dict[str, object]:
        """The state of every part, and `ready`."""
        parts: dict[str, object] = {}
        try:
            behind = await lag(self._redis, self._ledger.partitions)
            epoch = await is_current(self._redis, self._ledger)
        except FareboxError as error:
            parts = {"redis": error.code, "epoch": None, "recorder_lag": None, "ready": False}
        else:
            ready = epoch and behind <= self._max_lag and not self.draining
            parts = {"redis": "up", "epoch": "agreed" if epoch else "lost", "recorder_lag": behind, "ready": ready}
        return parts | {"draining": self.draining}

    async def healthz(self, exchange: Exchange) -> None:
        """Answers that the process is alive."""
        send_json(exchange, 200, b'{"status":"ok"}')

    async def readyz(self, exchange: Exchange) -> None:
        """Answers 200 where paid calls are taken, else 503, with the state of every part."""
        report = await self.report()
        send_json(exchange, 200 if report["ready"] else 503, msgspec.json.encode(report))

    async def _look(self) -> None:
        try:
            self.behind = await lag(self._redis, self._ledger.partitions) > self._max_lag
        except Unavailable:
            self.behind = False  # Redis is away: holds fail by themselves, and nothing new can pile up
