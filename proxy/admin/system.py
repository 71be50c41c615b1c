"""/admin/v1/reload, maintenance, limits and audit: what concerns the whole installation."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta

from proxy.accounts.administrators import OPERATE, READ
from proxy.accounts.audit_log import Change, note
from proxy.accounts.maintenance import is_on, switch
from proxy.admin.call import Call, Endpoint
from proxy.admin.shapes import AccountCeilings, Ceilings, shown_account_limits, shown_limits, stored_limits
from proxy.records.audit import AuditReport

TAG = "System"
_ACCOUNT_NOT_FOUND = (404, "account_not_found")
_KEY_NOT_FOUND = (404, "key_not_found")


class Reloaded(msgspec.Struct, kw_only=True):
    """What the configuration has that every process now takes up: providers and prices of its own."""

    providers: int
    prices: int


class Maintenance(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Whether the query surfaces answer that they are being maintained. Calls go on."""

    on: bool


class Difference(msgspec.Struct, kw_only=True):
    """Something that the two stores do not agree on."""

    account_id: str
    kind: str
    detail: str
    microcredits: int


class AuditView(msgspec.Struct, kw_only=True):
    """What an audit compared and found. `ok`: every balance is the sum of its ledger entries."""

    ok: bool
    accounts: int
    entries: int
    calls: int
    open_holds: int
    posted_microcredits: int
    held_microcredits: int
    dead_events: int
    difference_count: int
    difference_microcredits: int
    differences: list[Difference]


class LastAudit(msgspec.Struct, kw_only=True):
    """The newest audit of everything; null before the first. `running`: another one is under way."""

    running: bool
    started_at: int | None
    finished_at: int | None
    report: AuditView | None


class AuditQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """With an account (id or name) only that one, at once."""

    account: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


async def reload(call: Call) -> Reloaded:
    """Every process of this host takes the configuration up."""
    await note(call.office.database, Change(call.actor, "system.reload", "configuration"), call.office.clock.now_ms())
    config = await call.office.settings.reload()
    return Reloaded(providers=len(config.providers), prices=len(config.prices))


async def read_maintenance(call: Call) -> Maintenance:
    """The switch."""
    return Maintenance(on=await is_on(call.office.database))


async def switch_maintenance(call: Call) -> Maintenance:
    """The switch as it is then."""
    wanted: Maintenance = call.body
    await switch(call.office.database, on=wanted.on, actor=call.actor, now_ms=call.office.clock.now_ms())
    return wanted


async def default_limits(call: Call) -> Ceilings:
    """The configuration's limits of keys that have none of their own."""
    limits = call.office.settings.config.limits
    given = {name: getattr(limits, name) for name in limits.__struct_fields__}
    return Ceilings(**{name: UNSET if value is None else value for name, value in given.items()})


async def account_limits(call: Call) -> AccountCeilings:
    """An account's limits."""
    return shown_account_limits((await call.directory.account(call.parts["account"])).limits)


async def set_account_limits(call: Call) -> AccountCeilings:
    """An account's limits as they are then."""
    account = await call.directory.account(call.parts["account"])
    limits = stored_limits(call.body)
    if "on_client_left" in account.limits:
        limits["on_client_left"] = account.limits["on_client_left"]
    return shown_account_limits((await call.directory.set_limits(account.id, limits)).limits)


async def key_limits(call: Call) -> Ceilings:
    """A key's limits."""
    return shown_limits((await call.directory.key(call.parts["key"])).limits)


async def set_key_limits(call: Call) -> Ceilings:
    """A key's limits as they are then."""
    return shown_limits((await call.directory.set_key_limits(call.parts["key"], stored_limits(call.body))).limits)


async def last_audit(call: Call) -> LastAudit:
    """The newest audit."""
    auditor = call.office.auditor
    last = auditor.last
    return LastAudit(
        running=auditor.running,
        started_at=None if last is None else last.started_at,
        finished_at=None if last is None else last.finished_at,
        report=None if last is None else _shown(last.report),
    )


