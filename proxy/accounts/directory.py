"""Accounts and their API keys: made, listed, changed, ended. SQL commits first, then the ledger hears of it.

Every change of what a key may do (status, limits, markup, models, a key's end) raises the account's version in the same commit
and is then announced, so that it holds on the very next paid call everywhere. Repeating a change that is already made
announces it again: that is the way out of `saved_not_announced`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proxy.accounts.announce import AccountLedger, announce_saved
from proxy.accounts.keys import MANAGER, USER, KeyHasher, display_prefix, new_key
from proxy.accounts.limits import dump_limits
from proxy.core.clock import Clock
from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.core.ids import new_account_id, new_key_id
from proxy.sql.database import Database, Params, Row, integer, optional_integer, optional_text, text

MAX_NAME = 200
MAX_MANAGER_KEYS = 10
MAX_LISTED = 1000
MAX_MODELS = 1000


@dataclass(frozen=True, slots=True)
class Account:
    """An account as SQL has it. `limits` as `proxy.accounts.limits` describes; `markup_ppm` None: the configured one."""

    id: str
    name: str
    status: str
    version: int
    limits: Mapping[str, object]
    markup_ppm: int | None
    created_at: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without the key: `prefix` is what may be shown. Instants in Unix milliseconds."""

    id: str
    account_id: str
    prefix: str
    kind: str
    name: str
    status: str
    limits: Mapping[str, object]
    models: Sequence[str] | None
    scopes: Sequence[str]
    expires_at: int | None
    created_at: int
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at the only moment when it can be shown."""

    key: str
    api_key: ApiKey


@dataclass(frozen=True, slots=True)
class KeySettings:
    """What a key is made with; see `ApiKey`."""

    kind: str = USER
    name: str = ""
    limits: Mapping[str, object] | None = None
    models: Sequence[str] | None = None
    scopes: Sequence[str] = ()
    expires_at: int | None = None


class Directory:
    """All methods raise Unavailable when a store is away; ACCOUNT is an id or a name."""

    def __init__(self, database: Database, ledger: AccountLedger, hasher: KeyHasher, clock: Clock) -> None:
        self._database = database
        self._ledger = ledger
        self._hasher = hasher
        self._clock = clock

    # Accounts.

    async def create_account(
        self, name: str, *, limits: Mapping[str, object] | None = None, markup_ppm: int | None = None
    ) -> Account:
        """A new account with a balance of zero. Raises Conflict when the name is taken, InvalidRequest."""
        row: Params = {
            "id": new_account_id(),
            "name": checked_name(name),
            "limits": dump_limits(limits, for_account=True),
            "markup_ppm": checked_markup(markup_ppm),
            "created_at": self._clock.now_ms(),
        }
        if await self._database.execute("insert_account", **row) == 0:
            raise Conflict(f"There is already an account named {name!r}.", param="name")
        return await self._announced(str(row["id"]))

    async def account(self, reference: str) -> Account:
        """The account with this id or name. Raises NotFound."""
        row = await self._database.fetch_one("account_by_id", id=reference)
        row = row or await self._database.fetch_one("account_by_name", name=reference)
        if row is None:
            raise NotFound(f"There is no account {reference[:MAX_NAME]!r}.", code="account_not_found")
        return _account(row)

    async def accounts(self, *, limit: int = 100, after: Account | None = None) -> list[Account]:
        """Newest first, at most `limit` (1000); `after` is the last one of the page before."""
        rows = await self._database.fetch(
            "list_accounts",
            before_created_at=after.created_at if after else 2**62,
            before_id=after.id if after else "",
            row_limit=max(0, min(limit, MAX_LISTED)),
        )
        return [_account(row) for row in rows]

    async def suspend(self, reference: str) -> Account:
        """Every key of the account is refused (403) from now on; running calls end as they would."""
        return await self._change(reference, "set_account_status", status="suspended")

    async def resume(self, reference: str) -> Account:
        """Ends a suspension."""
        return await self._change(reference, "set_account_status", status="active")

    async def set_limits(self, reference: str, limits: Mapping[str, object] | None) -> Account:
        """Replaces the account's limits; they hold from the next call on."""
        return await self._change(reference, "set_account_limits", limits=dump_limits(limits, for_account=True))

    async def set_markup(self, reference: str, markup_ppm: int | None) -> Account:
        """Replaces the account's markup (parts per million, 1,000,000 = none); None: the configured one."""
        return await self._change(reference, "set_account_markup", markup_ppm=checked_markup(markup_ppm))

    # Keys.

    async def create_key(self, reference: str, settings: KeySettings | None = None) -> NewKey:
        """A new key of the account. Raises NotFound, InvalidRequest, Conflict (more than 10 active manager keys)."""
        account = await self.account(reference)
        key, row = self._new_row(account.id, settings or KeySettings())
        most = MAX_MANAGER_KEYS if row["kind"] == MANAGER else 2**53
        if await self._database.execute("insert_key_within", **row, most=most) == 0:
            raise Conflict(f"The account has {MAX_MANAGER_KEYS} active manager keys; revoke one first.")
        return NewKey(key, await self.key(str(row["id"])))

    async def keys(self, reference: str) -> list[ApiKey]:
        """The account's newest keys (at most 1000), ended ones included, newest first. Raises NotFound."""
        account = await self.account(reference)
        return [
            _key(row) for row in await self._database.fetch("list_keys", account_id=account.id, row_limit=MAX_LISTED)
        ]

    async def key(self, key_id: str) -> ApiKey:
        """One key by its id. Raises NotFound."""
        row = await self._database.fetch_one("key_by_id", id=key_id)
        if row is None:
            raise NotFound(f"There is no API key {key_id[:MAX_NAME]!r}.", code="key_not_found")
        return _key(row)

    async def revoke_key(self, key_id: str) -> ApiKey:
        """Ends a key for ever; its next call is refused. Ending it again only announces it again. Raises NotFound."""
        key = await self.key(key_id)
        await self._database.transaction(*self._ending(key))
        await self._announced(key.account_id)
        return await self.key(key_id)

    async def rotate_key(self, key_id: str) -> NewKey:
        """A new key with the same settings in place of this one, in one commit. Raises NotFound, Conflict (already ended)."""
        old = await self.key(key_id)
        if old.status != "active":
            raise Conflict("This API key is revoked; create a new one instead.", code="key_revoked")
        settings = KeySettings(old.kind, old.name, old.limits, old.models, old.scopes, old.expires_at)
        key, row = self._new_row(old.account_id, settings)
        await self._database.transaction(*self._ending(old), ("insert_key", [row]))
        await self._announced(old.account_id)
        return NewKey(key, await self.key(str(row["id"])))

    async def set_key_limits(self, key_id: str, limits: Mapping[str, object] | None) -> ApiKey:
        """Replaces the key's limits; they hold from the next call on. Raises NotFound, InvalidRequest."""
        key = await self.key(key_id)
        change: Params = {"id": key_id, "limits": dump_limits(limits, for_account=False)}
        await self._database.transaction(
            ("set_key_limits", [change]), ("raise_account_version", [{"id": key.account_id}])
        )
        await self._announced(key.account_id)
        return await self.key(key_id)

    async def _change(self, reference: str, query: str, **values: str | int | None) -> Account:
        account = await self.account(reference)
        await self._database.execute(query, id=account.id, **values)
        return await self._announced(account.id)

    async def _announced(self, account_id: str) -> Account:
        account = await self.account(account_id)
        await announce_saved(self._database, self._ledger, account.id, account.version)
        return account

    def _ending(self, key: ApiKey) -> tuple[tuple[str, list[Params]], tuple[str, list[Params]]]:
        raise_version: Params = {"key_id": key.id}
        revoke: Params = {"key_id": key.id, "revoked_at": self._clock.now_ms()}
        return ("raise_version_for_active_key", [raise_version]), ("revoke_key", [revoke])

    def _new_row(self, account_id: str, settings: KeySettings) -> tuple[str, dict[str, str | int | None]]:
        if settings.kind not in {USER, MANAGER}:
            raise InvalidRequest("kind must be user or manager", param="kind")
        key = new_key(settings.kind)
        return key, {
            "id": new_key_id(),
            "account_id": account_id,
            "digest": self._hasher.digest(key.encode()),
            "prefix": display_prefix(key),
            "kind": settings.kind,
            "name": checked_name(settings.name) if settings.name else "",
            "limits": dump_limits(settings.limits, for_account=False),
            "models": None if settings.models is None else json.dumps(checked_names(settings.models, "models")),
            "scopes": json.dumps(checked_names(settings.scopes, "scopes")),
            "expires_at": settings.expires_at,
            "created_at": self._clock.now_ms(),
        }


