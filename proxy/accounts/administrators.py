"""Administrators: people and programs that run Farebox, each with a name, a credential of its own, and roles.

What a role may is `MAY`, here and nowhere else:

    read      look at everything that the admin API shows (keys and credentials are never among it)
    operate   and accounts, API keys, limits, holds, maintenance, reload: everything that is not money
    finance   and money: top-ups, adjustments, refunds, grants, codes, markups, prices, closing with a forfeit
    root      all of it, and administrators. There is one root, the configured `admin.token`; nobody is given this role

Every role may read. A credential is `sk_adm_` and 64 hexadecimal digits (256 random bits); stored is its HMAC-SHA256 under the
pepper, with a prefix of its own, so that the digest of an API key is never one of a credential. A revoked or expired one is
refused from the next request on: every request asks SQL.
"""

import hmac
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.accounts.audit_log import STEP, Change, row_of
from proxy.accounts.keys import KeyHasher, kind_of
from proxy.accounts.rows import checked_name
from proxy.core.clock import Clock
from proxy.core.errors import Conflict, Forbidden, InvalidKey, InvalidRequest, NotFound
from proxy.core.ids import new_id
from proxy.sql.database import Database, Params, Row, RowRefused, integer, optional_integer, text

READ, OPERATE, FINANCE, ROOT = "read", "operate", "finance", "root"
ROLES = (READ, OPERATE, FINANCE)
MAY: dict[str, frozenset[str]] = {
    READ: frozenset({READ}),
    OPERATE: frozenset({READ, OPERATE}),
    FINANCE: frozenset({READ, FINANCE}),
    ROOT: frozenset({READ, OPERATE, FINANCE, ROOT}),
}
MAX_LISTED = 1000