async def run_audit(call: Call) -> LastAudit:
    """An audit of one account, finished; or of everything, begun."""
    query: AuditQuery = call.query
    if query.account is None:
        call.office.auditor.ask()
        return await last_audit(call)
    account = await call.directory.account(query.account)
    started_at = call.office.clock.now_ms()
    report = await call.office.auditor.account(account.id)
    return LastAudit(
        running=False, started_at=started_at, finished_at=call.office.clock.now_ms(), report=_shown(report)
    )


def _shown(report: AuditReport) -> AuditView:
    return AuditView(
        ok=report.holds,
        accounts=report.accounts,
        entries=report.entries,
        calls=report.calls,
        open_holds=report.open_holds,
        posted_microcredits=report.posted_microcredits,
        held_microcredits=report.held_microcredits,
        dead_events=report.dead_events,
        difference_count=report.difference_count,
        difference_microcredits=report.difference_microcredits,
        differences=[
            Difference(account_id=one.account_id, kind=one.kind, detail=one.detail, microcredits=one.microcredits)
            for one in report.differences
        ],
    )


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/reload",
        right=OPERATE,
        handler=reload,
        summary="Take prices, routes and limits up from the configuration, without dropping a call.",
        tag=TAG,
        answer=Reloaded,
        refusals=((400, "config_error"), (409, "not_supervised")),
    ),
    Endpoint(
        method="GET",
        path="/maintenance",
        right=READ,
        handler=read_maintenance,
        summary="Whether maintenance mode is on.",
        tag=TAG,
        answer=Maintenance,
    ),
    Endpoint(
        method="PUT",
        path="/maintenance",
        right=OPERATE,
        handler=switch_maintenance,
        summary="Switch maintenance mode.",
        tag=TAG,
        body=Maintenance,
        answer=Maintenance,
    ),
    Endpoint(
        method="GET",
        path="/limits",
        right=READ,
        handler=default_limits,
        summary="The limits of keys that have none of their own (the configuration's).",
        tag="Limits",
        answer=Ceilings,
    ),
    Endpoint(
        method="GET",
        path="/accounts/{account}/limits",
        right=READ,
        handler=account_limits,
        summary="An account's limits.",
        tag="Limits",
        answer=AccountCeilings,
        refusals=(_ACCOUNT_NOT_FOUND,),
    ),
    Endpoint(
        method="PUT",
        path="/accounts/{account}/limits",
        right=OPERATE,
        handler=set_account_limits,
        summary="Replace an account's limits; they hold from the next call on.",
        tag="Limits",
        body=AccountCeilings,
        answer=AccountCeilings,
        refusals=(_ACCOUNT_NOT_FOUND, (409, "account_closed")),
    ),
    Endpoint(
        method="GET",
        path="/keys/{key}/limits",
        right=READ,
        handler=key_limits,
        summary="An API key's limits.",
        tag="Limits",
        answer=Ceilings,
        refusals=(_KEY_NOT_FOUND,),
    ),
    Endpoint(
        method="PUT",
        path="/keys/{key}/limits",
        right=OPERATE,
        handler=set_key_limits,
        summary="Replace an API key's limits; they hold from the next call on.",
        tag="Limits",
        body=Ceilings,
        answer=Ceilings,
        refusals=(_KEY_NOT_FOUND, (409, "key_revoked")),
    ),
    Endpoint(
        method="GET",
        path="/audit",
        right=READ,
        handler=last_audit,
        summary="What the newest audit of everything found.",
        tag=TAG,
        answer=LastAudit,
    ),
    Endpoint(
        method="POST",
        path="/audit",
        right=OPERATE,
        handler=run_audit,
        summary="Audit one account and answer with the report, or begin an audit of everything.",
        tag=TAG,
        query=AuditQuery,
        answer=LastAudit,
        refusals=(_ACCOUNT_NOT_FOUND,),
    ),
)
