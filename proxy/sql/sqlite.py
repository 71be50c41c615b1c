"""SQLite behind the Database interface: one writer thread and one reader thread, so that nothing blocks the event loop.

Several processes share the file. The journal is a write-ahead log and `synchronous=FULL`, so every commit is fsynced before
it returns: the recorder acknowledges (and Redis forgets) what was committed, which under NORMAL a power cut could take
back. A commit survives kill -9 and power loss as far as the disk keeps what it said it wrote.
Writers take their lock at BEGIN (IMMEDIATE) and wait for each other up to `busy_timeout_ms`; readers never wait.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from proxy.core.errors import ConfigError
from proxy.sql.database import DatabaseUnavailable, Params, Row, RowRefused, Step, Value
from proxy.sql.statements import Migration, load_migrations, load_queries, pending

T = TypeVar("T")

BUSY_TIMEOUT_MS = 5_000
_LOOK_AT_CLOCK_EVERY = (
    100_000  # steps of SQLite's virtual machine, some milliseconds: each look takes the interpreter for a moment
)
_LEDGER_OF_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS schema_migrations
(version BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)
"""


class SqliteDatabase:
    """A database file; made with its folder (private to the user) when it is not there."""

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_ms: int = BUSY_TIMEOUT_MS,
        longest_read_s: float | None = None,
        queries: Mapping[str, str] | None = None,
        migrations: list[Migration] | None = None,
    ) -> None:
        self._queries = load_queries() if queries is None else queries
        self._migrations = load_migrations() if migrations is None else migrations
        self._longest_read_s = longest_read_s
        self._writer = _Lane("sql-writer", partial(_connect, path, busy_timeout_ms, read_only=False))
        self._reader = _Lane("sql-reader", partial(_connect, path, busy_timeout_ms, read_only=True))

    async def fetch(self, query: str, /, **params: Value) -> list[Row]:
        """All rows of a named query, from the last commit of any process."""
        return await self._reader.run(
            partial(_fetch, sql=self._queries[query], params=params, longest_s=self._longest_read_s)
        )

    async def fetch_one(self, query: str, /, **params: Value) -> Row | None:
        """The first row, or None."""
        return next(iter(await self.fetch(query, **params)), None)

    async def execute(self, query: str, /, **params: Value) -> int:
        """One change, committed; returns how many rows it touched."""
        return (await self.transaction((query, [params])))[0]

    async def transaction(self, *steps: Step) -> list[int]:
        """All steps in one commit, or none; returns the rows touched by each."""
        statements = [(self._queries[query], rows) for query, rows in steps]
        for _, rows in statements:
            for row in rows:
                _check(row)
        return await self._writer.run(partial(_transaction, steps=statements))

    async def migrate(self) -> list[str]:
        """Applies what is missing in one transaction; a concurrent start waits and then finds nothing to do."""
        return await self._writer.run(partial(_migrate, migrations=self._migrations))

    async def close(self) -> None:
        """Lets running work finish and closes both connections. Idempotent."""
        await self._reader.close()
        await self._writer.close()


class _Lane:
    """A thread with a connection of its own, opened at the first use and again after it broke."""

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection]) -> None:
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._connect = connect
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, self._work, work)
        except RuntimeError as error:
            raise DatabaseUnavailable("The database was closed.") from error
        return await running

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = self._connect()
            return work(self._connection)
        except (sqlite3.IntegrityError, sqlite3.DataError) as error:
            raise RowRefused(f"The database refused a row: {error}") from error
        except (OverflowError, UnicodeEncodeError, sqlite3.InterfaceError) as error:
            raise RowRefused(f"A value cannot be stored: {error}") from error
        except sqlite3.ProgrammingError:
            raise  # a query and its parameters that do not fit: our mistake, not the database's
        except (sqlite3.Error, OSError) as error:
            self._drop()
            raise DatabaseUnavailable(f"The database cannot be used: {error}") from error

    def _drop(self) -> None:
        """Closes the connection; the next use opens a new one (the file may have been replaced, a disk been full)."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def close(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._drop)
        except RuntimeError:
            return  # closed before
        self._threads.shutdown(wait=False)


def _connect(path: Path, busy_timeout_ms: int, *, read_only: bool) -> sqlite3.Connection:
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(
        path, timeout=busy_timeout_ms / 1000, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        _to_write_ahead_log(connection, busy_timeout_ms)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA query_only={'ON' if read_only else 'OFF'}")
    except BaseException:
        connection.close()
        raise
    return connection


def _to_write_ahead_log(connection: sqlite3.Connection, patience_ms: int) -> None:
    """The switch to WAL is the one change for which SQLite does not wait for other connections by itself."""
    deadline = time.monotonic() + patience_ms / 1000
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise ConfigError("the database's file system cannot do write-ahead logging; SQLite needs a local disk")
        return


def _fetch(connection: sqlite3.Connection, sql: str, params: Params, longest_s: float | None) -> list[Row]:
    deadline = None if longest_s is None else time.monotonic() + longest_s
    if deadline is not None:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _LOOK_AT_CLOCK_EVERY)
    try:
        cursor = connection.execute(sql, dict(params))
        columns = [column[0] for column in cursor.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in cursor]
    except sqlite3.OperationalError as error:
        if deadline is not None and time.monotonic() > deadline:
            raise DatabaseUnavailable(
                "This query takes too long. Ask for less at once.", code="query_too_long"
            ) from error
        raise


def _transaction(connection: sqlite3.Connection, steps: list[tuple[str, Sequence[Params]]]) -> list[int]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        touched = [max(0, connection.executemany(sql, rows).rowcount) for sql, rows in steps]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return touched


def _migrate(connection: sqlite3.Connection, migrations: list[Migration]) -> list[str]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_LEDGER_OF_MIGRATIONS)
        applied = dict(connection.execute("SELECT version, checksum FROM schema_migrations").fetchall())
        todo = pending(applied, migrations)
        for migration in todo:
            for statement in migration.statements:
                connection.execute(statement)
            row = (migration.version, migration.name, migration.checksum, time.time_ns() // 1_000_000)
            connection.execute("INSERT INTO schema_migrations VALUES (?, ?, ?, ?)", row)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return [migration.name for migration in todo]


def _check(row: Params) -> None:
    """Refuses what PostgreSQL would refuse, so that a row is good or bad whichever database it meets."""
    for column, value in row.items():
        if isinstance(value, str):
            if "\0" in value:
                raise RowRefused(f"The database refused a row: NUL in {column}")
        elif value is not None and type(value) is not int:
            raise RowRefused(f"The database refused a row: {column} is a {type(value).__name__}")
