"""What the admin API works on, made of the stores of the operator's process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.accounts.administrators import Administrators
from proxy.accounts.desk import Desk
from proxy.accounts.directory import Directory
from proxy.accounts.keys import KeyHasher
from proxy.accounts.model_prices import ModelPrices
from proxy.admin.auditing import Auditor
from proxy.admin.call import Office
from proxy.admin.reloading import Settings
from proxy.core.clock import SystemClock
from proxy.core.cursors import Cursors
from proxy.ledger.open_holds import OpenHolds
from proxy.ledger.scripts import RedisScripts

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config import Config
    from proxy.ledger.connection import RedisConnection
    from proxy.ledger.ledger import Ledger
    from proxy.sql.database import Database


def open_office(
    config: Config, read_again: Callable[[], Config], database: Database, redis: RedisConnection, ledger: Ledger
) -> Office:
    """The office of one process. Raises ConfigError (no pepper)."""
    clock, scripts = SystemClock(), RedisScripts(redis)
    hasher = KeyHasher(config.keys.pepper)
    return Office(
        settings=Settings(config, read_again),
        database=database,
        redis=redis,
        ledger=ledger,
        directory=Directory(database, ledger, hasher, clock),
        desk=Desk(database, ledger, scripts, clock, hasher=hasher, prices=ModelPrices.of(config)),
        administrators=Administrators(database, hasher, clock, config.admin.token),
        cursors=Cursors(config.keys.pepper),
        open_holds=OpenHolds(scripts, ledger),
        auditor=Auditor(database, redis, ledger, clock, config.admin.audit_every_s),
        clock=clock,
    )
