"""The stores as a command needs them: open while a block runs, with the embedded Redis brought up for that long if need be."""

import contextlib
import getpass
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.accounts.administrators import Administrators
from proxy.accounts.audit_log import Change, note
from proxy.accounts.authenticator import Authenticator
from proxy.accounts.directory import Directory
from proxy.accounts.grants import Grants
from proxy.accounts.journal import Journal
from proxy.accounts.keys import KeyHasher
from proxy.accounts.redemption import RedemptionCodes
from proxy.accounts.refunds import Refunds
from proxy.accounts.reservations import Reservations
from proxy.accounts.topups import Topups
from proxy.config import Config
from proxy.core.clock import SystemClock
from proxy.embedded import DirectoryLocked, EmbeddedRedis, ping, redis_directory, socket_path
from proxy.ledger.connection import RedisConnection
from proxy.ledger.credit_scripts import CreditScripts
from proxy.ledger.keys import Partition
from proxy.ledger.ledger import Ledger
from proxy.ledger.scripts import RedisScripts
from proxy.ledger.server import check_server
from proxy.records.epoch import agree
from proxy.roles import EMBEDDED, with_redis_address
from proxy.sql.database import Database, open_database

LOCK_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 10.0  # a person waits longer than a call may


@dataclass(frozen=True)
class Stores:
    """Everything that commands work on."""

    database: Database
    redis: RedisConnection
    ledger: Ledger
    directory: Directory
    topups: Topups
    authenticator: Authenticator
    administrators: Administrators
    journal: Journal
    hasher: KeyHasher

    @property
    def grants(self) -> Grants:
        """Credits that burn before bought ones."""
        return Grants(self.journal)

    @property
    def refunds(self) -> Refunds:
        """Charges that are returned."""
        return Refunds(self.journal)

    @property
    def codes(self) -> RedemptionCodes:
        """Codes that accounts turn into credits."""
        return RedemptionCodes(self.journal, self.hasher)

    @property
    def reservations(self) -> Reservations:
        """Holds that applications asked for."""
        return Reservations(self.database, self.ledger, self.journal.scripts, self.journal.clock)

    async def note(self, action: str, subject: str, after: Mapping[str, object] | None = None) -> None:
        """A row of the log of changes, before a change that does not write its own."""
        await note(self.database, Change(actor_here(), action, subject, None, after), self.journal.clock.now_ms())


@contextlib.asynccontextmanager
async def open_stores(config: Config) -> AsyncIterator[Stores]:
    """Both stores, agreed on their epoch. Raises Unavailable and ConfigError, which say what to do."""
    clock = SystemClock()
    hasher = KeyHasher(config.keys.pepper)
    async with using_database(config) as database, using_redis(config) as redis:
        epoch = await agree(redis, database, [Partition.at(number) for number in range(config.redis.partitions)])
        ledger = Ledger(RedisScripts(redis), config.redis.partitions, epoch)
        journal = Journal(database, ledger, CreditScripts(ledger, RedisScripts(redis)), clock)
        yield Stores(
            database,
            redis,
            ledger,
            Directory(database, ledger, hasher, clock, actor_here()),
            Topups(journal),
            Authenticator(database, ledger, hasher, clock),
            Administrators(database, hasher, clock, config.admin.token),
            journal,
            hasher,
        )


def actor_here() -> str:
    """Who the log of changes says it was: the user of this machine."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user may have no name
        return "cli"


@contextlib.asynccontextmanager
async def using_database(config: Config) -> AsyncIterator[Database]:
    """The database, its schema brought up to this version."""
    database = open_database(config.database.url)
    try:
        await database.migrate()
        yield database
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def using_redis(config: Config) -> AsyncIterator[RedisConnection]:
    """A connection to Redis. Raises Unavailable."""
    with _embedded_for_a_while(config):
        redis = RedisConnection(with_redis_address(config).redis.url, command_timeout_s=COMMAND_TIMEOUT_S)
        try:
            await redis.start()
            await check_server(redis, require_append_only=config.redis.require_append_only)
            yield redis
        finally:
            await redis.close()


def partitions_of(config: Config) -> list[Partition]:
    """All partitions of this installation."""
    return [Partition.at(number) for number in range(config.redis.partitions)]


@contextlib.contextmanager
def _embedded_for_a_while(config: Config) -> Iterator[None]:
    """Nothing to do where another server is configured or ours runs already; else ours runs as long as the block."""
    directory = redis_directory(Path(config.server.state_dir))
    if config.redis.url != EMBEDDED or ping(socket_path(directory)) == "PONG":
        yield
        return
    own = EmbeddedRedis(directory, appendfsync=config.redis.appendfsync)
    try:
        own.start(lock_timeout_s=LOCK_TIMEOUT_S)
    except DirectoryLocked:
        if ping(socket_path(directory)) != "PONG":  # it may have come up while we waited for the lock
            raise
        yield
        return
    try:
        yield
    finally:
        own.stop()
