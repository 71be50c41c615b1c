"""SQLite as Farebox uses it: commits that are whole, several processes in one file, locks, refused rows."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.core.errors import ConfigError
from proxy.sql.database import DatabaseUnavailable, RowRefused
from proxy.sql.sqlite import SqliteDatabase
from proxy.sql.statements import Migration, load_migrations


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "data" / "farebox.db")
    await database.migrate()
    yield database
    await database.close()


def meta(key: str, value: Any = "v") -> dict[str, str | None]:
    return {"key": key, "value": value}


async def test_a_commit_is_whole_or_nothing(database: SqliteDatabase) -> None:
    assert await database.transaction(("insert_meta", [meta("a"), meta("b")])) == [2]
    with pytest.raises(RowRefused):
        await database.transaction(("insert_meta", [meta("c")]), ("insert_meta", [meta("d", None)]))
    assert await database.fetch_one("meta", key="c") is None
    assert await database.fetch("meta", key="a") == [{"value": "v"}]


@pytest.mark.parametrize("value", ["a\0b", "\ud800", 2**63, 1.5, b"bytes", True])
async def test_a_value_that_postgresql_would_refuse_is_refused(database: SqliteDatabase, value: Any) -> None:
    with pytest.raises(RowRefused):
        await database.execute("insert_meta", key="k", value=value)
    assert await database.execute("insert_meta", key="k", value="good") == 1


async def test_migrating_again_changes_nothing(database: SqliteDatabase) -> None:
    assert await database.migrate() == []


async def test_the_file_is_private_and_every_commit_is_synced(database: SqliteDatabase, tmp_path: Path) -> None:
    await database.execute("insert_meta", **meta("a"))
    path = tmp_path / "data" / "farebox.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    lane = database._writer
    pragmas = await lane.run(
        lambda c: [c.execute(f"PRAGMA {p}").fetchone()[0] for p in ("journal_mode", "synchronous")]
    )
    assert pragmas == ["wal", 2]


async def test_a_lock_of_another_process_is_waited_for(database: SqliteDatabase, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "data" / "farebox.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, other.execute, ["COMMIT"])
    timer.start()
    began = time.monotonic()
    assert await database.execute("insert_meta", **meta("a")) == 1
    assert time.monotonic() - began > 0.3
    assert await database.fetch_one("meta", key="a") == {"value": "v"}
    timer.join()
    other.close()


async def test_a_lock_that_lasts_is_unavailable_and_reading_goes_on(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "farebox.db", busy_timeout_ms=100)
    await database.migrate()
    other = sqlite3.connect(tmp_path / "farebox.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable):
        await database.execute("insert_meta", **meta("a"))
    assert await database.fetch_one("meta", key="a") is None
    other.execute("ROLLBACK")
    other.close()
    assert await database.execute("insert_meta", **meta("a")) == 1
    await database.close()


async def test_the_loop_runs_on_while_the_database_waits(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "farebox.db", busy_timeout_ms=400)
    await database.migrate()
    other = sqlite3.connect(tmp_path / "farebox.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.gather(database.execute("insert_meta", **meta("a")), return_exceptions=True)
    ticks = 0
    while not waiting.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 10
    assert isinstance((await waiting)[0], DatabaseUnavailable)
    other.close()
    await database.close()


async def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = Migration(1, "0001_broken", "x", ("CREATE TABLE a (b TEXT)", "CREATE TABLE a (b TEXT)"))
    database = SqliteDatabase(
        tmp_path / "farebox.db", queries={"tables": "SELECT name FROM sqlite_master"}, migrations=[broken]
    )
    with pytest.raises(DatabaseUnavailable):
        await database.migrate()
    assert await database.fetch("tables") == []
    await database.close()


async def test_an_edited_migration_is_noticed(tmp_path: Path) -> None:
    for checksum in ("x", "y"):
        migration = Migration(1, "0001_a", checksum, ("CREATE TABLE a (b TEXT)",))
        database = SqliteDatabase(tmp_path / "farebox.db", migrations=[migration])
        if checksum == "x":
            assert await database.migrate() == ["0001_a"]
        else:
            with pytest.raises(ConfigError, match="must never change"):
                await database.migrate()
        await database.close()


START = """
import asyncio, pathlib, sys
from proxy.sql.sqlite import SqliteDatabase

async def main() -> None:
    database = SqliteDatabase(pathlib.Path(sys.argv[1]))
    print(await database.migrate())
    for number in range(50):
        await database.execute("insert_meta", key=f"{sys.argv[2]}-{number}", value="v")
    await database.close()

asyncio.run(main())
"""


def test_several_processes_may_start_at_once_on_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "farebox.db"
    processes = [
        subprocess.Popen([sys.executable, "-c", START, path, str(number)], stdout=subprocess.PIPE, text=True)
        for number in range(4)
    ]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    everything = str([migration.name for migration in load_migrations()])
    assert sorted(outputs) == [everything, "[]", "[]", "[]"]
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT COUNT(*) FROM meta").fetchone() == (200,)
    connection.close()


async def test_a_closed_database_says_so(database: SqliteDatabase) -> None:
    await database.close()
    await database.close()
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await database.fetch_one("meta", key="a")
