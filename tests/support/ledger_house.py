"""A ledger over a real server, open for one test."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from proxy.core.ids import new_call_id
from proxy.core.limits import Limit
from proxy.core.outcomes import HoldRequest
from proxy.ledger.connection import RedisConnection
from proxy.ledger.ledger import Ledger
from proxy.ledger.scripts import RedisScripts

ACCOUNT = "acct_1"
EPOCH = "epoch-1"


@dataclass
class LedgerHouse:
    """A connection, and a ledger with one account of 1,000 microcredits."""

    redis: RedisConnection
    ledger: Ledger

    def request(
        self, amount: int = 100, call_id: str | None = None, lease_ms: int = 60_000, limits: tuple[Limit, ...] = ()
    ) -> HoldRequest:
        return HoldRequest(ACCOUNT, call_id or new_call_id(), amount, 10, lease_ms, limits, 1, b'{"draft":true}')

    async def everything(self) -> dict[bytes, bytes]:
        """Every key with its serialised value, to see that nothing was changed."""
        keys = sorted(await self.redis.execute("KEYS", "*"))
        return {key: await self.redis.execute("DUMP", key) for key in keys}

    async def figures(self) -> tuple[int, int, int]:
        """Posted, held and number of open holds."""
        balance = await self.ledger.balance(ACCOUNT)
        assert balance is not None
        assert balance.held_microcredits == balance.open_holds_microcredits
        return balance.posted_microcredits, balance.held_microcredits, balance.open_holds


@contextlib.asynccontextmanager
async def connected(url: str, timeout_s: float = 0.8) -> AsyncIterator[RedisConnection]:
    redis = RedisConnection(url, command_timeout_s=timeout_s)
    try:
        await redis.start()
        yield redis
    finally:
        await redis.close()


@contextlib.asynccontextmanager
async def ledger_house(url: str, amount: int = 1_000, partitions: int = 4) -> AsyncIterator[LedgerHouse]:
    async with connected(url) as redis:
        ledger = Ledger(RedisScripts(redis), partitions, EPOCH)
        for partition in ledger.partitions:
            await redis.execute("SET", partition.epoch, EPOCH)
        if await ledger.open_account(ACCOUNT, 1) and amount:
            await ledger.credit(ACCOUNT, "op-first", "topup", amount, "digest", "test", "first", "key-1")
        yield LedgerHouse(redis, ledger)
