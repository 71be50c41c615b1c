"""A change and its row in the log are one commit, decided on what still stands; requests are carried out once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.accounts.administrators import Administrators
from proxy.accounts.audit_log import LogFilter, LoggedChange, read_log
from proxy.accounts.directory import Directory, KeySettings
from proxy.accounts.keys import KeyHasher
from proxy.accounts.maintenance import is_on, switch
from proxy.admin.once import claim, keep_answer
from proxy.core.clock import SystemClock
from proxy.core.errors import Conflict, InvalidKey
from proxy.sql.database import RowRefused
from proxy.sql.sqlite import SqliteDatabase


class Ledger:
    """Hears of versions, and has nothing to say."""

    async def open_account(self, account_id: str, version: int) -> None:
        pass

    async def set_version(self, account_id: str, version: int) -> None:
        pass


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "farebox.db")
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture
def directory(database: SqliteDatabase) -> Directory:
    return Directory(database, Ledger(), KeyHasher("a pepper of some length"), SystemClock(), "admin:ada")


async def log_of(database: SqliteDatabase, subject: str) -> list[LoggedChange]:
    return await read_log(database, LogFilter(subject=subject))


async def test_changes_at_the_same_time_are_all_made_and_each_says_what_it_changed(
    directory: Directory, database: SqliteDatabase
) -> None:
    account = await directory.create_account("busy")
    await asyncio.gather(
        *(directory.acting_as(f"admin:{n}").update_account(account.id, {"metadata": {"n": str(n)}}) for n in range(4)),
        directory.set_limits(account.id, {"concurrent": 2}),
    )
    rows = list(reversed(await log_of(database, account.id)))
    assert [row.action for row in rows] == ["account.create"] + ["account.update"] * 5
    state = dict(rows[0].after or {})
    for row in rows[1:]:
        assert row.before == state  # no change was decided on what no longer stood
        state |= dict(row.after or {})
    now = await directory.account(account.id)
    assert (now.metadata, now.limits, now.version) == (state["metadata"], {"concurrent": 2}, 6)


async def test_a_change_that_is_refused_leaves_no_row(directory: Directory, database: SqliteDatabase) -> None:
    account = await directory.create_account("ada")
    with pytest.raises(Conflict):
        await directory.create_account("ada")
    with pytest.raises(Conflict):
        await directory.create_account("eve", new=account.id)
    for _ in range(10):
        await directory.create_key(account.id, KeySettings(kind="manager"))
    with pytest.raises(Conflict):
        await directory.create_key(account.id, KeySettings(kind="manager"))
    actions = [row.action for row in await read_log(database, LogFilter())]
    assert actions == ["key.create"] * 10 + ["account.create"]


async def test_a_row_that_no_longer_stands_takes_its_change_with_it(
    database: SqliteDatabase, directory: Directory
) -> None:
    account = await directory.create_account("ada")
    row = {"id": "x", "at": 1, "actor": "root", "action": "a", "subject": "s", "before_json": None, "after_json": None}
    stale = {**row, "account_id": account.id, "version": account.version + 5}
    with pytest.raises(RowRefused):
        await database.transaction(
            ("set_account_status", [{"id": account.id, "status": "suspended"}]),
            ("insert_audit_log_at_version", [stale]),
        )
    assert (await directory.account(account.id)).status == "active"


async def test_maintenance_is_switched_and_said(database: SqliteDatabase) -> None:
    assert await is_on(database) is False
    await switch(database, on=True, actor="root", now_ms=1)
    assert await is_on(database) is True
    await switch(database, on=False, actor="root", now_ms=2)
    assert await is_on(database) is False
    rows = await log_of(database, "maintenance")
    assert [(row.before, row.after) for row in rows] == [({"on": True}, {"on": False}), ({"on": False}, {"on": True})]


async def test_a_request_is_claimed_by_the_first_and_its_answer_stands(database: SqliteDatabase) -> None:
    claims = await asyncio.gather(*(claim(database, "root", "k", "same", f"acct_{n}", 1) for n in range(20)))
    assert len({one.resource_id for one in claims}) == 1
    assert {one.answer for one in claims} == {None}
    await keep_answer(database, "root", "k", 201, "first")
    await keep_answer(database, "root", "k", 200, "second")
    again = await claim(database, "root", "k", "same", "acct_other", 2)
    assert (again.resource_id, again.status, again.answer) == (claims[0].resource_id, 201, "first")
    with pytest.raises(Conflict):
        await claim(database, "root", "k", "another", "acct_other", 2)
    assert (await claim(database, "admin:eve", "k", "another", "acct_hers", 2)).resource_id == "acct_hers"


async def test_a_credential_is_known_by_its_digest_alone(database: SqliteDatabase) -> None:
    hasher = KeyHasher("a pepper of some length")
    administrators = Administrators(database, hasher, SystemClock(), "the root token")
    assert (await administrators.identify(b"the root token")).actor == "root"
    made = await administrators.create("eve", ["finance", "read"], actor="root")
    eve = await administrators.identify(made.credential.encode())
    assert (eve.actor, eve.roles, eve.may("finance"), eve.may("operate")) == (
        "admin:eve",
        ("read", "finance"),
        True,
        False,
    )
    row = await database.fetch_one("administrator_by_name", name="eve")
    assert row is not None
    assert row["digest"] != hasher.digest(made.credential.encode())  # an API key's digest is never a credential's
    assert made.credential not in str(row)
    for wrong in (made.credential[:-1] + "g", made.credential.upper(), "", "\0"):
        with pytest.raises(InvalidKey):
            await administrators.identify(wrong.encode())
    with pytest.raises(InvalidKey):
        await Administrators(database, hasher, SystemClock(), "").identify(b"")
    with pytest.raises(InvalidKey):
        await Administrators(database, KeyHasher("another pepper of length"), SystemClock(), "x").identify(
            made.credential.encode()
        )
