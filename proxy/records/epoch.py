"""The epoch: one word that SQL and every partition of Redis share, so that a Redis that lost its data is noticed.

Every script of the ledger compares it before it does anything. It is made once, on the first start, and again only by
`farebox rebuild`. A Redis without it has been flushed, replaced or restored wrongly: balances would begin anew at zero,
so nothing is served from it. The number of partitions is agreed on with it: another number would look for every account
elsewhere. A process that runs while Redis loses its data is refused by every script, and follows the new epoch once a
rebuild has put it into both stores.
"""

import asyncio
import logging
from collections.abc import Sequence

from proxy.core.errors import ConfigError, Unavailable
from proxy.core.ids import new_id
from proxy.ledger.keys import Partition
from proxy.ledger.ledger import Ledger
from proxy.records.streams import RedisCommands
from proxy.sql.database import Database, Params, text

log = logging.getLogger("farebox.epoch")

_NEW = "new"  # SQL has chosen it, Redis may not know it yet; no credit was ever given under it
_AGREED = "agreed"


class EpochLost(Unavailable):
    """Redis and SQL do not belong together (any more); a person must decide. The message says what to do."""

    code = "epoch_lost"


async def agree(redis: RedisCommands, database: Database, partitions: Sequence[Partition]) -> str:
    """The epoch of this installation, made on the very first start; any number of processes may start at once.

    Raises EpochLost (the message names `farebox rebuild`), ConfigError (another number of partitions), Unavailable.
    """
    epoch = await _meta(database, "epoch")
    if epoch is None:
        epoch = await _choose(redis, database, partitions)
    await _check_partitions(database, partitions)
    if await _meta(database, "epoch_state") == _NEW:
        await asyncio.gather(*(redis.execute("SET", partition.epoch, epoch, "NX") for partition in partitions))
        await _compare(redis, epoch, partitions)
        await database.execute("set_meta", key="epoch_state", value=_AGREED)
        log.info("SQL and Redis agreed on a new epoch")
    else:
        await _compare(redis, epoch, partitions)
    return epoch


async def replace(redis: RedisCommands, database: Database, partitions: Sequence[Partition]) -> str:
    """Makes a new epoch when Redis holds what SQL says: the end of a rebuild."""
    epoch = new_id("epoch")
    rows: list[Params] = [
        {"key": "epoch", "value": epoch},
        {"key": "epoch_state", "value": _AGREED},
        {"key": "partitions", "value": str(len(partitions))},
    ]
    await database.transaction(("set_meta", rows))
    await asyncio.gather(*(redis.execute("SET", partition.epoch, epoch) for partition in partitions))
    return epoch


async def is_current(redis: RedisCommands, ledger: Ledger) -> bool:
    """Whether every partition of Redis has the epoch that the ledger works under. Raises Unavailable."""
    return all(found == ledger.epoch for found in await _read(redis, ledger.partitions))


class EpochFollower:
    """Keeps a running process on the epoch of both stores; `look` is to be called every second or so."""

    def __init__(self, redis: RedisCommands, database: Database, ledger: Ledger) -> None:
        self._redis = redis
        self._database = database
        self._ledger = ledger
        self._lost = False

    async def look(self) -> None:
        """Notices that Redis lost the epoch, and adopts the new one when SQL and all of Redis agree on it."""
        try:
            if await is_current(self._redis, self._ledger):
                self._lost = False
                return
            self._ledger.adopt(await agree(self._redis, self._database, self._ledger.partitions))
        except EpochLost as error:
            if not self._lost:
                log.error("%s", error.message)  # noqa: TRY400 - the message says it all
            self._lost = True
        except Unavailable:
            return  # a store is away, which others say: what is known of the epoch stays
        else:
            log.warning("Redis was rebuilt: going on under its new epoch")
            self._lost = False


async def count_leftovers(redis: RedisCommands, partitions: Sequence[Partition]) -> int:
    """How many accounts, open holds, and events Redis holds; 0 in one that Farebox has not used yet."""
    counts = await asyncio.gather(
        *(redis.execute("SCARD", partition.accounts) for partition in partitions),
        *(redis.execute("ZCARD", partition.deadlines) for partition in partitions),
        *(redis.execute("XLEN", partition.stream) for partition in partitions),
    )
    return sum(counts)


async def _choose(redis: RedisCommands, database: Database, partitions: Sequence[Partition]) -> str:
    known = await _read(redis, partitions)
    if any(known) or await count_leftovers(redis, partitions):
        # Another process may have chosen meanwhile: it tells SQL before it tells Redis.
        chosen = await _meta(database, "epoch")
        if chosen is not None:
            return chosen
        raise EpochLost(
            "This Redis holds the accounts of another database. Point database.url to the database that it belongs to, "
            "or give Farebox an empty Redis."
        )
    rows: list[Params] = [
        {"key": "epoch", "value": new_id("epoch")},
        {"key": "epoch_state", "value": _NEW},
        {"key": "partitions", "value": str(len(partitions))},
    ]
    await database.transaction(("insert_meta", rows))  # another process may have been first: its rows stand
    epoch = await _meta(database, "epoch")
    if epoch is None:
        raise RuntimeError("the epoch vanished between its commit and its reading")
    return epoch


async def _check_partitions(database: Database, partitions: Sequence[Partition]) -> None:
    agreed = await _meta(database, "partitions")
    if agreed != str(len(partitions)):
        raise ConfigError(
            f"redis.partitions is {len(partitions)}, but this installation was made with {agreed}: set it back. "
            "To change it, stop everything and run `farebox rebuild --force`."
        )


async def _compare(redis: RedisCommands, epoch: str, partitions: Sequence[Partition]) -> None:
    found = await _read(redis, partitions)
    wrong = [value for value in found if value != epoch]
    if any(value is not None for value in wrong):
        raise EpochLost(
            "This Redis belongs to another database, or was rebuilt while this process ran. Check redis.url and "
            "database.url and start again; if Redis is the one that is wrong, run `farebox rebuild --force`."
        )
    if wrong:
        raise EpochLost(
            "Redis has lost its data (flushed, replaced, or restored without it): no balance there can be trusted. "
            "Run `farebox rebuild`, which restores every account from the database; running processes follow."
        )


async def _read(redis: RedisCommands, partitions: Sequence[Partition]) -> list[str | None]:
    values = await asyncio.gather(*(redis.execute("GET", partition.epoch) for partition in partitions))
    return [None if value is None else value.decode("utf-8", "replace") for value in values]


async def _meta(database: Database, key: str) -> str | None:
    row = await database.fetch_one("meta", key=key)
    return None if row is None else text(row, "value")
