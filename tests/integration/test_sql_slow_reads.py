"""A read that takes too long is ended, says so, and costs the next one nothing."""

import time
from pathlib import Path

import pytest

from proxy.sql.database import DatabaseUnavailable
from proxy.sql.sqlite import SqliteDatabase

QUERIES = {
    "endless": "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT COUNT(*) AS n FROM c",
    "quick": "SELECT 7 AS n",
    "wrong": "SELECT n FROM nowhere",
}


async def test_a_read_is_ended_at_its_bound(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "slow.db", queries=QUERIES, longest_read_s=0.1)
    try:
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable) as caught:
            await database.fetch("endless")
        assert caught.value.code == "query_too_long"
        assert 0.1 <= time.monotonic() - began < 2
        assert await database.fetch("quick") == [{"n": 7}]
        with pytest.raises(DatabaseUnavailable) as caught:
            await database.fetch("wrong")
        assert caught.value.code == "database_unavailable"
    finally:
        await database.close()
