"""From the key that a request carries to the caller it stands for, in microseconds when it was seen before.

How soon a revocation, suspension or change of limits is heard:
- by a paid call: at once. The hold carries the account version that the caller was read with; after a change the ledger
  has a higher one and answers Stale. The pipeline then calls `forget` and identifies again, from SQL.
- by a call without a hold: within `max_age_s`, which such calls set to 1 s.
- by a key that was refused: within a second, so that a client that keeps trying does not ask SQL every time.
- if the process that made the change died between its SQL commit and telling Redis: within the backstop (30 s). No cached
  entry is used for longer without asking SQL, and whoever finds a new version there announces it to the ledger.
While SQL is away, entries that are known stay in use (a change cannot be committed either); unknown keys are 503.

Nothing here keeps a key: entries are found by digest. Both tables are bounded, oldest unused first out.
"""

import asyncio
import logging
from collections.abc import Mapping

from proxy.accounts.announce import AccountLedger, announce
from proxy.accounts.bounded import Bounded
from proxy.accounts.caller import Caller, caller_from
from proxy.accounts.keys import USER, KeyHasher, kind_of
from proxy.core.clock import Clock
from proxy.core.errors import FareboxError, Forbidden, InvalidKey
from proxy.sql.database import Database, DatabaseUnavailable, Row, integer, text

log = logging.getLogger("farebox.accounts")

BACKSTOP_S = 30.0
UNPAID_MAX_AGE_S = 1.0
_REFUSED_S = 1.0
_RETRY_S = 1.0
_STRIPES = 64


class Authenticator:
    """A bounded cache over the query `key_by_digest`."""

    def __init__(
        self,
        database: Database,
        ledger: AccountLedger,
        hasher: KeyHasher,
        clock: Clock,
        *,
        default_limits: Mapping[str, int] | None = None,
        capacity: int = 10_000,
    ) -> None:
        """`default_limits` (kind -> ceiling) are those of keys that have none of their own."""
        self._database = database
        self._ledger = ledger
        self._hasher = hasher
        self._clock = clock
        self._default_limits = dict(default_limits or {})
        self._capacity = capacity
        self._known: Bounded[Caller] = Bounded(capacity)
        self._refused: Bounded[FareboxError] = Bounded(capacity)
        # Digests whose caller the ledger called stale: their next reading repairs the ledger's version if need be.
        self._stale: Bounded[None] = Bounded(capacity)
        self._database_away_until = float("-inf")
        # One reading of a key at a time, without a lock for every key: digests share a few.
        self._reading = [asyncio.Lock() for _ in range(_STRIPES)]

    async def identify(self, key: bytes, *, kind: str = USER, max_age_s: float = BACKSTOP_S) -> Caller:
        """The caller behind `key`; does not await when it was read less than `max_age_s` seconds ago.

        Raises InvalidKey (unknown, revoked, expired, malformed), Forbidden (account suspended, key of another kind),
        Unavailable (SQL away and the key not known).
        """
        return await self.caller_of(self.digest(key, kind), max_age_s)

    def digest(self, key: bytes, kind: str = USER) -> str:
        """What a key is found by. Raises InvalidKey (malformed), Forbidden (a key of another kind)."""
        shape = kind_of(key)
        if shape is None:
            raise InvalidKey
        if shape != kind:
            raise Forbidden("This kind of API key cannot be used here.", code="wrong_key_kind")
        return self._hasher.digest(key)

    def remembered(self, digest: str, now: float, max_age_s: float = BACKSTOP_S) -> Caller | None:
        """The caller whose key has this digest, if it was read less than `max_age_s` seconds before the monotonic second `now`.

        Raises InvalidKey (expired).
        """
        caller = self._known.younger(digest, now - max_age_s)
        if caller is not None and caller.expires_at is not None:
            self._require_unexpired(caller.expires_at)
        return caller

    async def caller_of(self, digest: str, max_age_s: float = BACKSTOP_S) -> Caller:
        """As `identify`, for a key of which only the digest is at hand."""
        caller = self.remembered(digest, self._clock.monotonic(), max_age_s)
        if caller is None:
            caller = await self._read(digest, max_age_s)
            if caller.expires_at is not None:
                self._require_unexpired(caller.expires_at)
        return caller

    def _require_unexpired(self, expires_at: int) -> None:
        if expires_at <= self._clock.now_ms():
            raise InvalidKey("The API key has expired.", code="expired_api_key")

    def use_default_limits(self, limits: Mapping[str, int]) -> None:
        """New limits (kind -> ceiling) of keys that have none of their own; every key is read again."""
        self._default_limits = dict(limits)
        self._known = Bounded(self._capacity)

    def forget(self, caller: Caller) -> None:
        """After the ledger answered Stale or did not know the account: the next `identify` asks SQL."""
        self._known.drop(caller.digest)
        self._stale.put(caller.digest, None, self._clock.monotonic())

    async def _read(self, digest: str, max_age_s: float) -> Caller:
        asked_at = self._clock.monotonic()
        async with self._reading[hash(digest) % _STRIPES]:
            # Somebody else may have read it while this call waited for its turn.
            caller = self._known.younger(digest, asked_at - max_age_s)
            if caller is None and asked_at < self._database_away_until:
                caller = self._known.peek(digest)
            if caller is not None:
                return caller
            refusal = self._refused.younger(digest, asked_at - _REFUSED_S)
            if refusal is not None:
                raise type(refusal)(refusal.message, code=refusal.code)
            try:
                row = await self._database.fetch_one("key_by_digest", digest=digest)
            except DatabaseUnavailable:
                return self._keep_using(digest)
            return await self._admit(digest, row, asked_at)

    async def _admit(self, digest: str, row: Row | None, read_at: float) -> Caller:
        if row is None:
            raise self._refuse(digest, InvalidKey())
        before = self._known.peek(digest)
        if digest in self._stale or (before is not None and before.version != row["version"]):
            await announce(self._database, self._ledger, text(row, "account_id"), integer(row, "version"))
            self._stale.drop(digest)
        if row["key_status"] != "active":
            raise self._refuse(digest, InvalidKey())
        if row["account_status"] != "active":
            raise self._refuse(digest, Forbidden("The account is suspended.", code="account_suspended"))
        caller = caller_from(row, digest, self._default_limits)
        self._refused.drop(digest)
        self._known.put(digest, caller, read_at)
        return caller

    def _refuse(self, digest: str, error: FareboxError) -> FareboxError:
        self._known.drop(digest)
        self._refused.put(digest, error, self._clock.monotonic())
        return error

    def _keep_using(self, digest: str) -> Caller:
        """What was known stays in use, and the database is not asked again for a second. Raises DatabaseUnavailable."""
        caller = self._known.peek(digest)
        if caller is None:
            raise DatabaseUnavailable
        self._database_away_until = self._clock.monotonic() + _RETRY_S
        log.warning("the database is away: API key %s is used as it was last read", caller.key_id)
        return caller
