"""Accounts and API keys as SQL has them, what may be written there, and both ways between rows and values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proxy.accounts.keys import MANAGER, USER
from proxy.accounts.limits import dump_limits
from proxy.accounts.reach import dump_networks, dump_paths
from proxy.core.errors import InvalidRequest
from proxy.core.money import MAX_AMOUNT
from proxy.sql.database import Params, Row, integer, optional_integer, optional_text, text

ACTIVE, SUSPENDED, CLOSED = "active", "suspended", "closed"
USAGE_READ, BALANCE_READ = SCOPES = ("usage:read", "balance:read")  # what a manager key may do
MAX_NAME = 200
MAX_MODELS = 1000
MAX_METADATA = 50
MAX_METADATA_VALUE = 500


@dataclass(frozen=True, slots=True)
class Account:
    """An account as SQL has it. `limits` as `proxy.accounts.limits` describes; `markup_ppm` None: the configured one.

    `status` is active, suspended or closed; `metadata` are the administrators' own notes, which Farebox never reads. A balance
    that falls to `low_balance_microcredits` is told by webhook.
    """

    id: str
    name: str
    status: str
    version: int
    limits: Mapping[str, object]
    markup_ppm: int | None
    created_at: int
    closed_at: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    low_balance_microcredits: int | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without the key: `prefix` is what may be shown. Instants in Unix milliseconds.

    `models`, `paths` and `networks` None: all. `status` is active or revoked; an active one may have expired.
    """

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
    paths: Sequence[str] | None = None
    networks: Sequence[str] | None = None


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
    paths: Sequence[str] | None = None
    networks: Sequence[str] | None = None


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


def _checked_scopes(scopes: Sequence[str]) -> list[str]:
    found = checked_names(scopes, "scopes")
    unknown = [scope for scope in found if scope not in SCOPES]
    if unknown:
        raise InvalidRequest(f"there is no scope {unknown[0]!r}; scopes: {', '.join(SCOPES)}", param="scopes")
    return found


def checked_markup(markup_ppm: int | None) -> int | None:
    """A markup in parts per million, at most 1000-fold. Raises InvalidRequest."""
    if markup_ppm is not None and not 1 <= markup_ppm <= 1_000_000_000:
        raise InvalidRequest("the markup must be above 0 and at most 1000", param="markup")
    return markup_ppm


def checked_threshold(microcredits: int | None) -> int | None:
    """A balance that is low, or None where none is. Raises InvalidRequest."""
    if microcredits is not None and not 0 <= microcredits <= MAX_AMOUNT:
        raise InvalidRequest(
            f"the low balance must be between 0 and {MAX_AMOUNT} microcredits", param="low_balance_microcredits"
        )
    return microcredits


def dump_metadata(metadata: Mapping[str, str] | None) -> str:
    """Notes as the JSON text that is stored. Raises InvalidRequest."""
    notes = dict(metadata or {})
    if len(notes) > MAX_METADATA:
        raise InvalidRequest(f"metadata has at most {MAX_METADATA} members", param="metadata")
    for name, value in notes.items():
        if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or len(value) > MAX_METADATA_VALUE:
            raise InvalidRequest(
                f"metadata are texts of at most {MAX_METADATA_VALUE} characters under printable names", param="metadata"
            )
    return json.dumps(notes, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def settings_row(settings: KeySettings) -> dict[str, str | int | None]:
    """What can be changed of a key, checked, as columns. Raises InvalidRequest."""
    if settings.kind not in {USER, MANAGER}:
        raise InvalidRequest("kind must be user or manager", param="kind")
    return {
        "name": checked_name(settings.name) if settings.name else "",
        "limits": dump_limits(settings.limits, for_account=False),
        "models": None if settings.models is None else json.dumps(checked_names(settings.models, "models")),
        "scopes": json.dumps(_checked_scopes(settings.scopes)),
        "expires_at": settings.expires_at,
        "paths": dump_paths(settings.paths),
        "networks": dump_networks(settings.networks),
    }


def account_row(account: Account) -> Params:
    """What can be changed of an account, checked, as columns. Raises InvalidRequest."""
    return {
        "id": account.id,
        "name": checked_name(account.name),
        "limits": dump_limits(account.limits, for_account=True),
        "markup_ppm": checked_markup(account.markup_ppm),
        "metadata": dump_metadata(account.metadata),
        "low_balance_microcredits": checked_threshold(account.low_balance_microcredits),
    }


def read_account(row: Row) -> Account:
    """A row of `accounts`."""
    closed_at = optional_integer(row, "closed_at")
    return Account(
        id=text(row, "id"),
        name=text(row, "name"),
        status=text(row, "status") if closed_at is None else CLOSED,
        version=integer(row, "version"),
        limits=json.loads(text(row, "limits")),
        markup_ppm=optional_integer(row, "markup_ppm"),
        created_at=integer(row, "created_at"),
        closed_at=closed_at,
        metadata=json.loads(text(row, "metadata")),
        low_balance_microcredits=optional_integer(row, "low_balance_microcredits"),
    )


def read_key(row: Row) -> ApiKey:
    """A row of `api_keys`."""
    return ApiKey(
        id=text(row, "id"),
        account_id=text(row, "account_id"),
        prefix=text(row, "prefix"),
        kind=text(row, "kind"),
        name=text(row, "name"),
        status=text(row, "status"),
        limits=json.loads(text(row, "limits")),
        models=_list(row, "models"),
        scopes=json.loads(text(row, "scopes")),
        expires_at=optional_integer(row, "expires_at"),
        created_at=integer(row, "created_at"),
        revoked_at=optional_integer(row, "revoked_at"),
        paths=_list(row, "paths"),
        networks=_list(row, "networks"),
    )


def _list(row: Row, column: str) -> Sequence[str] | None:
    stored = optional_text(row, column)
    found: list[str] | None = None if stored is None else json.loads(stored)
    return found
