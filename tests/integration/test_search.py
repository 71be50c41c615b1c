"""The administrators' search over a real database: what is found is what a look at every row finds, on indexes, in bounded steps."""

import json
import random
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proxy.core.ids import new_call_id
from proxy.records.search import ENTRIES, USAGE, CallFilter, Found, Place, Shelf, Wanted, newest, slices
from proxy.records.sums import steps
from proxy.records.tag_sums import TagSums
from proxy.sql.database import Database, Row
from proxy.sql.sqlite import SqliteDatabase
from proxy.sql.statements import load_migrations, load_queries
from tests.support.stores import record_of, usage_row

START = 1_700_000_000_000
ACCOUNTS = ("acct_a", "acct_b", "acct_c")


def usage_rows(random_: random.Random, count: int) -> list[dict[str, Any]]:
    """Records of few instants, so that many share one."""
    found = []
    for _ in range(count):
        at = START + random_.randrange(40)
        record = record_of(
            random_.choice(ACCOUNTS),
            new_call_id(at),
            at=at,
            key_id=random_.choice(("key_1", "key_2")),
            model=random_.choice(("a_b", "a%b", "axb")),
            outcome=random_.choice(("completed", "refused")),
            status=random_.choice((200, 502, None)),
            charge_microcredits=random_.randrange(5),
            tags=random_.choice(({}, {"t": "1"}, {"t": "2", "u": "1"}, {'x"t': "1"}, {"u": '"t":"1"'})),
        )
        found.append(dict(usage_row(record, 0)))
    return found


