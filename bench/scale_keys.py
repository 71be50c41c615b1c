"""What it costs a worker to find the caller behind an API key, with so many keys in SQL.

Three ways: a key that the worker knows (at most `capacity` are remembered), one that it must read from SQL, and whatever
key comes when all of them are in use alike. CPU is this process's, the thread that reads SQLite included, in microseconds a
look-up; the database has as many accounts as keys. A worker reads every key anew after 30 s, which is left out here.
"""

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.figures import Figures
from bench.scale_fit import percentile
from proxy.accounts.authenticator import Authenticator
from proxy.accounts.keys import KeyHasher
from proxy.core.clock import SystemClock
from proxy.ledger.ledger import Ledger
from proxy.sql.sqlite import SqliteDatabase

_PEPPER = "a pepper for the bench, of no value"
_REMEMBERED = 10_000  # the authenticator's own default
_FOR_EVER = (
    1e9  # what bounds the age of what is remembered is the time between two calls, which is not what is looked at
)


class KeySite:
    """A database of so many keys, and an authenticator on it."""

    def __init__(self, path: Path, keys: int, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._path, self._keys, self._run = path, keys, run
        self._chance = random.Random(20261122)
        self._hasher = KeyHasher(_PEPPER)

    def fill(self) -> None:
        """Makes the database through the migrations, and a row a key and account."""
        path = self._path
        path.parent.mkdir(parents=True)
        self._database = SqliteDatabase(path)
        self._run(self._database.migrate())
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous=OFF")
            database.execute("BEGIN")
            database.executemany(
                "INSERT INTO accounts (id, name, status, version, created_at) VALUES (?, ?, 'active', 1, 0)",
                ((f"acct_{number:020d}", f"account {number}") for number in range(self._keys)),
            )
            rows = sorted((self._hasher.digest(_key(number)), number) for number in range(self._keys))
            database.executemany(
                "INSERT INTO api_keys (id, account_id, digest, prefix, kind, status, limits, created_at) "
                "VALUES (?, ?, ?, 'sk-fb-0000', 'user', 'active', '{\"requests_per_minute\": 1000000, \"tokens_per_minute\": 1000000}', 0)",
                ((f"key_{number:020d}", f"acct_{number:020d}", digest) for digest, number in rows),
            )
            database.execute("COMMIT")
        self._authenticator = Authenticator(
            self._database, _NoLedger(), self._hasher, SystemClock(), capacity=_REMEMBERED
        )
        in_use = [_key(number) for number in self._chance.sample(range(self._keys), min(self._keys, _REMEMBERED))]
        self._run(self._identify(in_use, _FOR_EVER))

    def sample(self, lookups: int) -> Figures:
        """Look keys up in the three ways."""
        known = [_key(self._chance.randrange(min(self._keys, _REMEMBERED))) for _ in range(lookups)]
        any_of_all = [_key(self._chance.randrange(self._keys)) for _ in range(lookups)]
        mixed_us, _ = self._run(self._identify(any_of_all, _FOR_EVER))
        self._run(self._identify(known, _FOR_EVER))
        known_us, _ = self._run(self._identify(known, _FOR_EVER))
        read_us, taken = self._run(self._identify(any_of_all[: lookups // 4], 0.0))
        return {
            "known_us": known_us,
            "read_us": read_us,
            "mixed_us": mixed_us,
            "read_p50_us": percentile(taken, 0.5),
            "read_p99_us": percentile(taken, 0.99),
        }

    async def _identify(self, keys: Sequence[bytes], max_age_s: float) -> tuple[float, list[float]]:
        """CPU a look-up, and how long each took."""
        taken = []
        identify = self._authenticator.identify
        began = time.process_time_ns()
        for key in keys:
            started = time.perf_counter_ns()
            await identify(key, max_age_s=max_age_s)
            taken.append((time.perf_counter_ns() - started) / 1000)
        return (time.process_time_ns() - began) / 1000 / len(keys), taken

    def close(self) -> None:
        """Ends the database's threads."""
        self._run(self._database.close())


class _NoLedger(Ledger):
    """No version ever changes here, so that nothing is announced."""

    def __init__(self) -> None:
        """Knows of no Redis."""


def _key(number: int) -> bytes:
    return b"sk-fb-%043d" % number


def new_runner() -> asyncio.Runner:
    """One event loop for all databases."""
    return asyncio.Runner()
