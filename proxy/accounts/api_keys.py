"""API keys: made, listed, changed, rotated, ended. The half of `Directory` that is about keys, and how a change is committed.

A change is decided on what was read, and committed only where that still stands: the account's version is raised first (which
locks its row), and the row of the log is refused, and the whole transaction with it, unless the version is the next one to what
was read. A change that lost this race is decided again.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from proxy.accounts.announce import AccountLedger, announce_saved
from proxy.accounts.audit_log import STEP_AT_VERSION, STEP_OF_NEW_KEY, Change, row_of
from proxy.accounts.keys import MANAGER, KeyHasher, display_prefix, new_key
from proxy.accounts.rows import (
    CLOSED,
    MAX_NAME,
    Account,
    ApiKey,
    KeySettings,
    NewKey,
    read_account,
    read_key,
    settings_row,
)
from proxy.core.clock import Clock
from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.core.ids import new_key_id
from proxy.sql.database import Database, Row, RowRefused, Step

MAX_MANAGER_KEYS = 10
MAX_LISTED = 1000
MAX_OVERLAP_S = 30 * 86_400
_ANY_NUMBER = 2**53
_TRIES = 5
_CHANGEABLE = frozenset({"name", "limits", "models", "scopes", "expires_at", "paths", "networks"})

T = TypeVar("T")


class ApiKeys:
    """See `Directory`."""

    def __init__(
        self, database: Database, ledger: AccountLedger, hasher: KeyHasher, clock: Clock, actor: str = "system"
    ) -> None:
        """`actor` is who the log of changes names."""
        self._database = database
        self._ledger = ledger
        self._hasher = hasher
        self._clock = clock
        self._actor = actor

    async def account(self, reference: str) -> Account:
        """The account with this id or name. Raises NotFound."""
        row = await self._database.fetch_one("account_by_id", id=reference)
        row = row or await self._database.fetch_one("account_by_name", name=reference)
        if row is None:
            raise NotFound(f"There is no account {reference[:MAX_NAME]!r}.", code="account_not_found")
        return read_account(row)

    async def create_key(
        self, reference: str, settings: KeySettings | None = None, *, new: str | None = None
    ) -> NewKey:
        """A new key of the account; `new` is its id where the caller has one.

        Raises NotFound, InvalidRequest, Conflict (account closed, more than 10 active manager keys; `id_taken`: `new` is there).
        """
        return await self._repeated(lambda: self._create_key(reference, settings or KeySettings(), new or new_key_id()))

    async def keys(self, reference: str) -> list[ApiKey]:
        """The account's newest keys (at most 1000), ended ones included, newest first. Raises NotFound."""
        account = await self.account(reference)
        rows = await self._database.fetch("list_keys", account_id=account.id, row_limit=MAX_LISTED)
        return [read_key(row) for row in rows]

    async def keys_page(
        self, account_id: str, *, limit: int = 100, status: str | None = None, last: tuple[int, str] | None = None
    ) -> list[ApiKey]:
        """A page, newest first; `last` is (created_at, id) of the last key of the page before."""
        last_at, last_id = last or (0, None)
        rows = await self._database.fetch(
            "keys_page",
            account_id=account_id,
            last_at=last_at,
            last_id=last_id,
            status=status,
            row_limit=max(0, min(limit, MAX_LISTED)),
        )
        return [read_key(row) for row in rows]

    async def key(self, key_id: str) -> ApiKey:
        """One key by its id. Raises NotFound."""
        return read_key(await self._key_row(key_id))

    async def revoke_key(self, key_id: str) -> ApiKey:
        """Ends a key for ever; its next call is refused. Ending it again only announces it again. Raises NotFound."""

        async def once() -> ApiKey:
            key = await self.key(key_id)
            if key.status == "active":
                steps: Step = ("revoke_key", [{"key_id": key.id, "revoked_at": self._clock.now_ms()}])
                change = Change(self._actor, "key.revoke", key.id, shown_key(key), {"status": "revoked"})
                await self._commit(await self.account(key.account_id), change, steps)
            await self._announced(key.account_id)
            return await self.key(key_id)

        return await self._repeated(once)

    async def rotate_key(self, key_id: str, *, overlap_s: int = 0, new: str | None = None) -> NewKey:
        """A new key with the same settings in place of this one, which is good for `overlap_s` seconds more, in one commit.

        Raises NotFound, InvalidRequest, Conflict (already ended; ten other manager keys while both are good).
        """
        if not 0 <= overlap_s <= MAX_OVERLAP_S:
            raise InvalidRequest(f"overlap_s must be between 0 and {MAX_OVERLAP_S} seconds", param="overlap_s")
        return await self._repeated(lambda: self._rotate_key(key_id, overlap_s, new or new_key_id()))

    async def update_key(self, key_id: str, changes: Mapping[str, object]) -> ApiKey:
        """Changes what is named (name, limits, models, scopes, expires_at, paths, networks); from the next call on.

        Raises NotFound, InvalidRequest, Conflict (the key is revoked).
        """
        check_changeable(changes, _CHANGEABLE)

        async def once() -> ApiKey:
            key = await self.key(key_id)
            if key.status != "active":
                raise Conflict("This API key is revoked; create a new one instead.", code="key_revoked")
            changed = dataclasses.replace(settings_of(key), **changes)  # type: ignore[arg-type]  # checked by settings_row
            row = settings_row(changed)
            after = {name: value for name, value in shown_settings(changed).items() if name in changes}
            change = Change(self._actor, "key.update", key.id, shown_key(key), after)
            await self._commit(await self.account(key.account_id), change, ("update_key", [{"id": key.id, **row}]))
            await self._announced(key.account_id)
            return await self.key(key_id)

        return await self._repeated(once)

    async def set_key_limits(self, key_id: str, limits: Mapping[str, object] | None) -> ApiKey:
        """Replaces the key's limits; they hold from the next call on. Raises NotFound, InvalidRequest."""
        return await self.update_key(key_id, {"limits": limits})

    # How a key is made.

    async def _create_key(self, reference: str, settings: KeySettings, key_id: str) -> NewKey:
        account = await self.account(reference)
        if account.status == CLOSED:
            raise Conflict("The account is closed.", code="account_closed")
        return await self._insert_key(account, settings, key_id, action="key.create", before=None, first=())

    async def _rotate_key(self, key_id: str, overlap_s: int, new: str) -> NewKey:
        old = await self.key(key_id)
        if old.status != "active":
            raise Conflict("This API key is revoked; create a new one instead.", code="key_revoked")
        if old.expires_at is not None and old.expires_at <= self._clock.now_ms():
            raise Conflict("This API key has expired; create a new one instead.", code="key_expired")
        account = await self.account(old.account_id)
        first: tuple[Step, ...] = (("raise_account_version", [{"id": account.id}]), self._ending(old, overlap_s))
        made = await self._insert_key(
            account, settings_of(old), new, action="key.rotate", before={"replaces": old.id}, first=first
        )
        await self._announced(account.id)
        return made

    def _ending(self, old: ApiKey, overlap_s: int) -> Step:
        now_ms = self._clock.now_ms()
        if overlap_s == 0:
            return ("revoke_key", [{"key_id": old.id, "revoked_at": now_ms}])
        ends_at = min(now_ms + overlap_s * 1000, old.expires_at or 2**53)
        return ("update_key", [{"id": old.id, **settings_row(settings_of(old)), "expires_at": ends_at}])

    async def _insert_key(
        self,
        account: Account,
        settings: KeySettings,
        key_id: str,
        *,
        action: str,
        before: Mapping[str, object] | None,
        first: Sequence[Step],
    ) -> NewKey:
        key = new_key(settings.kind)
        now_ms = self._clock.now_ms()
        row = {
            **settings_row(settings),
            "id": key_id,
            "account_id": account.id,
            "digest": self._hasher.digest(key.encode()),
            "prefix": display_prefix(key),
            "kind": settings.kind,
            "created_at": now_ms,
            "most": MAX_MANAGER_KEYS if settings.kind == MANAGER else _ANY_NUMBER,
        }
        change = Change(self._actor, action, key_id, before, {"account_id": account.id, **shown_settings(settings)})
        logged = {**row_of(change, now_ms), "digest": row["digest"]}
        try:
            await self._database.transaction(*first, ("insert_key_within", [row]), (STEP_OF_NEW_KEY, [logged]))
        except RowRefused as error:
            if await self._database.fetch_one("key_by_id", id=key_id) is not None:
                raise Conflict(f"There is already an API key {key_id}.", code="id_taken") from error
            raise Conflict(
                f"The account has {MAX_MANAGER_KEYS} active manager keys; revoke one first.",
                code="too_many_manager_keys",
            ) from error
        return NewKey(key, await self.key(key_id))

    # What every change needs.

    async def _commit(self, account: Account, change: Change, *steps: Step) -> None:
        """The steps and the row of the log, where `account` still is what it was. Raises RowRefused where it is not."""
        logged = {**row_of(change, self._clock.now_ms()), "account_id": account.id, "version": account.version + 1}
        await self._database.transaction(
            ("raise_account_version", [{"id": account.id}]), *steps, (STEP_AT_VERSION, [logged])
        )

    async def _repeated(self, once: Callable[[], Awaitable[T]]) -> T:
        for _ in range(_TRIES - 1):
            try:
                return await once()
            except RowRefused:
                continue
        try:
            return await once()
        except RowRefused as error:
            raise Conflict(
                "Somebody else changes this at the same time; repeat it.", code="changed_meanwhile"
            ) from error

    async def _announced(self, account_id: str) -> Account:
        account = await self.account(account_id)
        await announce_saved(self._database, self._ledger, account.id, account.version)
        return account

    async def _key_row(self, key_id: str) -> Row:
        row = await self._database.fetch_one("key_by_id", id=key_id)
        if row is None:
            raise NotFound(f"There is no API key {key_id[:MAX_NAME]!r}.", code="key_not_found")
        return row


def check_changeable(changes: Mapping[str, object], changeable: frozenset[str]) -> None:
    """Raises InvalidRequest for a member that cannot be changed."""
    for name in changes:
        if name not in changeable:
            raise InvalidRequest(f"{name} cannot be changed", param=name)


def settings_of(key: ApiKey) -> KeySettings:
    """What the key was made with, as it stands now."""
    return KeySettings(key.kind, key.name, key.limits, key.models, key.scopes, key.expires_at, key.paths, key.networks)


def shown_settings(settings: KeySettings) -> dict[str, object]:
    """What the log says of settings: all of them, for none is secret."""
    return dataclasses.asdict(settings)


def shown_key(key: ApiKey) -> dict[str, object]:
    """What the log says of a key before a change."""
    return {"account_id": key.account_id, **shown_settings(settings_of(key)), "status": key.status}
