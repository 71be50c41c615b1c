"""Both stores for tests of what moves between them: a real Redis, a real SQLite file, the ledger, and recorders."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.accounts.directory import Directory
from proxy.accounts.grants import Grants
from proxy.accounts.journal import Journal
from proxy.accounts.keys import KeyHasher
from proxy.accounts.model_prices import ModelPrices
from proxy.accounts.refunds import Refunds
from proxy.accounts.topups import Credit, Topups
from proxy.core.clock import SystemClock
from proxy.core.ids import new_account_id, new_call_id
from proxy.core.outcomes import Ended, Held, HoldRequest
from proxy.core.records import LedgerEntry, UsageRecord
from proxy.embedded import find_server
from proxy.ledger.connection import RedisConnection
from proxy.ledger.credit_scripts import CreditScripts
from proxy.ledger.keys import Partition
from proxy.ledger.ledger import Ledger
from proxy.ledger.scripts import RedisScripts
from proxy.prices.book import PriceBook, Rules
from proxy.records.audit import Audit, AuditReport
from proxy.records.epoch import agree
from proxy.records.events import usage_row
from proxy.records.recorder import Pace, Recorder
from proxy.records.streams import RedisCommands, Streams, lag
from proxy.sql.database import Row
from proxy.sql.sqlite import SqliteDatabase
from tests.support.redis_server import RedisServer, running

PARTITIONS = 4
CREDIT = 1_000_000  # microcredits
ACCOUNT_FIGURES = ("credited", "spent", "held", "seq", "version")  # as lua/parts/formats.lua packs them


def record_of(account_id: str, call_id: str, **changes: Any) -> UsageRecord:
    """A usage record as the pipeline writes one."""
    facts: dict[str, Any] = {
        "at": 1_700_000_000_000,
        "key_id": "key_1",
        "provider": "sim",
        "model": "sim-1",
        "dialect": "openai",
        "path": "/v1/chat/completions",
        "status": 200,
        "outcome": "completed",
        "usage": {"input": 3, "output": 4},
        "input_tokens": 3,
        "output_tokens": 4,
        "cost_nano_usd": 7,
        "hold_microcredits": 100,
        "price_version": "test",
        "settlement_basis": "reported",
        "duration_ms": 5,
        "tags": {"team": "red"},
    }
    return UsageRecord(call_id=call_id, account_id=account_id, **(facts | changes))


def encoded(record: UsageRecord) -> bytes:
    """A record as an event carries it."""
    row = {name: value for name, value in usage_row(record, 0).items() if name != "revision"}
    row |= {"usage": dict(record.usage), "tags": dict(record.tags), "stream": record.stream}
    return json.dumps(row).encode()


def prices() -> ModelPrices:
    """1 USD per million tokens of input, 2 of output, 0.50 of cached input, for one model of one provider."""
    rates = {"input": "1.00", "cache_read": "0.50", "output": "2.00"}
    return ModelPrices(PriceBook(Rules(prices={"test-model": rates})), {"local": ("test-model",)}, {}, 1000)


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 20.0) -> None:
    """Waits until the condition holds."""
    async with asyncio.timeout(within_s):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.01)


class House:
    """The stores of one test, and short words for what happens in them."""

    def __init__(self, redis: RedisConnection, database: SqliteDatabase, epoch: str) -> None:
        self.redis = redis
        self.scripts = RedisScripts(redis)
        self.database = database
        self.partitions = [Partition.at(number) for number in range(PARTITIONS)]
        self.ledger = Ledger(self.scripts, PARTITIONS, epoch)
        self.clock = SystemClock()
        self.directory = Directory(database, self.ledger, KeyHasher("a pepper of some length"), self.clock)
        self.credit_scripts = CreditScripts(self.ledger, self.scripts)
        self.journal = Journal(database, self.ledger, self.credit_scripts, self.clock)
        self.topups = Topups(self.journal)
        self.grants = Grants(self.journal)
        self.refunds = Refunds(self.journal)

    async def account(self, credits_given: int = 100) -> str:
        """A new account with credits; its id."""
        account = await self.directory.create_account(new_account_id().replace("acct_", "name-"))
        if credits_given:
            await self.top_up(account.id, credits_given * CREDIT)
        return account.id

    async def top_up(self, account_id: str, amount: int, key: str | None = None) -> LedgerEntry:
        return await self.topups.top_up(account_id, Credit(amount, key or new_call_id(), actor="test"))

    async def hold(
        self, account_id: str, amount: int = 100, *, lease_ms: int = 60_000, call_id: str | None = None
    ) -> str:
        """An open hold with its draft; the call's id."""
        call_id = call_id or new_call_id()
        draft = encoded(record_of(account_id, call_id, outcome="abandoned", status=None, hold_microcredits=amount))
        held = await self.ledger.hold(HoldRequest(account_id, call_id, amount, 10, lease_ms, (), 1, draft))
        assert isinstance(held, Held), held
        return call_id

    async def settle(self, account_id: str, call_id: str, charge: int = 60, **changes: Any) -> Ended:
        record = record_of(account_id, call_id, charge_microcredits=charge, **changes)
        return await self.ledger.settle(account_id, call_id, charge, 7, encoded(record))

    async def call(self, account_id: str, charge: int = 60, **changes: Any) -> str:
        """A whole call: held and settled."""
        call_id = await self.hold(account_id)
        await self.settle(account_id, call_id, charge, **changes)
        return call_id

    def recorder(self, consumer: str = "one", *, redis: RedisCommands | None = None, **pace: Any) -> Recorder:
        streams = Streams(redis or self.redis, self.scripts, self.partitions, consumer)
        return Recorder(streams, self.partitions, self.database, Pace(**pace))

    async def record_all(self, recorder: Recorder | None = None) -> Recorder:
        """Records until nothing is left."""
        recorder = recorder or self.recorder()
        while await recorder.step():
            pass
        return recorder

    async def is_recorded(self) -> bool:
        return await lag(self.redis, self.partitions) == 0

    async def audit(self) -> AuditReport:
        return await Audit(self.ledger, self.redis, self.database).run()

    async def usage(self, call_id: str) -> Row | None:
        return await self.database.fetch_one("usage_record", call_id=call_id)

    async def entries(self, account_id: str) -> list[Row]:
        """The account's ledger entries in SQL, oldest first."""
        return await self.database.fetch(
            "ledger_entries_after", account_id=account_id, after_seq=0, to_seq=2**60, row_limit=100_000
        )

    async def tamper(self, account_id: str, field: str, change: int) -> None:
        """Changes a figure of an account in Redis behind everybody's back."""
        key = self.ledger.partition_of(account_id).account(account_id)
        figures = dict(zip(ACCOUNT_FIGURES, struct.unpack("<5q", await self.redis.execute("GET", key)), strict=True))
        figures[field] += change
        await self.redis.execute("SET", key, struct.pack("<5q", *figures.values()))

    async def sql(self, statement: str, *values: Any) -> None:
        """Any change of the database, behind everybody's back."""
        await self.database._writer.run(lambda connection: connection.execute(statement, values))


