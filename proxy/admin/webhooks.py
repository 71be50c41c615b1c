"""/admin/v1/webhooks/deliveries: what was told to whom, and telling it again."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from proxy.accounts.administrators import OPERATE, READ
from proxy.accounts.outbox import Delivery, DeliveryFilter, Outbox
from proxy.admin.call import Call, Endpoint, PageQuery
from proxy.admin.webhook_sender import receivers_of
from proxy.core.errors import Conflict

TAG = "Webhooks"
Status = Literal["pending", "delivered", "failed"]


class DeliveryView(msgspec.Struct, kw_only=True):
    """An event for one receiver. `due_at` is when it is sent next, null unless it is pending; `answered` the HTTP status of the last
    answer, `problem` what was wrong with the last attempt, `payload` what is sent, to the byte.
    """

    id: str
    event_id: str
    account_id: str
    kind: str
    receiver: str
    host: str
    status: Status
    attempts: int
    due_at: int | None
    answered: int | None
    problem: str | None
    attempted_at: int | None
    delivered_at: int | None
    created_at: int
    payload: str


class DeliveryPage(msgspec.Struct, kw_only=True):
    """Deliveries, newest first, and the cursor of the next page."""

    items: list[DeliveryView]
    next_cursor: str | None


class DeliveryQuery(PageQuery, kw_only=True, forbid_unknown_fields=True):
    """Which deliveries: `account` is an id or a name."""

    status: Status | None = None
    account: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


async def list_deliveries(call: Call) -> DeliveryPage:
    """A page of deliveries."""
    query: DeliveryQuery = call.query
    last = call.after()
    account_id = None if query.account is None else (await call.directory.account(query.account)).id
    found = await _outbox(call).page(
        DeliveryFilter(query.status, account_id),
        limit=query.limit + 1,
        last=None if last is None else (int(last[0]), str(last[1])),
    )
    page, next_cursor = call.page(found, lambda one: [one.created_at, one.id])
    return DeliveryPage(items=[_shown(one) for one in page], next_cursor=next_cursor)


async def resend_delivery(call: Call) -> DeliveryView:
    """The delivery, due now."""
    outbox = _outbox(call)
    delivery = await outbox.delivery(call.parts["delivery"])
    if delivery.receiver not in receivers_of(call.office.settings.config.webhooks):
        raise Conflict("Its receiver is no longer configured in webhooks.urls.", code="receiver_not_configured")
    return _shown(await outbox.resend(delivery.id, call.actor))


def _outbox(call: Call) -> Outbox:
    return Outbox(call.office.database, call.office.clock)


def _shown(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        event_id=delivery.event_id,
        account_id=delivery.account_id,
        kind=delivery.kind,
        receiver=delivery.receiver,
        host=delivery.host,
        status=msgspec.convert(delivery.status, Status),
        attempts=delivery.attempts,
        due_at=delivery.due_at if delivery.status == "pending" else None,
        answered=delivery.answered,
        problem=delivery.problem,
        attempted_at=delivery.attempted_at,
        delivered_at=delivery.delivered_at,
        created_at=delivery.created_at,
        payload=delivery.body,
    )


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/webhooks/deliveries",
        right=READ,
        handler=list_deliveries,
        summary="Events that were or are to be sent to the configured receivers.",
        tag=TAG,
        query=DeliveryQuery,
        answer=DeliveryPage,
        refusals=((400, "invalid_cursor"), (404, "account_not_found")),
    ),
    Endpoint(
        method="POST",
        path="/webhooks/deliveries/{delivery}/resend",
        right=OPERATE,
        handler=resend_delivery,
        summary="Send an event again, under the id that it had.",
        tag=TAG,
        answer=DeliveryView,
        refusals=((404, "delivery_not_found"), (409, "receiver_not_configured")),
    ),
)
