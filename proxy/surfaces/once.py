"""`Idempotency-Key` on the surfaces: the same request under the same key is answered the same for ever, another one is refused.

The row comes first, with the operation id under which the stores below know what is done; then the work, which that id makes
repeatable; then the answer. Killed in between, a repeat does the work again, changes nothing twice, and answers.
Errors are not kept: a request that failed may be repeated when its reason is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from proxy.accounts.administrators import Administrator
from proxy.core.errors import Conflict, InvalidRequest
from proxy.core.ids import new_id
from proxy.sql.database import integer, optional_text, text
from proxy.surfaces.vendor import Answer

if TYPE_CHECKING:
    from proxy.sql.database import Database, Row
    from proxy.surfaces.vendor import Query

Work = Callable[[str], Awaitable[object]]
Prepare = Callable[[], Awaitable[Work]]

MAX_KEY = 255
_OWN_KEYS = "farebox:"
_canonical = msgspec.json.Encoder(order="sorted", decimal_format="number").encode
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Once:
    """The kept answers of one surface."""

    def __init__(self, database: Database, surface: str) -> None:
        self._database = database
        self._surface = surface

    async def answer(self, query: Query, name: str, prepare: Prepare) -> Answer:
        """What the work returns for an operation id, or what it returned before. Raises Conflict, InvalidRequest.

        `prepare` reads the request, changes nothing and returns the work: a request that cannot be leaves no row. `name` is the
        path without a prefix, so that a key is one wherever it is sent. A key is an account's, or an administrator's.
        """
        key = _key_of(query)
        if key is None:
            work = await prepare()
            return Answer(200, await work(new_id("op")))
        who = query.who.actor if isinstance(query.who, Administrator) else query.who.account_id
        owner = f"{self._surface}:{who}"
        digest = hashlib.sha256(name.encode() + b"\n" + _canonical(dict(query.body))).hexdigest()
        row = await self._row(owner, key)
        _check(row, digest)
        if row is None or row["answer"] is None:
            work = await prepare()
            row = await self._agreed_row(owner, key, digest, query.at_ms)
            _check(row, digest)
            content = _encode(await work(text(row, "operation_id"))).decode()
            await self._database.execute(
                "keep_surface_answer", owner=owner, idempotency_key=key, status=200, answer=content
            )
            row = await self._lasting_row(owner, key)
        return Answer(integer(row, "status"), msgspec.Raw((optional_text(row, "answer") or "").encode()))

    async def _agreed_row(self, owner: str, key: str, digest: str, now_ms: int) -> Row:
        await self._database.execute(
            "insert_surface_request",
            owner=owner,
            idempotency_key=key,
            digest=digest,
            operation_id=new_id("op"),
            created_at=now_ms,
        )
        return await self._lasting_row(owner, key)

    async def _row(self, owner: str, key: str) -> Row | None:
        return await self._database.fetch_one("surface_request", owner=owner, idempotency_key=key)

    async def _lasting_row(self, owner: str, key: str) -> Row:
        row = await self._row(owner, key)
        if row is None:
            raise RuntimeError("a request vanished between its commit and its reading; rows are never deleted")
        return row


def _check(row: Row | None, digest: str) -> None:
    """Raises Conflict where a row is another request's."""
    if row is not None and row["digest"] != digest:
        raise Conflict("This Idempotency-Key was used before with another request.", code="idempotency_conflict")


def _key_of(query: Query) -> str | None:
    header = query.exchange.header(b"idempotency-key")
    if header is None:
        return None
    key = header.decode("latin-1").strip()
    if not 1 <= len(key) <= MAX_KEY or not key.isprintable() or key.startswith(_OWN_KEYS):
        raise InvalidRequest(f"Idempotency-Key must be 1 to {MAX_KEY} printable characters", param="Idempotency-Key")
    return key