Build = Callable[[], Awaitable[House]]


async def _migrated(path: Path) -> None:
    """Several first starts at once wait for each other, on a busy machine for longer than a test wants to wait for a lock."""
    patient = SqliteDatabase(path, busy_timeout_ms=30_000)
    await patient.migrate()
    await patient.close()


@contextlib.asynccontextmanager
async def opened(redis_url: str, directory: Path) -> AsyncIterator[House]:
    """One process' view of the stores at a Redis and in a directory."""
    redis = RedisConnection(redis_url, command_timeout_s=10)
    database = SqliteDatabase(directory / "farebox.db", busy_timeout_ms=2000)
    try:
        await redis.start()
        await _migrated(directory / "farebox.db")
        epoch = await agree(redis, database, [Partition.at(number) for number in range(PARTITIONS)])
        yield House(redis, database, epoch)
    finally:
        await redis.close()
        await database.close()


@pytest.fixture
async def build(each_redis_url: str, tmp_path: Path) -> AsyncIterator[Build]:
    """Makes houses over the same stores, as several processes would."""
    async with contextlib.AsyncExitStack() as stack:

        async def made() -> House:
            return await stack.enter_async_context(opened(each_redis_url, tmp_path))

        yield made


@pytest.fixture
async def house(build: Build) -> House:
    """One process' view of the stores."""
    return await build()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server that the test may kill."""
    yield from running(find_server())
