"""/admin/v1/accounts/{account}/keys and /admin/v1/keys: made (shown once), listed, changed, rotated with an overlap, revoked."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from proxy.accounts.administrators import OPERATE, READ, checked_expiry
from proxy.accounts.directory import ApiKey, KeySettings, NewKey
from proxy.admin.call import Call, Endpoint, PageQuery
from proxy.admin.shapes import Ceilings, Instant, Name, members, shown_limits, stored_limits
from proxy.core.errors import Conflict

TAG = "API keys"
Models = Annotated[
    list[Name], Meta(max_length=1000, description="Names; a trailing * matches the rest. Null: all models.")
]
Paths = Annotated[
    list[Annotated[str, Meta(pattern="^/", max_length=500, examples=["/v1/*"])]],
    Meta(
        min_length=1,
        max_length=100,
        description="Paths of the data listener; a trailing * matches the rest. Null: all.",
    ),
]
Networks = Annotated[
    list[Annotated[str, Meta(max_length=60, examples=["203.0.113.0/24"])]],
    Meta(min_length=1, max_length=100, description="Networks of clients, in CIDR notation. Null: from everywhere."),
]
Scopes = Annotated[
    list[Name], Meta(max_length=1000, description="What a manager key may do: usage:read, balance:read. None: both.")
]
KeyName = Annotated[str, Meta(max_length=200)]
_ACCOUNT_NOT_FOUND = (404, "account_not_found")
_NOT_FOUND = (404, "key_not_found")
_REVOKED = (409, "key_revoked")


class ApiKeyView(msgspec.Struct, kw_only=True):
    """An API key without the key: `prefix` is what its owner knows it by. One past its `expires_at` is refused, though active."""

    id: str
    account_id: str
    prefix: str
    kind: Literal["user", "manager"]
    name: str
    status: Literal["active", "revoked"]
    limits: Ceilings
    models: list[str] | None
    paths: list[str] | None
    networks: list[str] | None
    scopes: list[str]
    expires_at: int | None
    created_at: int
    revoked_at: int | None


class NewApiKeyView(ApiKeyView, kw_only=True):
    """A key that was just made. `key` is shown this once; null where the request is a repeat under its Idempotency-Key."""

    key: str | None


class ApiKeyPage(msgspec.Struct, kw_only=True):
    """API keys, and the cursor of the next page."""

    items: list[ApiKeyView]
    next_cursor: str | None


class ApiKeyQuery(PageQuery, kw_only=True, forbid_unknown_fields=True):
    """Which keys of the account."""

    status: Literal["active", "revoked"] | None = None


class NewApiKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A key to be made. An account has at most ten active manager keys."""

    kind: Literal["user", "manager"] = "user"
    name: KeyName = ""
    limits: Ceilings | UnsetType = UNSET
    models: Models | None = None
    paths: Paths | None = None
    networks: Networks | None = None
    scopes: Scopes = []
    expires_at: Instant | None = None


class ApiKeyChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed; lists and limits replace what is there."""

    name: KeyName | UnsetType = UNSET
    limits: Ceilings | UnsetType = UNSET
    models: Models | UnsetType | None = UNSET
    paths: Paths | UnsetType | None = UNSET
    networks: Networks | UnsetType | None = UNSET
    scopes: Scopes | UnsetType = UNSET
    expires_at: Instant | UnsetType | None = UNSET


class Rotation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How long the old key is good beside the new one, in seconds; 0: it ends at once."""

    overlap_s: Annotated[int, Meta(ge=0, le=2_592_000)] = 0


async def list_keys(call: Call) -> ApiKeyPage:
    """A page of an account's keys."""
    query: ApiKeyQuery = call.query
    last = call.after()
    account = await call.directory.account(call.parts["account"])
    found = await call.directory.keys_page(
        account.id,
        limit=query.limit + 1,
        status=query.status,
        last=None if last is None else (int(last[0]), str(last[1])),
    )
    page, next_cursor = call.page(found, lambda key: [key.created_at, key.id])
    return ApiKeyPage(items=[shown(key) for key in page], next_cursor=next_cursor)


async def create_key(call: Call) -> NewApiKeyView:
    """The new key, with the key."""
    new: NewApiKey = call.body
    settings = KeySettings(
        kind=new.kind,
        name=new.name,
        limits=None if isinstance(new.limits, UnsetType) else stored_limits(new.limits),
        models=new.models,
        scopes=new.scopes,
        expires_at=checked_expiry(new.expires_at, call.office.clock.now_ms()),
        paths=new.paths,
        networks=new.networks,
    )
    try:
        return shown_once(await call.directory.create_key(call.parts["account"], settings, new=call.resource_id))
    except Conflict as error:
        return await _made_before(call, error)


