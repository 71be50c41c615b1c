"""/admin/v1/accounts/{account}/grants and /admin/v1/grants/{grant}: credits with an expiry and a priority; given, listed, revoked."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from proxy.accounts.administrators import FINANCE, READ
from proxy.accounts.audit_log import Change, note
from proxy.accounts.grants import Grant, GrantOrder
from proxy.admin.call import Call, Endpoint, PageQuery
from proxy.admin.credit import ACCOUNT_NOT_FOUND, REFUSALS, Key, Reason, account_of, key_of, positive
from proxy.admin.shapes import Amount, Instant, credits_of, microcredits_of
from proxy.core.grants import DEFAULT_PRIORITY, MAX_PRIORITY

TAG = "Grants"
Priority = Annotated[int, Meta(ge=0, le=MAX_PRIORITY, description="Among equal expiries the lower one burns first.")]
GrantStatus = Literal["pending", "live", "used", "expired", "revoked", "refused"]
_NOT_FOUND = (404, "grant_not_found")


class GrantView(msgspec.Struct, kw_only=True):
    """A grant and what remains of it at this moment. `ends_at` is when the rest is taken: the expiry, or a revocation before it."""

    id: str
    account_id: str
    status: GrantStatus
    amount_microcredits: int
    credits: str
    remaining_microcredits: int
    expired_microcredits: int
    priority: int
    expires_at: int | None
    ends_at: int | None
    created_at: int
    operation_id: str
    actor: str
    reason: str


class GrantPage(msgspec.Struct, kw_only=True):
    """Grants, newest first, and the cursor of the next page."""

    items: list[GrantView]
    next_cursor: str | None


class GrantQuery(PageQuery, kw_only=True, forbid_unknown_fields=True):
    """All grants of the account, ended ones too."""


class NewGrant(Amount, kw_only=True, forbid_unknown_fields=True):
    """Credits that burn before bought ones, the soonest expiry first; without `expires_at` they never expire."""

    expires_at: Instant | None = None
    priority: Priority = DEFAULT_PRIORITY
    reason: Reason = ""
    idempotency_key: Key | None = None


async def give_grant(call: Call) -> GrantView:
    """The grant, as it is now."""
    new: NewGrant = call.body
    amount, key = positive(microcredits_of(new), new), key_of(call)
    order = GrantOrder(amount, key, new.expires_at, new.priority, call.actor, new.reason)
    _, grant = await call.office.desk.grants.give(await account_of(call), order)
    return grant_view(grant)


async def list_grants(call: Call) -> GrantPage:
    """A page of an account's grants."""
    query: GrantQuery = call.query
    last = call.after()
    before = None if last is None else await call.office.desk.grants.grant(str(last[0]))
    account_id = await account_of(call)
    found = await call.office.desk.grants.list(account_id, limit=query.limit + 1, before=before)
    page, next_cursor = call.page(found, lambda grant: [grant.id])
    return GrantPage(items=[grant_view(grant) for grant in page], next_cursor=next_cursor)


async def read_grant(call: Call) -> GrantView:
    """One grant."""
    return grant_view(await call.office.desk.grants.grant(call.parts["grant"]))


async def revoke_grant(call: Call) -> GrantView:
    """The revoked grant."""
    grants, grant_id = call.office.desk.grants, call.parts["grant"]
    before = await grants.grant(grant_id)
    if before.status in {"pending", "live"}:
        remaining = {"account_id": before.account_id, "remaining_microcredits": before.remaining_microcredits}
        change = Change(call.actor, "grant.revoke", grant_id, remaining, None)
        await note(call.office.database, change, call.office.clock.now_ms())
    return grant_view(await grants.revoke(grant_id))


def grant_view(grant: Grant) -> GrantView:
    """A grant as the API shows it."""
    return GrantView(
        id=grant.id,
        account_id=grant.account_id,
        status=msgspec.convert(grant.status, GrantStatus),
        amount_microcredits=grant.amount_microcredits,
        credits=credits_of(grant.amount_microcredits),
        remaining_microcredits=grant.remaining_microcredits,
        expired_microcredits=grant.expired_microcredits,
        priority=grant.priority,
        expires_at=grant.expires_at,
        ends_at=grant.ends_at,
        created_at=grant.created_at,
        operation_id=grant.operation_id,
        actor=grant.actor,
        reason=grant.reason,
    )


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/accounts/{account}/grants",
        right=READ,
        handler=list_grants,
        summary="An account's grants, ended ones too, newest first.",
        tag=TAG,
        query=GrantQuery,
        answer=GrantPage,
        refusals=(ACCOUNT_NOT_FOUND, (400, "invalid_cursor")),
    ),
    Endpoint(
        method="POST",
        path="/accounts/{account}/grants",
        right=FINANCE,
        handler=give_grant,
        summary="Give credits that may expire, once.",
        tag=TAG,
        body=NewGrant,
        answer=GrantView,
        status=201,
        takes_idempotency_key=True,
        refusals=(*REFUSALS, (409, "account_closed"), (409, "too_many_grants")),
    ),
    Endpoint(
        method="GET",
        path="/grants/{grant}",
        right=READ,
        handler=read_grant,
        summary="One grant, and what remains of it at this moment.",
        tag=TAG,
        answer=GrantView,
        refusals=(_NOT_FOUND,),
    ),
    Endpoint(
        method="POST",
        path="/grants/{grant}/revoke",
        right=FINANCE,
        handler=revoke_grant,
        summary="Take back what is left of a grant; what open calls hold of it is taken when they end.",
        tag=TAG,
        answer=GrantView,
        refusals=(_NOT_FOUND,),
    ),
)
