"""API keys that were made elsewhere: a key that its owner already has, or only the digest of it, becomes a key of an account.

A digest is the HMAC-SHA256 under this installation's pepper (proxy/accounts/keys.py), as `api_keys.digest` of an installation
with the same pepper has it. Bringing the same one again changes nothing.
"""

import re
from dataclasses import dataclass
from typing import Self

from proxy.accounts.api_keys import MAX_MANAGER_KEYS, shown_settings
from proxy.accounts.audit_log import STEP_OF_NEW_KEY, Change, row_of
from proxy.accounts.keys import MANAGER, KeyHasher, display_prefix, kind_of
from proxy.accounts.rows import KeySettings, settings_row
from proxy.core.errors import Conflict, InvalidRequest
from proxy.core.ids import new_key_id
from proxy.sql.database import Database, RowRefused, text

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"[!-~]{1,10}")
_ANY_NUMBER = 2**53


@dataclass(frozen=True, slots=True)
class GivenKey:
    """What is kept of a key: its digest, and the beginning that may be shown."""

    digest: str
    prefix: str

    @classmethod
    def of_key(cls, key: str, kind: str, hasher: KeyHasher) -> Self:
        """Raises InvalidRequest for what cannot be a key of this kind."""
        if not key.isascii() or kind_of(key.encode()) != kind:
            raise InvalidRequest(f"this is not the form of a {kind} key (sk-fb-... or sk_mg_...)", param="key")
        return cls(hasher.digest(key.encode()), display_prefix(key))

    @classmethod
    def of_digest(cls, digest: str, prefix: str) -> Self:
        """Raises InvalidRequest."""
        if not _DIGEST.fullmatch(digest):
            raise InvalidRequest("a digest has 64 hexadecimal digits in lower case", param="digest")
        if not _PREFIX.fullmatch(prefix):
            raise InvalidRequest("a prefix has 1 to 10 visible ASCII characters", param="prefix")
        return cls(digest, prefix)


async def owner_of(database: Database, digest: str) -> str | None:
    """The id of the account that has this key already, revoked or not; None where it is unknown."""
    row = await database.fetch_one("key_by_digest", digest=digest)
    return None if row is None else text(row, "account_id")


async def bring_key(
    database: Database, account_id: str, settings: KeySettings, given: GivenKey, *, actor: str, now_ms: int
) -> str:
    """The id of the new key. Raises InvalidRequest, Conflict (`key_taken`; `too_many_manager_keys`)."""
    key_id = new_key_id()
    row = {
        **settings_row(settings),
        "id": key_id,
        "account_id": account_id,
        "digest": given.digest,
        "prefix": given.prefix,
        "kind": settings.kind,
        "created_at": now_ms,
        "most": MAX_MANAGER_KEYS if settings.kind == MANAGER else _ANY_NUMBER,
    }
    change = Change(actor, "key.import", key_id, None, {"account_id": account_id, **shown_settings(settings)})
    logged = {**row_of(change, now_ms), "digest": given.digest}
    try:
        await database.transaction(("insert_key_within", [row]), (STEP_OF_NEW_KEY, [logged]))
    except RowRefused as error:
        if await owner_of(database, given.digest) is not None:
            raise Conflict("This key is there already.", code="key_taken") from error
        raise Conflict(
            f"The account has {MAX_MANAGER_KEYS} active manager keys; revoke one first.", code="too_many_manager_keys"
        ) from error
    return key_id
