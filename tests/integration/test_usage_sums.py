"""Sums of usage are those of the records, whatever is repeated, overridden or refused, and however a summary is cut."""

import asyncio
import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.records.events import usage_row
from proxy.records.sums import DAY_MS, GRAINS, HOUR_MS, Asked, days_of, differing, remake, steps, usage_sums
from proxy.sql.database import Params, Row, RowRefused
from proxy.sql.sqlite import SqliteDatabase
from tests.support.stores import record_of

NOON = 1_700_000_000_000 // DAY_MS * DAY_MS + DAY_MS // 2
FIGURES = ("calls", "input_tokens", "output_tokens", "cached_tokens", "cost_nano_usd", "charge_microcredits")
COLUMN = {
    "account": "account_id", "key": "key_id", "provider": "provider", "model": "model", "service": "service", "status": "status",
}  # fmt: skip
SERVICES = {"/v1/chat/completions": "chat", "/v1/embeddings": "embeddings", "/v1/files": "other"}

# Around the edges of hours and days, where a summary is cut.
instants = st.one_of(
    st.builds(
        lambda hours, milliseconds: NOON + hours * HOUR_MS + milliseconds, st.integers(-60, 60), st.integers(-2, 2)
    ),
    st.integers(NOON - 60 * HOUR_MS, NOON + 60 * HOUR_MS),
)
counts = st.sampled_from([0, 1, 1000, 2**45])
rows = st.builds(
    lambda number, revision, at, facts, status, figures: usage_row(
        record_of(
            facts[0],
            f"call-{number}",
            at=at,
            key_id=facts[1],
            model=facts[2],
            provider=facts[3],
            path=facts[4],
            status=status,
            usage={"input": figures[0], "cache_read": figures[1], "output": figures[2]},
            input_tokens=figures[0] + figures[1],
            output_tokens=figures[2],
            cost_nano_usd=figures[3],
            charge_microcredits=figures[4],
        ),
        revision,
    ),
    st.integers(0, 15),
    st.sampled_from([0, 0, 0, 1]),
    instants,
    st.tuples(
        st.sampled_from(["acct_a", "acct_b"]),
        st.sampled_from(["key_1", "key_2", ""]),
        st.sampled_from(["m", "%", "model'"]),
        st.sampled_from(["p", "q"]),
        st.sampled_from([*SERVICES]),
    ),
    st.sampled_from([None, 200, 500]),
    st.tuples(counts, counts, counts, counts, counts),
)
batches = st.lists(st.lists(rows, max_size=6), max_size=6)


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    some = [draw(instants), draw(instants)]

    def among(*values: str) -> list[str]:
        return draw(st.lists(st.sampled_from(values), max_size=2, unique=True)) if draw(st.booleans()) else []

    return Asked(
        from_at=draw(st.sampled_from([0, min(some)])),
        to_at=draw(st.sampled_from([NOON + 100 * DAY_MS, max(some)])),
        account_id=draw(st.sampled_from(["", "acct_a", "nobody"])),
        accounts=among("acct_a", "acct_b"),
        key_ids=among("key_1", "key_2"),
        providers=among("p", "q"),
        models=among("m", "%"),
        services=among("chat", "other"),
        not_services=among("embeddings"),
        width_ms=draw(st.sampled_from([0, 60_000, HOUR_MS, DAY_MS, 7 * DAY_MS])),
        by=frozenset(draw(st.lists(st.sampled_from([*COLUMN]), max_size=3))),
    )


def expected(records: Iterable[dict[str, Any]], asked: Asked) -> dict[tuple[Any, ...], Counter[str]]:
    """The summary, from the records one by one."""
    found: dict[tuple[Any, ...], Counter[str]] = {}
    for record in records:
        record |= {"service": SERVICES[record["path"]], "status": -1 if record["status"] is None else record["status"]}
        filters = (
            (asked.account_id and [asked.account_id], "account_id"),
            ("" if asked.account_id else asked.accounts, "account_id"),
            (asked.key_ids, "key_id"),
            (asked.providers, "provider"),
            (asked.models, "model"),
            (asked.services, "service"),
        )
        if not asked.from_at <= record["at"] < asked.to_at or record["service"] in asked.not_services:
            continue
        if any(wanted and record[column] not in wanted for wanted, column in filters):
            continue
        group = (
            record["at"] // asked.width_ms if asked.width_ms else 0,
            *(record[column] if name in asked.by else None for name, column in COLUMN.items()),
        )
        sums = found.setdefault(group, Counter())
        sums.update({"calls": 1, **{name: record[name] for name in FIGURES[1:]}})
    return found


def grouped(summary: Sequence[Row]) -> dict[tuple[Any, ...], Counter[str]]:
    found = {
        tuple(row[name] for name in ("bucket", *COLUMN.values())): Counter({name: row[name] for name in FIGURES})
        for row in summary
    }
    assert len(found) == len(summary)
    return found  # type: ignore[return-value]  # the columns are integers


