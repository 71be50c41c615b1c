"""Accounts and keys: what is created, listed, changed and ended, and that the ledger hears of each change."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.accounts.directory import Directory, KeySettings
from proxy.accounts.keys import KeyHasher
from proxy.core.clock import SystemClock
from proxy.core.errors import Conflict, InvalidRequest, NotFound, Unavailable
from proxy.sql.sqlite import SqliteDatabase


class Versions:
    """What the ledger was told; refuses while `away`."""

    def __init__(self) -> None:
        self.told = {}
        self.away = False

    async def open_account(self, account_id: str, version: int) -> None:
        if self.away:
            raise Unavailable
        self.told.setdefault(account_id, version)

    async def set_version(self, account_id: str, version: int) -> None:
        if self.away:
            raise Unavailable
        self.told[account_id] = max(self.told.get(account_id, 0), version)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "farebox.db")
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture
def versions() -> Versions:
    return Versions()


@pytest.fixture
def directory(database: SqliteDatabase, versions: Versions) -> Directory:
    return Directory(database, versions, KeyHasher("a pepper of some length"), SystemClock())


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_a_new_account_is_opened_in_the_ledger_and_found_by_id_and_name(
    directory: Directory, versions: Versions
) -> None:
    account = await directory.create_account("Ada's shop", limits={"concurrent": 3})
    assert await directory.account(account.id) == await directory.account("Ada's shop") == account
    assert account.limits == {"concurrent": 3}
    assert versions.told == {account.id: 1}


async def test_a_name_is_taken_once(directory: Directory) -> None:
    await directory.create_account("ada")
    with pytest.raises(Conflict):
        await directory.create_account("ada")


@pytest.mark.parametrize("name", ["", " a", "a\n", "a\0b", "x" * 201, "acct_00000000000000000000", "\ud800"])
async def test_a_name_must_be_readable(directory: Directory, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await directory.create_account(name)
    assert await directory.accounts() == []


async def test_accounts_are_listed_newest_first_by_page(directory: Directory) -> None:
    made = [await directory.create_account(f"account {number}") for number in range(7)]
    pages, after = [], None
    while page := await directory.accounts(limit=3, after=after):
        pages.append(page)
        after = page[-1]
    assert [len(page) for page in pages] == [3, 3, 1]
    listed = [account for page in pages for account in page]
    assert {account.id for account in listed} == {account.id for account in made}
    assert listed == sorted(listed, key=lambda account: (account.created_at, account.id), reverse=True)


async def test_every_change_raises_the_version_once(directory: Directory, versions: Versions) -> None:
    account = await directory.create_account("ada")
    assert (await directory.suspend("ada")).status == "suspended"
    assert versions.told[account.id] == 2
    await directory.suspend("ada")
    assert versions.told[account.id] == 2
    assert (await directory.resume("ada")).status == "active"
    assert (await directory.set_limits("ada", {"concurrent": 1})).limits == {"concurrent": 1}
    assert (await directory.set_markup("ada", 1_200_000)).markup_ppm == 1_200_000
    assert versions.told[account.id] == 5


async def test_a_key_is_shown_once_and_stored_nowhere(directory: Directory, tmp_path: Path) -> None:
    await directory.create_account("ada")
    new = await directory.create_key(
        "ada", KeySettings(name="laptop", models=["m", "n-*"], limits={"budget_day": "1.5"})
    )
    assert new.key.startswith("sk-fb-")
    assert await directory.keys("ada") == [new.api_key]
    assert new.api_key.prefix == new.key[:10]
    assert new.api_key.limits == {"budget_day": "1.5"}
    stored = everything_in(tmp_path)
    assert new.api_key.id.encode() in stored
    assert new.key[10:].encode() not in stored


async def test_a_revoked_key_stays_revoked_and_revoking_again_changes_nothing(
    directory: Directory, versions: Versions
) -> None:
    account = await directory.create_account("ada")
    new = await directory.create_key("ada")
    revoked = await directory.revoke_key(new.api_key.id)
    assert revoked.status == "revoked"
    assert revoked.revoked_at is not None
    assert versions.told[account.id] == 2
    assert await directory.revoke_key(new.api_key.id) == revoked
    assert versions.told[account.id] == 2


async def test_rotation_keeps_the_settings_and_ends_the_old_key(directory: Directory, versions: Versions) -> None:
    account = await directory.create_account("ada")
    old = await directory.create_key("ada", KeySettings(name="laptop", limits={"concurrent": 2}, models=["m"]))
    new = await directory.rotate_key(old.api_key.id)
    assert new.key != old.key
    assert (new.api_key.name, new.api_key.limits, new.api_key.models) == ("laptop", {"concurrent": 2}, ["m"])
    assert (await directory.key(old.api_key.id)).status == "revoked"
    assert versions.told[account.id] == 2
    with pytest.raises(Conflict):
        await directory.rotate_key(old.api_key.id)


async def test_an_account_has_at_most_ten_active_manager_keys(directory: Directory) -> None:
    await directory.create_account("ada")
    made = [await directory.create_key("ada", KeySettings(kind="manager", scopes=["usage:read"])) for _ in range(10)]
    assert made[0].key.startswith("sk_mg_")
    with pytest.raises(Conflict):
        await directory.create_key("ada", KeySettings(kind="manager"))
    await directory.revoke_key(made[0].api_key.id)
    await directory.create_key("ada", KeySettings(kind="manager"))


async def test_unknown_accounts_keys_and_kinds_are_named(directory: Directory) -> None:
    await directory.create_account("ada")
    with pytest.raises(NotFound):
        await directory.account("bob")
    with pytest.raises(NotFound):
        await directory.revoke_key("key_0")
    with pytest.raises(InvalidRequest):
        await directory.create_key("ada", KeySettings(kind="root"))
    with pytest.raises(InvalidRequest):
        await directory.create_key("ada", KeySettings(models="gpt"))


async def test_a_change_that_redis_could_not_hear_is_saved_and_announced_by_repeating_it(
    directory: Directory, versions: Versions
) -> None:
    account = await directory.create_account("ada")
    new = await directory.create_key("ada")
    versions.away = True
    with pytest.raises(Unavailable) as caught:
        await directory.revoke_key(new.api_key.id)
    assert caught.value.code == "saved_not_announced"
    versions.away = False
    assert versions.told[account.id] == 1
    assert (await directory.revoke_key(new.api_key.id)).status == "revoked"
    assert versions.told[account.id] == 2


async def test_key_limits_are_replaced(directory: Directory, versions: Versions) -> None:
    account = await directory.create_account("ada")
    new = await directory.create_key("ada")
    assert (await directory.set_key_limits(new.api_key.id, {"concurrent": 4})).limits == {"concurrent": 4}
    assert versions.told[account.id] == 2
