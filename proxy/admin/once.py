"""Requests that must not happen twice: what makes something may carry an Idempotency-Key.

The row comes first, and with it the id of what will be made: a repeat, or one of fifty at once, makes the same thing or finds it made.
Once it was answered, the answer stands for ever; a crash before that leaves the row, and the repeat finishes the work. What is shown
only once (a key) is not kept: a repeat is answered without it. Keys are each administrator's own.

Credit operations do not pass here: they have their own rows, per account (`proxy/accounts/topups.py`).
"""

from dataclasses import dataclass

from proxy.core.errors import KEY_USED, Conflict
from proxy.sql.database import Database, optional_integer, optional_text, text


@dataclass(frozen=True, slots=True)
class Claimed:
    """What the request makes, and how it was answered when it was; `answer` None: not yet."""

    resource_id: str
    status: int
    answer: str | None


async def claim(  # noqa: PLR0917 - the columns of the row
    database: Database, actor: str, idempotency_key: str, digest: str, resource_id: str, now_ms: int
) -> Claimed:
    """The row of this key, whoever came first. Raises Conflict (`idempotency_conflict`) where it was another request's."""
    await database.execute(
        "insert_admin_request",
        actor=actor,
        idempotency_key=idempotency_key,
        digest=digest,
        resource_id=resource_id,
        created_at=now_ms,
    )
    row = await database.fetch_one("admin_request", actor=actor, idempotency_key=idempotency_key)
    if row is None:
        raise RuntimeError("a request vanished between its commit and its reading; rows are never deleted")
    if row["digest"] != digest:
        raise Conflict(KEY_USED, code="idempotency_conflict")
    return Claimed(text(row, "resource_id"), optional_integer(row, "status") or 0, optional_text(row, "answer"))


async def keep_answer(database: Database, actor: str, idempotency_key: str, status: int, answer: str) -> None:
    """Notes how the request was answered, the first time."""
    await database.execute(
        "answer_admin_request", actor=actor, idempotency_key=idempotency_key, status=status, answer=answer
    )