_CREDENTIAL = re.compile(rb"sk_adm_[0-9a-f]{64}")
_SHOWN = 11


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who asks. `actor` is what the log and ledger entries call them; instants in Unix milliseconds."""

    id: str
    name: str
    roles: tuple[str, ...]
    prefix: str = ""
    created_at: int = 0
    expires_at: int | None = None
    revoked_at: int | None = None

    @property
    def actor(self) -> str:
        """What the log calls them: root, or admin: and the name, which is never given to somebody else."""
        return "root" if ROOT in self.roles else f"admin:{self.name}"

    def may(self, right: str) -> bool:
        """Whether one of the roles gives this right: read, operate, finance or root."""
        return any(right in MAY[role] for role in self.roles)

    def require(self, right: str) -> None:
        """Raises Forbidden (`forbidden_role`)."""
        if not self.may(right):
            have = ", ".join(self.roles)
            raise Forbidden(f"This needs the role {right}; {self.name} has {have}.", code="forbidden_role")


@dataclass(frozen=True, slots=True)
class NewAdministrator:
    """A credential at the only moment when it can be shown."""

    credential: str
    administrator: Administrator


class Administrators:
    """All methods raise Unavailable when SQL is away."""

    def __init__(self, database: Database, hasher: KeyHasher, clock: Clock, root_token: str) -> None:
        """`root_token` is the configured `admin.token`; empty: there is no root."""
        self._database = database
        self._hasher = hasher
        self._clock = clock
        self._root_digest = self._digest(root_token.encode()) if root_token else None

    async def identify(self, credential: bytes) -> Administrator:
        """Who sends this credential. Raises InvalidKey, Forbidden (an account's API key)."""
        digest = self._digest(credential)
        if self._root_digest is not None and hmac.compare_digest(digest, self._root_digest):
            return Administrator("root", "root", (ROOT,))
        if kind_of(credential) is not None:
            raise Forbidden("An account's API key cannot be used here.", code="wrong_key_kind")
        if not _CREDENTIAL.fullmatch(credential):
            raise InvalidKey("The administrator's credential is not valid.", code="invalid_credential")
        row = await self._database.fetch_one("administrator_by_digest", digest=digest)
        if row is None or not hmac.compare_digest(text(row, "digest"), digest):
            raise InvalidKey("The administrator's credential is not valid.", code="invalid_credential")
        found = _administrator(row)
        if found.revoked_at is not None:
            raise InvalidKey("The administrator's credential is not valid.", code="invalid_credential")
        if found.expires_at is not None and found.expires_at <= self._clock.now_ms():
            raise InvalidKey("The administrator's credential has expired.", code="expired_credential")
        return found

    async def create(
        self, name: str, roles: Iterable[str], *, actor: str, expires_at: int | None = None, new: str | None = None
    ) -> NewAdministrator:
        """A new administrator; `new` is its id where the caller has one. Raises InvalidRequest, Conflict (name taken)."""
        now_ms = self._clock.now_ms()
        credential = f"sk_adm_{secrets.token_hex(32)}"
        made = Administrator(
            id=new or new_id("adm"),
            name=checked_name(name),
            roles=checked_roles(roles),
            prefix=credential[:_SHOWN],
            created_at=now_ms,
            expires_at=checked_expiry(expires_at, now_ms),
        )
        row: Params = {
            "id": made.id,
            "name": made.name,
            "digest": self._digest(credential.encode()),
            "prefix": made.prefix,
            "roles": json.dumps(made.roles),
            "created_at": now_ms,
            "expires_at": made.expires_at,
        }
        change = Change(actor, "administrator.create", made.id, None, shown(made))
        try:
            await self._database.transaction(("insert_administrator", [row]), (STEP, [row_of(change, now_ms)]))
        except RowRefused as error:
            raise Conflict(
                f"There is, or was, already an administrator named {name!r}.", code="name_taken", param="name"
            ) from error
        return NewAdministrator(credential, made)

    async def revoke(self, reference: str, *, actor: str) -> Administrator:
        """Ends a credential for ever; `reference` is an id or a name. Repeating it changes nothing. Raises NotFound."""
        before = await self.get(reference)
        if before.revoked_at is not None:
            return before
        now_ms = self._clock.now_ms()
        change = Change(
            actor, "administrator.revoke", before.id, shown(before), {**shown(before), "revoked_at": now_ms}
        )
        await self._database.transaction(
            ("revoke_administrator", [{"id": before.id, "revoked_at": now_ms}]), (STEP, [row_of(change, now_ms)])
        )
        return await self.get(before.id)

    async def get(self, reference: str) -> Administrator:
        """One administrator by id or name. Raises NotFound."""
        row = await self._database.fetch_one("administrator_by_id", id=reference)
        row = row or await self._database.fetch_one("administrator_by_name", name=reference)
        if row is None:
            raise NotFound(f"There is no administrator {reference[:200]!r}.", code="administrator_not_found")
        return _administrator(row)

    async def page(self, *, limit: int = 100, after_id: str = "") -> list[Administrator]:
        """By id, revoked ones too."""
        rows = await self._database.fetch(
            "list_administrators", after_id=after_id, row_limit=max(0, min(limit, MAX_LISTED))
        )
        return [_administrator(row) for row in rows]

    def _digest(self, credential: bytes) -> str:
        return self._hasher.digest(b"administrator:" + credential)


def checked_roles(roles: Iterable[str]) -> tuple[str, ...]:
    """Known roles, each once, in the order of `ROLES`. Raises InvalidRequest."""
    given = set(roles)
    if not given or not given <= set(ROLES):
        raise InvalidRequest(f"roles must be one or more of {', '.join(ROLES)}", param="roles")
    return tuple(role for role in ROLES if role in given)


def checked_expiry(expires_at: int | None, now_ms: int) -> int | None:
    """An instant in the future, or None for never. Raises InvalidRequest."""
    if expires_at is not None and not now_ms < expires_at < 2**53:
        raise InvalidRequest("expires_at must be an instant in the future, in Unix milliseconds", param="expires_at")
    return expires_at


def shown(administrator: Administrator) -> dict[str, object]:
    """What the log says of an administrator: nothing secret."""
    return {
        "name": administrator.name,
        "roles": list(administrator.roles),
        "expires_at": administrator.expires_at,
        "revoked_at": administrator.revoked_at,
    }


def _administrator(row: Row) -> Administrator:
    return Administrator(
        id=text(row, "id"),
        name=text(row, "name"),
        roles=tuple(json.loads(text(row, "roles"))),
        prefix=text(row, "prefix"),
        created_at=integer(row, "created_at"),
        expires_at=optional_integer(row, "expires_at"),
        revoked_at=optional_integer(row, "revoked_at"),
    )