def entry_rows(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A charge for each call, and a top-up for each fifth."""
    found: list[dict[str, Any]] = []
    last: dict[str, int] = {}
    for number, call in enumerate(sorted(calls, key=lambda row: row["at"])):
        for kind in ("charge", "topup")[: 2 if number % 5 == 0 else 1]:
            account = call["account_id"]
            last[account] = seq = last.get(account, 0) + 1
            amount = -call["charge_microcredits"] if kind == "charge" else 3
            found.append(
                {
                    "account_id": account,
                    "seq": seq,
                    "kind": kind,
                    "amount_microcredits": amount,
                    "before_microcredits": 0,
                    "after_microcredits": amount,
                    "at": call["at"],
                    "call_id": call["call_id"] if kind == "charge" else None,
                    "operation_id": None if kind == "charge" else f"op_{account}_{seq}",
                    "actor": "" if kind == "charge" else "root",
                    "reason": "",
                    "idempotency_key": None if kind == "charge" else f"key_{seq}",
                }
            )
    return found


@pytest.fixture(scope="module")
def written() -> dict[str, list[dict[str, Any]]]:
    calls = usage_rows(random.Random(7), 400)
    return {"usage": calls, "entries": entry_rows(calls)}


@pytest.fixture
async def database(tmp_path: Path, written: dict[str, list[dict[str, Any]]]) -> AsyncIterator[Database]:
    opened = SqliteDatabase(tmp_path / "search.db")
    await opened.migrate()
    await opened.transaction(*steps(written["usage"]), ("insert_ledger_entry", written["entries"]))
    yield opened
    await opened.close()


def is_like(row: dict[str, Any], call: CallFilter) -> bool:
    """The filter as its words say it, over one record."""
    tags = json.loads(row["tags"])
    return (
        call.key_id in {None, row["key_id"]}
        and call.model in {None, row["model"]}
        and call.outcome in {None, row["outcome"]}
        and call.status in {None, row["status"]}
        and (call.tag is None or (call.tag[0] in tags and call.tag[1] in {None, tags[call.tag[0]]}))
    )


def expected(written: dict[str, list[dict[str, Any]]], shelf: Shelf, wanted: Wanted) -> list[Place]:
    """The sort keys of what is wanted, newest first."""
    calls = {row["call_id"]: row for row in written["usage"]}
    found = []
    for row in written[shelf.name]:
        call = calls.get(row["call_id"])
        fits = (
            wanted.account_id in {None, row["account_id"]}
            and wanted.from_at <= row["at"] < wanted.to_at
            and wanted.min_microcredits <= row[shelf.amount] <= wanted.max_microcredits
            and wanted.call_id in {None, row["call_id"]}
            and (not wanted.call.asks or (call is not None and is_like(call, wanted.call)))
        )
        if shelf is ENTRIES:
            fits = fits and all(
                getattr(wanted, name) in {None, row[name]}
                for name in ("kind", "actor", "idempotency_key", "operation_id")
            )
        if fits:
            found.append(tuple(row[name] for name in shelf.key))
    return sorted(found, reverse=True)


def some_filter(random_: random.Random, written: dict[str, list[dict[str, Any]]]) -> Wanted:
    def maybe(choose: Callable[[], Any]) -> Any:
        return choose() if random_.random() < 0.3 else None

    tags = [("t", None), ("t", "1"), ("u", "1"), ('x"t', "1"), ("nothing", None)]
    call = CallFilter(
        key_id=maybe(lambda: random_.choice(("key_1", "key_2"))),
        model=maybe(lambda: random_.choice(("a_b", "a%b", "%"))),
        outcome=maybe(lambda: "completed"),
        status=maybe(lambda: random_.choice((200, 502))),
        tag=maybe(lambda: random_.choice(tags)),
    )
    one_call = random_.random() < 0.1
    return Wanted(
        account_id=maybe(lambda: random_.choice(ACCOUNTS)),
        from_at=START + random_.randrange(20),
        to_at=START + 20 + random_.randrange(30),
        min_microcredits=random_.choice((-(2**53) + 1, -3, 0, 2)),
        call_id=random_.choice(written["usage"])["call_id"] if one_call else None,
        call=call,
        kind=maybe(lambda: random_.choice(("charge", "topup"))),
    )


@pytest.mark.parametrize("shelf", [USAGE, ENTRIES], ids=lambda one: str(one.name))
async def test_pages_and_slices_hold_what_a_look_at_every_row_finds(
    database: Database, written: dict[str, list[dict[str, Any]]], shelf: Shelf
) -> None:
    random_ = random.Random(11)
    for _ in range(60):
        wanted = some_filter(random_, written)
        found: list[Row] = []
        place: Place | None = None
        limit, scanned = random_.choice((1, 7, 50)), random_.choice((5, 30, 1000))
        while True:
            page: Found = await newest(database, shelf, wanted, limit=limit, before=place, scanned=scanned)
            assert len(page.rows) <= limit
            found += page.rows
            assert place is None or page.place is None or page.place < place
            place = page.place
            if place is None:
                break
        should = expected(written, shelf, wanted)
        assert [shelf.place_of(row) for row in found] == should, wanted
        size = random_.choice((1, 13, 1000)) if wanted.account_id else 100
        whole = [row async for rows in slices(database, shelf, wanted, size=size) for row in rows]
        assert [shelf.place_of(row) for row in whole] == should[::-1], wanted


async def test_a_page_looks_at_no_more_rows_than_it_says(
    database: Database, written: dict[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    fetch = database.fetch

    async def watched(query: str, /, **params: Any) -> list[Row]:
        asked.append({"query": query, **params})
        return await fetch(query, **params)

    monkeypatch.setattr(database, "fetch", watched)
    page = await newest(database, USAGE, Wanted(call=CallFilter(model="nothing")), limit=10, scanned=25)
    assert page.rows == []
    between = [row for row in written["usage"] if (row["at"], row["call_id"]) >= (page.place or ())]
    assert len(between) == 25
    bounds = next(one for one in asked if one["query"] == "admin_usage_of_all")
    assert (bounds["low_at"], bounds["low_call_id"]) == page.place


async def test_sums_by_tag_are_those_of_the_records(
    database: Database, written: dict[str, list[dict[str, Any]]]
) -> None:
    for account in (None, "acct_b"):
        wanted = Wanted(account_id=account, from_at=START + 3, call=CallFilter(outcome=None, model="a%b"))
        sums = TagSums("t", wanted, frozenset({"key"}), width_ms=10)
        assert [groups async for groups in sums.read(database, size=17)][-1] == len(sums.found)
        should: dict[tuple[Any, ...], int] = {}
        for row in written["usage"]:
            if row["model"] == "a%b" and row["at"] >= START + 3 and account in {None, row["account_id"]}:
                group = (row["at"] // 10, None, row["key_id"], None, None, json.loads(row["tags"]).get("t"))
                should[group] = should.get(group, 0) + row["charge_microcredits"]
        found = {group: of["charge_microcredits"] for group, of in sums.found.items()}
        assert found == should


ON_INDEX = sorted(name for name in load_queries() if name.startswith(("admin_usage", "admin_entries")))


@pytest.mark.parametrize("name", ON_INDEX)
def test_every_search_reads_an_index(name: str) -> None:
    """No full scan of the two tables, and no sorting of what an index has in order, where an account or a time is given."""
    with closing(sqlite3.connect(":memory:")) as database:
        for migration in load_migrations():
            for statement in migration.statements:
                database.execute(statement)
        query = load_queries()[name]
        parameters = dict.fromkeys(re.findall(r":([a-z_]+)", query), 1)
        plan = [str(row[3]) for row in database.execute(f"EXPLAIN QUERY PLAN {query}", parameters)]
    assert not [step for step in plan if step.startswith("SCAN")], plan
    main = next(step for step in plan if step.startswith("SEARCH"))
    if name.endswith("_of_account"):
        assert "account_id=? AND (at," in main
    elif name.endswith("_of_all"):
        assert "_by_instant ((at," in main
    if "_edge_" in name:
        assert "COVERING INDEX" in main
    if "_tags_" not in name and name != "admin_entries_of_call":
        assert not [step for step in plan if "TEMP B-TREE" in step], plan
