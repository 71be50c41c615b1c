"""/admin/v1/administrators and /admin/v1/audit-log: who may do what, and what they did."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from proxy.accounts.administrators import READ, ROOT, Administrator
from proxy.accounts.audit_log import FIRST, FOREVER_MS, LogFilter, read_log
from proxy.admin.call import Call, Endpoint, PageQuery
from proxy.admin.shapes import Instant, Name, members
from proxy.core.errors import Conflict

TAG = "Administrators"
Role = Literal["read", "operate", "finance"]


class AdministratorView(msgspec.Struct, kw_only=True):
    """An administrator without the credential: `prefix` is what its owner knows it by."""

    id: str
    name: str
    roles: list[str]
    prefix: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None


class NewAdministratorView(AdministratorView, kw_only=True):
    """An administrator who was just made. `credential` is shown this once; null where the request is a repeat."""

    credential: str | None


class AdministratorPage(msgspec.Struct, kw_only=True):
    """Administrators by id, and the cursor of the next page."""

    items: list[AdministratorView]
    next_cursor: str | None


class AdministratorQuery(PageQuery, kw_only=True, forbid_unknown_fields=True):
    """No filters."""


class NewAdministratorBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An administrator to be made; a name is never given twice."""

    name: Name
    roles: Annotated[list[Role], Meta(min_length=1, max_length=3)]
    expires_at: Instant | None = None


class WhoAmI(msgspec.Struct, kw_only=True):
    """Whose credential this is, and what it may do."""

    id: str
    name: str
    roles: list[str]
    expires_at: int | None


class LogRow(msgspec.Struct, kw_only=True):
    """One change: who did what to what, and how it was before and is after (objects that depend on the action; never a secret)."""

    id: str
    at: int
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class LogPage(msgspec.Struct, kw_only=True):
    """Changes, newest first, and the cursor of the next page."""

    items: list[LogRow]
    next_cursor: str | None


class LogQuery(PageQuery, kw_only=True, forbid_unknown_fields=True):
    """Which changes: from `from_at` (included) to `to_at` (not)."""

    actor: Annotated[str, Meta(max_length=250)] | None = None
    action: Annotated[str, Meta(max_length=100)] | None = None
    subject: Annotated[str, Meta(max_length=250)] | None = None
    from_at: Instant = 0
    to_at: Instant | None = None


async def who_am_i(call: Call) -> WhoAmI:
    """The one who asks."""
    asking = call.administrator
    return WhoAmI(id=asking.id, name=asking.name, roles=list(asking.roles), expires_at=asking.expires_at)


async def list_administrators(call: Call) -> AdministratorPage:
    """A page of administrators."""
    query: AdministratorQuery = call.query
    last = call.after()
    found = await call.office.administrators.page(limit=query.limit + 1, after_id="" if last is None else str(last[0]))
    page, next_cursor = call.page(found, lambda one: [one.id])
    return AdministratorPage(items=[shown(one) for one in page], next_cursor=next_cursor)


async def create_administrator(call: Call) -> NewAdministratorView:
    """The new administrator, with the credential."""
    new: NewAdministratorBody = call.body
    administrators = call.office.administrators
    credential: str | None = None
    try:
        made = await administrators.create(
            new.name, new.roles, actor=call.actor, expires_at=new.expires_at, new=call.resource_id
        )
        administrator, credential = made.administrator, made.credential
    except Conflict:
        row = await call.office.database.fetch_one("administrator_by_id", id=call.resource_id)
        if row is None:
            raise
        administrator = await administrators.get(call.resource_id)  # the same request came before
    return NewAdministratorView(**members(shown(administrator)), credential=credential)


async def revoke_administrator(call: Call) -> AdministratorView:
    """The administrator, whose credential is no longer good."""
    return shown(await call.office.administrators.revoke(call.parts["administrator"], actor=call.actor))


async def list_changes(call: Call) -> LogPage:
    """A page of the log."""
    query: LogQuery = call.query
    last = call.after()
    wanted = LogFilter(
        query.from_at, FOREVER_MS if query.to_at is None else query.to_at, query.actor, query.action, query.subject
    )
    before_id = FIRST if last is None else str(last[0])
    found = await read_log(call.office.database, wanted, limit=query.limit + 1, before_id=before_id)
    page, next_cursor = call.page(found, lambda one: [one.id])
    rows = [
        LogRow(
            id=one.id,
            at=one.at,
            actor=one.actor,
            action=one.action,
            subject=one.subject,
            before=None if one.before is None else dict(one.before),
            after=None if one.after is None else dict(one.after),
        )
        for one in page
    ]
    return LogPage(items=rows, next_cursor=next_cursor)


def shown(one: Administrator) -> AdministratorView:
    """An administrator as the API shows them."""
    return AdministratorView(
        id=one.id,
        name=one.name,
        roles=list(one.roles),
        prefix=one.prefix,
        created_at=one.created_at,
        expires_at=one.expires_at,
        revoked_at=one.revoked_at,
    )


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/whoami",
        right=READ,
        handler=who_am_i,
        summary="Whose credential this is.",
        tag=TAG,
        answer=WhoAmI,
    ),
    Endpoint(
        method="GET",
        path="/administrators",
        right=READ,
        handler=list_administrators,
        summary="Administrators, revoked ones too.",
        tag=TAG,
        query=AdministratorQuery,
        answer=AdministratorPage,
        refusals=((400, "invalid_cursor"),),
    ),
    Endpoint(
        method="POST",
        path="/administrators",
        right=ROOT,
        handler=create_administrator,
        summary="Make an administrator and show the credential, for the only time.",
        tag=TAG,
        body=NewAdministratorBody,
        answer=NewAdministratorView,
        status=201,
        makes="adm",
        shown_once=("credential",),
        refusals=((409, "name_taken"),),
    ),
    Endpoint(
        method="POST",
        path="/administrators/{administrator}/revoke",
        right=ROOT,
        handler=revoke_administrator,
        summary="End an administrator's credential for ever.",
        tag=TAG,
        answer=AdministratorView,
        refusals=((404, "administrator_not_found"),),
    ),
    Endpoint(
        method="GET",
        path="/audit-log",
        right=READ,
        handler=list_changes,
        summary="Every change that somebody made, newest first.",
        tag=TAG,
        query=LogQuery,
        answer=LogPage,
        refusals=((400, "invalid_cursor"),),
    ),
)
