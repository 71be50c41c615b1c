"""The books of an installation, read from beside it: records and entries from SQL, balances and holds from Redis."""

import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

from proxy.accounts.directory import KeySettings
from proxy.accounts.topups import Credit
from proxy.cli.stores import Stores, open_stores
from proxy.core.outcomes import Balance
from proxy.records.streams import lag
from proxy.roles import load
from tests.support.installation import Installation


@dataclass(frozen=True)
class Books:
    """All usage records (as rows) and all ledger entries, at one moment."""

    records: list[dict[str, Any]]
    entries: list[dict[str, Any]]

    @classmethod
    def read(cls, farebox: Installation) -> "Books":
        with closing(sqlite3.connect(farebox.directory / "state" / "farebox.db")) as database:
            database.row_factory = sqlite3.Row
            records = [dict(row) for row in database.execute("SELECT * FROM usage_records")]
            entries = [dict(row) for row in database.execute("SELECT * FROM ledger_entries ORDER BY account_id, seq")]
        for record in records:
            record["tag"] = int(json.loads(record["tags"]).get("t", -1))
        return cls(records, entries)

    def by_tag(self) -> dict[int, dict[str, Any]]:
        """The record of each tag; fails where a tag has two."""
        assert not self.repeated_tags()
        return {record["tag"]: record for record in self.records}

    def repeated_tags(self) -> list[int]:
        return [tag for tag, count in Counter(record["tag"] for record in self.records).items() if count > 1]

    def check_entries(self) -> None:
        """One charge a call and at most one correction; together they are the record's charge; no balance below zero."""
        kinds: dict[str, list[str]] = {}
        taken: Counter[str] = Counter()
        for entry in self.entries:
            assert entry["after_microcredits"] == entry["before_microcredits"] + entry["amount_microcredits"]
            if entry["call_id"] is not None:
                kinds.setdefault(entry["call_id"], []).append(entry["kind"])
                taken[entry["call_id"]] -= entry["amount_microcredits"]
        for call_id, found in kinds.items():
            assert sorted(found) in (["charge"], ["charge", "correction"], ["correction"]), (call_id, found)
        for record in self.records:
            assert record["charge_microcredits"] == taken[record["call_id"]], record
        assert set(kinds) <= {record["call_id"] for record in self.records}

    def lowest_balance(self) -> int:
        """The lowest posted balance that any entry led to, in microcredits."""
        return min((entry["after_microcredits"] for entry in self.entries), default=0)


@asynccontextmanager
async def stores_of(farebox: Installation) -> AsyncIterator[Stores]:
    """The stores of a running installation, as its commands open them."""
    async with open_stores(load(farebox.config)) as stores:
        yield stores


async def open_accounts(farebox: Installation, credits_: Mapping[str, int]) -> dict[str, str]:
    """New accounts, each with a balance in microcredits and a key; returns name -> key."""
    keys = {}
    async with stores_of(farebox) as stores:
        for name, amount in credits_.items():
            account = await stores.directory.create_account(name)
            await stores.topups.top_up(account.id, Credit(amount, f"first-{name}", actor="test", reason="test"))
            keys[name] = (await stores.directory.create_key(account.id, KeySettings())).key
    return keys


async def balances(stores: Stores) -> dict[str, Balance]:
    """Every account's balance and the sum of its open holds, by account id."""
    return {
        balance.account_id: balance
        for partition in stores.ledger.partitions
        async for balance in stores.ledger.balances(partition)
    }


async def open_holds(stores: Stores) -> int:
    """Holds that nobody has ended yet."""
    return sum([(await stores.ledger.due_holds(partition, 1)).open_holds for partition in stores.ledger.partitions])


async def is_quiet(stores: Stores) -> bool:
    """No hold is open and everything is in SQL."""
    return not await open_holds(stores) and not await lag(stores.redis, stores.ledger.partitions)
