"""The log of changes: one row for everything that an administrator, a command or a surface changed, with before and after.

Where a change is SQL, its row is a step of the same transaction: `row_of` makes it, `STEP` writes it. Where it is not (a hold that is
released, a reload, credits), the row is committed first: what was done is always in the log, what is in the log was at least begun.
Credits that are refused then leave a second row, `credit.refused`, with the same `operation_id`.

    await database.transaction(("close_account", [...]), (STEP, [row_of(change, now_ms)]))

`actor` is who: "root", "admin:<name>", "cli:<user>", "key:<id>"; `action` what: "account.suspend"; `subject` the id of what was
changed. `before` and `after` are JSON objects, and never carry a key, a credential or a digest.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.core.ids import new_call_id
from proxy.sql.database import Database, Params, Row, integer, optional_text, text

STEP = "insert_audit_log"
STEP_AT_VERSION = "insert_audit_log_at_version"  # and the parameters `account_id` and `version`
STEP_OF_NEW_KEY = "insert_audit_log_of_new_key"  # and the parameter `digest`
STEP_OF_OPERATION = "insert_audit_log_of_operation"  # and the parameter `operation_id`; a repeat writes nothing
STEP_OF_REFUSAL = "insert_audit_log_of_refusal"  # likewise; nothing where the operation has ended already
MAX_PAGE = 1000
FIRST = "~"  # above every id
FOREVER_MS = 2**62


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody did. `before` None: it was not there; `after` None: it is there no more, or nothing is to be said."""

    actor: str
    action: str
    subject: str
    before: Mapping[str, object] | None = None
    after: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class LoggedChange(Change):
    """A row of the log; `at` in Unix milliseconds."""

    id: str = ""
    at: int = 0


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which rows: from `from_at` (included) to `to_at` (not), and those with the given texts."""

    from_at: int = 0
    to_at: int = FOREVER_MS
    actor: str | None = None
    action: str | None = None
    subject: str | None = None


def row_of(change: Change, at_ms: int) -> Params:
    """The parameters of `STEP`."""
    return {
        "id": new_call_id(at_ms),
        "at": at_ms,
        "actor": change.actor,
        "action": change.action,
        "subject": change.subject,
        "before_json": _dump(change.before),
        "after_json": _dump(change.after),
    }


async def note(database: Database, change: Change, at_ms: int) -> None:
    """Commits a row of its own, for a change that is not SQL; call it before the change."""
    await database.execute(STEP, **row_of(change, at_ms))


async def read_log(
    database: Database, wanted: LogFilter, *, limit: int = 100, before_id: str = FIRST
) -> list[LoggedChange]:
    """At most `limit` (1000) rows, newest first; `before_id` is the id of the last row of the page before."""
    rows = await database.fetch(
        "audit_log_page",
        before_id=before_id,
        from_at=wanted.from_at,
        to_at=wanted.to_at,
        actor=wanted.actor,
        action=wanted.action,
        subject=wanted.subject,
        row_limit=max(0, min(limit, MAX_PAGE)),
    )
    return [_logged(row) for row in rows]


def _logged(row: Row) -> LoggedChange:
    before, after = optional_text(row, "before_json"), optional_text(row, "after_json")
    return LoggedChange(
        id=text(row, "id"),
        at=integer(row, "at"),
        actor=text(row, "actor"),
        action=text(row, "action"),
        subject=text(row, "subject"),
        before=None if before is None else json.loads(before),
        after=None if after is None else json.loads(after),
    )


def _dump(value: Mapping[str, object] | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=str)