async def read_key(call: Call) -> ApiKeyView:
    """One key."""
    return shown(await call.directory.key(call.parts["key"]))


async def change_key(call: Call) -> ApiKeyView:
    """The key as it is then."""
    change: ApiKeyChange = call.body
    changes: dict[str, object] = {
        name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not UNSET
    }
    if not isinstance(change.limits, UnsetType):
        changes["limits"] = stored_limits(change.limits)
    if not isinstance(change.expires_at, UnsetType):
        changes["expires_at"] = checked_expiry(change.expires_at, call.office.clock.now_ms())
    key_id = call.parts["key"]
    return shown(await call.directory.update_key(key_id, changes) if changes else await call.directory.key(key_id))


async def rotate_key(call: Call) -> NewApiKeyView:
    """The new key, with the key."""
    rotation: Rotation = call.body
    try:
        made = await call.directory.rotate_key(call.parts["key"], overlap_s=rotation.overlap_s, new=call.resource_id)
    except Conflict as error:
        return await _made_before(call, error)
    return shown_once(made)


async def _made_before(call: Call, error: Conflict) -> NewApiKeyView:
    """The key that the same request made before, where this is what the conflict means."""
    if error.code not in {"id_taken", "key_revoked", "changed_meanwhile"}:
        raise error
    row = await call.office.database.fetch_one("key_by_id", id=call.resource_id)
    if row is None:
        raise error
    made = await call.directory.key(call.resource_id)
    return NewApiKeyView(**members(shown(made)), key=None)


async def revoke_key(call: Call) -> ApiKeyView:
    """The revoked key."""
    return shown(await call.directory.revoke_key(call.parts["key"]))


def shown(key: ApiKey) -> ApiKeyView:
    """A key as the API shows it."""
    return ApiKeyView(
        id=key.id,
        account_id=key.account_id,
        prefix=key.prefix,
        kind=msgspec.convert(key.kind, Literal["user", "manager"]),
        name=key.name,
        status=msgspec.convert(key.status, Literal["active", "revoked"]),
        limits=shown_limits(key.limits),
        models=None if key.models is None else list(key.models),
        paths=None if key.paths is None else list(key.paths),
        networks=None if key.networks is None else list(key.networks),
        scopes=list(key.scopes),
        expires_at=key.expires_at,
        created_at=key.created_at,
        revoked_at=key.revoked_at,
    )


def shown_once(made: NewKey) -> NewApiKeyView:
    """A new key with the key."""
    return NewApiKeyView(**members(shown(made.api_key)), key=made.key)


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/accounts/{account}/keys",
        right=READ,
        handler=list_keys,
        summary="An account's API keys, ended ones too, newest first.",
        tag=TAG,
        query=ApiKeyQuery,
        answer=ApiKeyPage,
        refusals=(_ACCOUNT_NOT_FOUND, (400, "invalid_cursor")),
    ),
    Endpoint(
        method="POST",
        path="/accounts/{account}/keys",
        right=OPERATE,
        handler=create_key,
        summary="Make an API key and show it, for the only time.",
        tag=TAG,
        body=NewApiKey,
        answer=NewApiKeyView,
        status=201,
        makes="key",
        shown_once=("key",),
        refusals=(_ACCOUNT_NOT_FOUND, (409, "account_closed"), (409, "too_many_manager_keys")),
    ),
    Endpoint(
        method="GET",
        path="/keys/{key}",
        right=READ,
        handler=read_key,
        summary="One API key, by its id.",
        tag=TAG,
        answer=ApiKeyView,
        refusals=(_NOT_FOUND,),
    ),
    Endpoint(
        method="PATCH",
        path="/keys/{key}",
        right=OPERATE,
        handler=change_key,
        summary="Change an API key; it holds from the next call on.",
        tag=TAG,
        body=ApiKeyChange,
        answer=ApiKeyView,
        refusals=(_NOT_FOUND, _REVOKED),
    ),
    Endpoint(
        method="POST",
        path="/keys/{key}/rotate",
        right=OPERATE,
        handler=rotate_key,
        summary="Replace an API key by a new one with the same settings; the old one may stay good for a while.",
        tag=TAG,
        body=Rotation,
        answer=NewApiKeyView,
        status=201,
        makes="key",
        shown_once=("key",),
        refusals=(_NOT_FOUND, _REVOKED, (409, "key_expired"), (409, "too_many_manager_keys")),
    ),
    Endpoint(
        method="POST",
        path="/keys/{key}/revoke",
        right=OPERATE,
        handler=revoke_key,
        summary="End an API key for ever: its next call is refused.",
        tag=TAG,
        answer=ApiKeyView,
        refusals=(_NOT_FOUND,),
    ),
)
