"""The authenticator over real SQL: fast on a hit, and never longer wrong than it says."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.accounts.authenticator import Authenticator
from proxy.accounts.directory import ApiKey, Directory, KeySettings
from proxy.accounts.keys import KeyHasher, new_key
from proxy.core.errors import Forbidden, InvalidKey, Unavailable
from proxy.core.limits import Limit
from proxy.sql.database import DatabaseUnavailable, Row
from proxy.sql.sqlite import SqliteDatabase


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now_ms(self) -> int:
        return 1_700_000_000_000 + int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds


class Versions:
    """The ledger's versions; the one who opens and raises them may be cut off."""

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


class Counted:
    """A database that counts its readings and can be away."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self.readings = 0
        self.away = False

    async def fetch_one(self, query: str, /, **params: Any) -> Row | None:
        if query == "key_by_digest":
            self.readings += 1
        if self.away:
            raise DatabaseUnavailable
        return await self._database.fetch_one(query, **params)


class House:
    def __init__(self, database: SqliteDatabase) -> None:
        self.clock = Clock()
        self.versions = Versions()
        self.hasher = KeyHasher("a pepper of some length")
        self.database = Counted(database)
        self.directory = Directory(database, self.versions, self.hasher, self.clock)
        self.authenticator = self.another()

    def another(self, **options: Any) -> Authenticator:
        return Authenticator(self.database, self.versions, self.hasher, self.clock, **options)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    database = SqliteDatabase(tmp_path / "farebox.db")
    await database.migrate()
    house = House(database)
    await house.directory.create_account("ada", limits={"concurrent": 9, "models": {"m": {"concurrent": 1}}})
    yield house
    await database.close()


async def made_key(house: House, **settings: Any) -> tuple[bytes, ApiKey]:
    new = await house.directory.create_key("ada", KeySettings(**settings))
    return new.key.encode(), new.api_key


async def test_a_caller_knows_what_a_call_needs(house: House) -> None:
    key, api_key = await made_key(house, limits={"budget_day": "2"}, models=["m", "n-*"])
    caller = await house.authenticator.identify(key)
    assert (caller.account_name, caller.key_id, caller.version) == ("ada", api_key.id, 1)
    assert caller.limits == (Limit(f"key:{api_key.id}", "budget_day", 2_000_000), Limit("account", "concurrent", 9))
    assert caller.limits_for("m") == (*caller.limits, Limit("model:m", "concurrent", 1))
    assert [caller.may_use(model) for model in ("m", "n-1", "mm", "n")] == [True, True, False, False]


async def test_defaults_apply_where_a_key_has_no_limit_of_its_own(house: House) -> None:
    key, api_key = await made_key(house)
    caller = await house.another(default_limits={"requests": 60}).identify(key)
    assert Limit(f"key:{api_key.id}", "requests", 60) in caller.limits


async def test_a_hit_does_not_await(house: House) -> None:
    key, _ = await made_key(house)
    await house.authenticator.identify(key)
    with pytest.raises(StopIteration):
        house.authenticator.identify(key).send(None)
    assert house.database.readings == 1


async def test_many_calls_at_once_read_a_key_once(house: House) -> None:
    key, _ = await made_key(house)
    await asyncio.gather(*(house.authenticator.identify(key) for _ in range(64)))
    assert house.database.readings == 1


async def test_unknown_and_malformed_keys_are_refused_and_the_database_is_asked_once_a_second(house: House) -> None:
    unknown = new_key().encode()
    for key in (b"", b"nonsense", unknown, unknown):
        with pytest.raises(InvalidKey):
            await house.authenticator.identify(key)
    assert house.database.readings == 1
    house.clock.seconds += 1.1
    with pytest.raises(InvalidKey):
        await house.authenticator.identify(unknown)
    assert house.database.readings == 2


async def test_a_manager_key_is_not_a_user_key(house: House) -> None:
    key, _ = await made_key(house, kind="manager")
    with pytest.raises(Forbidden):
        await house.authenticator.identify(key)
    assert (await house.authenticator.identify(key, kind="manager")).kind == "manager"


async def test_an_unpaid_call_hears_of_a_revocation_within_a_second(house: House) -> None:
    key, api_key = await made_key(house)
    await house.authenticator.identify(key, max_age_s=1.0)
    await house.directory.revoke_key(api_key.id)
    house.clock.seconds += 1.0
    with pytest.raises(InvalidKey):
        await house.authenticator.identify(key, max_age_s=1.0)


async def test_after_stale_the_next_reading_is_from_sql(house: House) -> None:
    key, api_key = await made_key(house)
    caller = await house.authenticator.identify(key)
    await house.directory.revoke_key(api_key.id)
    assert house.versions.told[caller.account_id] == caller.version + 1
    house.authenticator.forget(caller)
    with pytest.raises(InvalidKey):
        await house.authenticator.identify(key)


async def test_a_suspended_account_is_forbidden_and_comes_back(house: House) -> None:
    key, _ = await made_key(house)
    caller = await house.authenticator.identify(key)
    await house.directory.suspend("ada")
    house.authenticator.forget(caller)
    with pytest.raises(Forbidden):
        await house.authenticator.identify(key)
    await house.directory.resume("ada")
    house.clock.seconds += 1.1
    assert (await house.authenticator.identify(key)).version == caller.version + 2


async def test_a_revocation_that_redis_never_heard_of_holds_after_the_backstop(house: House) -> None:
    key, api_key = await made_key(house)
    caller = await house.authenticator.identify(key)
    house.versions.away = True
    with pytest.raises(Unavailable):
        await house.directory.revoke_key(api_key.id)
    house.versions.away = False
    house.clock.seconds += 29
    assert await house.authenticator.identify(key) == caller
    house.clock.seconds += 1
    with pytest.raises(InvalidKey):
        await house.authenticator.identify(key)
    # Whoever noticed told the ledger, so that all other workers hear of it on their next paid call.
    assert house.versions.told[caller.account_id] == caller.version + 1


async def test_a_version_that_redis_never_heard_of_does_not_lock_the_account_out(house: House) -> None:
    key, api_key = await made_key(house)
    house.versions.away = True
    with pytest.raises(Unavailable):
        await house.directory.set_key_limits(api_key.id, {"concurrent": 1})
    house.versions.away = False
    caller = await house.authenticator.identify(key)
    assert house.versions.told[caller.account_id] < caller.version  # the ledger answers Stale
    house.authenticator.forget(caller)
    caller = await house.authenticator.identify(key)
    assert house.versions.told[caller.account_id] == caller.version


async def test_a_key_expires_while_it_is_cached(house: House) -> None:
    key, _ = await made_key(house, expires_at=house.clock.now_ms() + 5000)
    await house.authenticator.identify(key)
    house.clock.seconds += 5
    with pytest.raises(InvalidKey) as caught:
        await house.authenticator.identify(key)
    assert caught.value.code == "expired_api_key"


async def test_known_keys_are_used_while_the_database_is_away(house: House) -> None:
    key, _ = await made_key(house)
    unknown, _ = await made_key(house)
    caller = await house.authenticator.identify(key)
    house.database.away = True
    house.clock.seconds += 31
    for _ in range(10):
        assert await house.authenticator.identify(key) == caller
    assert house.database.readings == 2
    with pytest.raises(Unavailable):
        await house.authenticator.identify(unknown)
    house.authenticator.forget(caller)
    with pytest.raises(Unavailable):
        await house.authenticator.identify(key)
    house.database.away = False
    house.clock.seconds += 2
    assert await house.authenticator.identify(key) == caller


async def test_the_cache_is_bounded(house: House) -> None:
    authenticator = house.another(capacity=5)
    keys = [(await made_key(house))[0] for _ in range(8)]
    for key in keys:
        await authenticator.identify(key)
    for _ in range(20):
        with pytest.raises(InvalidKey):
            await authenticator.identify(new_key().encode())
    assert len(authenticator._known) == len(authenticator._refused) == 5
    house.database.readings = 0
    await authenticator.identify(keys[-1])
    assert house.database.readings == 0


async def test_nothing_that_is_printed_holds_a_key_or_its_digest(house: House) -> None:
    key, _ = await made_key(house)
    caller = await house.authenticator.identify(key)
    assert key.decode() not in repr(caller)
    assert house.hasher.digest(key) not in repr(caller)