def records_in(path: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        assert not connection.execute("SELECT * FROM usage_changes").fetchall()
        return [dict(row) for row in connection.execute("SELECT * FROM usage_records")]


async def write(database: SqliteDatabase, batch: Sequence[Params], *, poisoned: bool) -> None:
    if poisoned:  # the last row is refused, and with it the batch
        with pytest.raises(RowRefused):
            await database.transaction(*steps([*batch, {**batch[-1], "call_id": "poison", "trace_id": None}]))
    else:
        await database.transaction(*steps(batch))


async def check_history(path: Path, history: Sequence[Sequence[Params]], poisoned: set[int], asked: Asked) -> None:
    database = SqliteDatabase(path)
    try:
        await database.migrate()
        for number, batch in enumerate(history):
            await write(database, batch, poisoned=bool(batch) and number in poisoned)
        for batch in reversed(history[::2]):  # everything again, in another order
            await write(database, batch, poisoned=False)
        days = await days_of(database)
        assert [await differing(database, day) for day in days] == [[]] * len(days)
        records = records_in(path)
        assert all(record["at"] in range(days.start, days.stop + DAY_MS) for record in records)
        assert grouped(await usage_sums(database, asked)) == expected(records, asked)
        with closing(sqlite3.connect(path)) as connection:
            before = connection.execute(
                "SELECT * FROM usage_sums WHERE calls <> 0 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8"
            ).fetchall()
            await remake(database)
            assert connection.execute("SELECT * FROM usage_sums ORDER BY 1, 2, 3, 4, 5, 6, 7, 8").fetchall() == before
    finally:
        await database.close()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(history=batches, poisoned=st.sets(st.integers(0, 5), max_size=2), asked=questions())
def test_sums_are_those_of_the_records(history: list[list[Params]], poisoned: set[int], asked: Asked) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(check_history(Path(folder) / "farebox.db", history, poisoned, asked))


async def filled(path: Path) -> SqliteDatabase:
    database = SqliteDatabase(path)
    await database.migrate()
    numbers = itertools.count()
    batch = [
        usage_row(record_of(account, f"c{next(numbers)}", at=NOON + hour * HOUR_MS, charge_microcredits=5), 0)
        for account in ("acct_a", "acct_b")
        for hour in range(-30, 30)
    ]
    await database.transaction(*steps(batch))
    return database


@pytest.mark.parametrize("grain", [str(grain["grain"]) for grain in GRAINS])
@pytest.mark.parametrize(
    "damage", ["DELETE FROM usage_sums", "UPDATE usage_sums SET output_tokens = output_tokens + 1"]
)
async def test_sums_that_went_wrong_are_found_and_made_again(tmp_path: Path, grain: str, damage: str) -> None:
    database = await filled(tmp_path / "farebox.db")
    days = await days_of(database)
    with closing(sqlite3.connect(tmp_path / "farebox.db")) as connection, connection:
        connection.execute(f"{damage} WHERE grain = ? AND start_at = ?", (grain, NOON // DAY_MS * DAY_MS))
        connection.execute(f"{damage} WHERE grain = ? AND start_at = ?", (grain, NOON))
    found = [row for day in days for row in await differing(database, day)]
    # What is summed from hours differs from hours that are wrong.
    assert {row["grain"] for row in found} == ({str(one["grain"]) for one in GRAINS} if grain == "hour" else {grain})
    heard: list[int] = []
    assert await remake(database, heard.append) == len(days) == heard[-1]
    assert [await differing(database, day) for day in days] == [[]] * len(days)
    await database.close()


async def test_sums_of_records_that_are_gone_are_found(tmp_path: Path) -> None:
    database = await filled(tmp_path / "farebox.db")
    with closing(sqlite3.connect(tmp_path / "farebox.db")) as connection, connection:
        connection.execute("DELETE FROM usage_records WHERE at < ?", (NOON,))
    days = await days_of(database)
    assert days.start < NOON - DAY_MS
    assert sum(int(str(row["calls"])) for row in await differing(database, days[0]) if row["grain"] == "hour") > 0
    await remake(database)
    assert (await days_of(database)).start == NOON // DAY_MS * DAY_MS
    await database.close()


async def test_the_migration_sums_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "farebox.db"
    from proxy.sql.statements import load_migrations  # noqa: PLC0415

    older = SqliteDatabase(path, migrations=[one for one in load_migrations() if one.version < 6])
    await older.migrate()
    batch = [
        usage_row(record_of(f"acct_{number % 3}", f"c{number}", at=NOON + number * 999_999, status=status), 0)
        for number, status in enumerate([200, None, 500] * 100)
    ]
    await older.transaction(("upsert_usage_record", batch))
    await older.close()
    database = SqliteDatabase(path)
    assert await database.migrate() == ["0006_usage_sums"]
    days = await days_of(database)
    assert len(days) > 2
    assert [await differing(database, day) for day in days] == [[]] * len(days)
    await database.close()


async def test_a_record_that_comes_from_behind_the_end_is_not_counted(tmp_path: Path) -> None:
    """Between the look at the last record and the sum, one is committed that ended after the asked end."""
    database = await filled(tmp_path / "farebox.db")
    end = NOON + 29 * HOUR_MS + 10
    asked = Asked(from_at=0, to_at=end, account_id="acct_a")
    late = usage_row(record_of("acct_a", "late", at=end + 5), 0)

    class Racing:
        looked = 0

        async def fetch_one(self, query: str, /, **params: Any) -> Row | None:
            row = await database.fetch_one(query, **params)
            self.looked += 1
            if self.looked == 1:
                await database.transaction(*steps([late]))
            return row

        async def fetch(self, query: str, /, **params: Any) -> list[Row]:
            return await database.fetch(query, **params)

    racing = Racing()
    summed = await usage_sums(racing, asked)  # type: ignore[arg-type]  # it only reads
    assert [row["calls"] for row in summed] == [60]
    assert racing.looked == 2
    assert [row["calls"] for row in await usage_sums(database, replace(asked, to_at=end + 6))] == [61]
    await database.close()
