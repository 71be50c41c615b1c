"""What the surfaces stand on: the stores, the clock, prices, who asks, and whether the house is open.

Its database is another handle than the pipeline's, with a thread of its own and a bound on how long a query may take: a
search waits for other searches, never a call for a search.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.accounts.authenticator import UNPAID_MAX_AGE_S
from proxy.accounts.maintenance import is_on
from proxy.sql.database import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.accounts.administrators import Administrators
    from proxy.accounts.authenticator import Authenticator
    from proxy.accounts.caller import Caller
    from proxy.accounts.desk import Desk
    from proxy.accounts.directory import Directory
    from proxy.accounts.keys import KeyHasher
    from proxy.config import Config
    from proxy.core.clock import Clock
    from proxy.ledger.glance import Glance
    from proxy.ledger.ledger import Ledger
    from proxy.pipeline.route import Router
    from proxy.sql.database import Database

MAINTENANCE_LOOK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Everything that handlers use. `router` gives the routes and prices as they stand after the last reload."""

    config: Config
    database: Database
    ledger: Ledger
    glance: Glance
    authenticator: Authenticator
    administrators: Administrators
    directory: Directory
    desk: Desk
    hasher: KeyHasher
    clock: Clock
    router: Callable[[], Router]

    async def caller(self, key: bytes, kind: str) -> Caller:
        """The key's account, read at most a second ago: a revocation is heard within that. Raises InvalidKey, Forbidden."""
        return await self.authenticator.identify(key, kind=kind, max_age_s=UNPAID_MAX_AGE_S)


class MaintenanceSwitch:
    """Whether maintenance is on, read from SQL at most once a second; while SQL is away, what was read last."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._on = False
        self._read_at = float("-inf")

    async def is_on(self) -> bool:
        """Whether the surfaces are to answer that they are under maintenance."""
        now = self._clock.monotonic()
        if now - self._read_at >= MAINTENANCE_LOOK_S:
            self._read_at = now  # before the await: one look a second, whoever else asks meanwhile
            try:
                self._on = await is_on(self._database)
            except DatabaseUnavailable:
                return self._on
        return self._on
