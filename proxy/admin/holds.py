"""/admin/v1/holds: what open calls have set aside, and ending one by hand.

All holds are listed partition by partition, an account's within its own; the soonest deadline first. A lease that is renewed while
somebody pages may show its hold twice.
"""

from contextlib import suppress
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from proxy.accounts.administrators import OPERATE, READ
from proxy.accounts.audit_log import Change, note
from proxy.admin.call import Call, Endpoint, PageQuery
from proxy.admin.shapes import credits_of
from proxy.core.errors import InvalidRequest
from proxy.ledger.open_holds import OpenHold
from proxy.records.row import CallRecord, read_record

TAG = "Holds"


class HoldView(msgspec.Struct, kw_only=True):
    """What a call has set aside. `checkpoint_microcredits` is what it had cost at its last note, `deadline_at` the end of its lease."""

    call_id: str
    account_id: str
    partition: int
    amount_microcredits: int
    credits: str
    checkpoint_microcredits: int
    deadline_at: int
    key_id: str | None
    provider: str | None
    model: str | None
    path: str | None
    began_at: int | None


class HoldPage(msgspec.Struct, kw_only=True):
    """Open holds, and the cursor of the next page."""

    items: list[HoldView]
    next_cursor: str | None


class HoldQuery(PageQuery, kw_only=True, forbid_unknown_fields=True):
    """Which holds: of an account (id or name), of a partition, or all."""

    account: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    partition: Annotated[int, Meta(ge=0, le=999)] | None = None


class Release(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the call is charged: what it had cost at its last note, the whole hold, or nothing."""

    charge: Literal["checkpoint", "hold", "free"] = "checkpoint"


class Released(msgspec.Struct, kw_only=True):
    """How the hold ended. Should its call still end by itself, the charge is corrected to what it cost."""

    call_id: str
    account_id: str
    state: str
    charge_microcredits: int
    posted_microcredits: int
    held_microcredits: int


async def list_holds(call: Call) -> HoldPage:
    """A page of open holds."""
    query: HoldQuery = call.query
    ledger = call.office.ledger
    account_id, partitions = "", [partition.number for partition in ledger.partitions]
    if query.account is not None:
        account_id = (await call.directory.account(query.account)).id
        partitions = [ledger.partition_of(account_id).number]
    if query.partition is not None:
        if query.partition not in partitions and query.account is None:
            raise InvalidRequest(f"there are {len(partitions)} partitions", param="partition")
        partitions = [number for number in partitions if number == query.partition]
    last = call.after()
    number, place = (0, (0, "")) if last is None else (int(last[0]), (int(last[1]), str(last[2])))
    found: list[HoldView] = []
    for current in (one for one in partitions if one >= number):
        at = place if current == number else (0, "")
        wanted = query.limit - len(found)
        page = await call.office.open_holds.page(
            ledger.partitions[current], limit=wanted, place=at, account_id=account_id
        )
        found += [_shown(current, hold) for hold in page.holds]
        if page.next_place is not None:
            return HoldPage(items=found, next_cursor=_cursor(call, current, *page.next_place))
        if len(found) >= query.limit and current != partitions[-1]:
            return HoldPage(items=found, next_cursor=_cursor(call, current + 1, 0, ""))
    return HoldPage(items=found, next_cursor=None)


async def release_hold(call: Call) -> Released:
    """The end of a hold."""
    body: Release = call.body
    account = await call.directory.account(call.parts["account"])
    call_id = call.parts["call"]
    await call.office.open_holds.check(account.id, call_id)
    change = Change(call.actor, "hold.release", call_id, {"account_id": account.id}, {"charge": body.charge})
    await note(call.office.database, change, call.office.clock.now_ms())
    ended = await call.office.open_holds.release(account.id, call_id, body.charge)
    return Released(
        call_id=call_id,
        account_id=account.id,
        state=ended.state,
        charge_microcredits=ended.charge_microcredits,
        posted_microcredits=ended.posted_microcredits,
        held_microcredits=ended.held_microcredits,
    )


def _cursor(call: Call, partition: int, deadline: int, call_id: str) -> str:
    return call.office.cursors.dump(call.list_name, [partition, deadline, call_id])


def _shown(partition: int, hold: OpenHold) -> HoldView:
    draft: CallRecord | None = None
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        draft = read_record(hold.draft)
    return HoldView(
        call_id=hold.call_id,
        account_id=hold.account_id,
        partition=partition,
        amount_microcredits=hold.amount_microcredits,
        credits=credits_of(hold.amount_microcredits),
        checkpoint_microcredits=hold.checkpoint_microcredits,
        deadline_at=hold.deadline,
        key_id=draft.key_id if draft else None,
        provider=draft.provider if draft else None,
        model=draft.model if draft else None,
        path=draft.path if draft else None,
        began_at=draft.at if draft else None,
    )


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/holds",
        right=READ,
        handler=list_holds,
        summary="Open holds of an account, a partition, or all, the soonest deadline first.",
        tag=TAG,
        query=HoldQuery,
        answer=HoldPage,
        refusals=((404, "account_not_found"), (400, "invalid_cursor")),
    ),
    Endpoint(
        method="POST",
        path="/accounts/{account}/holds/{call}/release",
        right=OPERATE,
        handler=release_hold,
        summary="End an open hold now, as if its lease were over.",
        tag=TAG,
        body=Release,
        answer=Released,
        refusals=((404, "account_not_found"), (404, "hold_not_found")),
    ),
)