def checked_name(name: str) -> str:
    """A name that people can read and that cannot be taken for an id. Raises InvalidRequest."""
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name.strip() != name:
        raise InvalidRequest(f"a name has 1 to {MAX_NAME} printable characters, no space at its ends", param="name")
    if name.startswith("acct_"):
        raise InvalidRequest("a name must not look like an account id (acct_...)", param="name")
    return name


def checked_names(names: Sequence[str], param: str) -> list[str]:
    """A list of models or scopes. Raises InvalidRequest."""
    if isinstance(names, str) or len(names) > MAX_MODELS:
        raise InvalidRequest(f"{param} must be a list of at most {MAX_MODELS} names", param=param)
    for name in names:
        if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
            raise InvalidRequest(f"{param} must be names of 1 to {MAX_NAME} printable characters", param=param)
    return list(names)


def checked_markup(markup_ppm: int | None) -> int | None:
    """A markup in parts per million, at most 1000-fold. Raises InvalidRequest."""
    if markup_ppm is not None and not 1 <= markup_ppm <= 1_000_000_000:
        raise InvalidRequest("the markup must be above 0 and at most 1000", param="markup")
    return markup_ppm


def _account(row: Row) -> Account:
    return Account(
        id=text(row, "id"),
        name=text(row, "name"),
        status=text(row, "status"),
        version=integer(row, "version"),
        limits=json.loads(text(row, "limits")),
        markup_ppm=optional_integer(row, "markup_ppm"),
        created_at=integer(row, "created_at"),
    )


def _key(row: Row) -> ApiKey:
    models = optional_text(row, "models")
    return ApiKey(
        id=text(row, "id"),
        account_id=text(row, "account_id"),
        prefix=text(row, "prefix"),
        kind=text(row, "kind"),
        name=text(row, "name"),
        status=text(row, "status"),
        limits=json.loads(text(row, "limits")),
        models=None if models is None else json.loads(models),
        scopes=json.loads(text(row, "scopes")),
        expires_at=optional_integer(row, "expires_at"),
        created_at=integer(row, "created_at"),
        revoked_at=optional_integer(row, "revoked_at"),
    )
