"""Deliveries of events: leased by whoever sends, ended, listed, sent again. One row an event and receiver; none is ever dropped.

A delivery is leased before it is sent, so that of several hosts one sends it; whoever dies with it loses the lease after its end. It may
thus come twice, never not at all: a receiver tells a repeat by the event's id. After the last attempt it waits as `failed` for somebody
who has it sent again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.accounts.audit_log import STEP, Change, row_of
from proxy.core.clock import Clock
from proxy.core.errors import NotFound
from proxy.core.ids import new_id
from proxy.sql.database import Database, Row, integer, optional_integer, optional_text, text

PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"
MAX_LISTED = 1000


@dataclass(frozen=True, slots=True)
class Leased:
    """A delivery to be attempted now; `attempts` counts this one."""

    id: str
    event_id: str
    attempts: int
    body: str
    lease: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt ended: the new status, the HTTP status of the answer if one came, what was wrong, when it is due again."""

    status: str
    answered: int | None
    problem: str | None
    due_at: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event for one receiver as SQL has it; instants in Unix milliseconds."""

    id: str
    event_id: str
    account_id: str
    kind: str
    body: str
    receiver: str
    host: str
    status: str
    attempts: int
    due_at: int
    answered: int | None
    problem: str | None
    attempted_at: int | None
    delivered_at: int | None
    created_at: int


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries; None: all."""

    status: str | None = None
    account_id: str | None = None


class Outbox:
    """All methods raise Unavailable where SQL is away."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def lease(self, receiver: str, *, lease_ms: int, limit: int) -> Sequence[Leased]:
        """What is due for a receiver, the longest due first, for this caller alone until `lease_ms` are over."""
        now_ms = self._clock.now_ms()
        if await self._database.fetch_one("any_delivery_due", receiver=receiver, now=now_ms) is None:
            return ()  # without a writer's lock: nothing is due most of the time
        lease = new_id("lease")
        await self._database.execute(
            "lease_deliveries", lease=lease, until=now_ms + lease_ms, now=now_ms, receiver=receiver, row_limit=limit
        )
        rows = await self._database.fetch("leased_deliveries", lease=lease)
        return [
            Leased(text(row, "id"), text(row, "event_id"), integer(row, "attempts"), text(row, "body"), lease)
            for row in rows
        ]

    async def end(self, leased: Leased, attempt: Attempt) -> None:
        """Notes how an attempt ended; without effect where the lease was lost (somebody had it sent again, or took it over)."""
        await self._database.execute(
            "end_attempt",
            id=leased.id,
            lease=leased.lease,
            status=attempt.status,
            answered=attempt.answered,
            problem=attempt.problem,
            due_at=attempt.due_at,
            delivered_at=self._clock.now_ms() if attempt.status == DELIVERED else None,
        )

    async def page(
        self, wanted: DeliveryFilter, *, limit: int, last: tuple[int, str] | None = None
    ) -> Sequence[Delivery]:
        """At most `limit` (1000 and one), newest first; `last` is created_at and id of the last one of the page before."""
        rows = await self._database.fetch(
            "deliveries_page",
            status=wanted.status,
            account_id=wanted.account_id,
            last_at=last[0] if last else 0,
            last_id=last[1] if last else None,
            row_limit=max(0, min(limit, MAX_LISTED + 1)),
        )
        return [_delivery(row) for row in rows]

    async def delivery(self, delivery_id: str) -> Delivery:
        """One delivery. Raises NotFound (`delivery_not_found`)."""
        row = await self._database.fetch_one("delivery", id=delivery_id)
        if row is None:
            raise NotFound("There is no such delivery.", code="delivery_not_found")
        return _delivery(row)

    async def resend(self, delivery_id: str, actor: str) -> Delivery:
        """Makes a delivery due now, with all its attempts before it. Raises NotFound."""
        before, now_ms = await self.delivery(delivery_id), self._clock.now_ms()
        shown = {"status": before.status, "attempts": before.attempts}
        change = Change(actor, "webhook.resend", before.id, shown, {"status": PENDING, "event_id": before.event_id})
        await self._database.transaction(
            ("resend_delivery", [{"id": before.id, "now": now_ms}]), (STEP, [row_of(change, now_ms)])
        )
        return await self.delivery(delivery_id)


def _delivery(row: Row) -> Delivery:
    return Delivery(
        id=text(row, "id"),
        event_id=text(row, "event_id"),
        account_id=text(row, "account_id"),
        kind=text(row, "kind"),
        body=text(row, "body"),
        receiver=text(row, "receiver"),
        host=text(row, "host"),
        status=text(row, "status"),
        attempts=integer(row, "attempts"),
        due_at=integer(row, "due_at"),
        answered=optional_integer(row, "answered"),
        problem=optional_text(row, "problem"),
        attempted_at=optional_integer(row, "attempted_at"),
        delivered_at=optional_integer(row, "delivered_at"),
        created_at=integer(row, "created_at"),
    )
