"""/admin/v1/codes and /admin/v1/accounts/{account}/redemptions: redemption codes; made in batches and shown once, listed, revoked;
and turned into credits of an account by whoever serves its owner.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from proxy.accounts.administrators import FINANCE, READ
from proxy.accounts.redemption import MAX_CODES, CodeOrder, RedemptionCode
from proxy.admin.call import Call, Endpoint, PageQuery
from proxy.admin.credit import ACCOUNT_NOT_FOUND, Reason, account_of, positive
from proxy.admin.grants import Priority
from proxy.admin.ledger_entries import EntryView, entry_view
from proxy.admin.search_shapes import Text
from proxy.admin.shapes import Amount, Instant, credits_of, members, microcredits_of
from proxy.core.errors import Conflict
from proxy.core.grants import DEFAULT_PRIORITY
from proxy.sql.database import RowRefused

TAG = "Redemption codes"
Status = Literal["active", "redeemed", "expired", "revoked"]
_NOT_FOUND = (404, "code_not_found")
_REDEEMED = (409, "code_redeemed")


class CodeView(msgspec.Struct, kw_only=True):
    """A code without the code: `prefix` is what its holder knows it by. `account_id` is who redeemed it."""

    id: str
    batch_id: str
    prefix: str
    status: Status
    kind: Literal["topup", "grant"]
    amount_microcredits: int
    credits: str
    priority: int
    expires_at: int | None
    grant_expires_at: int | None
    created_at: int
    actor: str
    reason: str
    account_id: str | None
    redeemed_at: int | None


class NewCodeView(CodeView, kw_only=True):
    """A code that was just made; `code` is shown this once."""

    code: str


class CodeBatch(msgspec.Struct, kw_only=True):
    """Codes that were made at once. `codes` is null where the request is a repeat under its Idempotency-Key."""

    id: str
    count: int
    codes: list[NewCodeView] | None


class CodePage(msgspec.Struct, kw_only=True):
    """Codes, newest first, and the cursor of the next page."""

    items: list[CodeView]
    next_cursor: str | None


class CodeQuery(PageQuery, kw_only=True, forbid_unknown_fields=True):
    """Which codes: of a batch, of a status, or all."""

    batch: Text | None = None
    status: Status | None = None


class NewCodes(Amount, kw_only=True, forbid_unknown_fields=True):
    """Codes of one amount each. As `kind` grant, or with `grant_expires_at`, they give credits that burn first."""

    count: Annotated[int, Meta(ge=1, le=MAX_CODES)]
    kind: Literal["topup", "grant"] = "topup"
    expires_at: Instant | None = None
    grant_expires_at: Instant | None = None
    priority: Priority = DEFAULT_PRIORITY
    reason: Reason = ""


class Redemption(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A code as its holder has it: case, spaces and dashes do not matter."""

    code: Annotated[str, Meta(min_length=1, max_length=200)]


async def create_codes(call: Call) -> CodeBatch:
    """The new codes."""
    new: NewCodes = call.body
    order = CodeOrder(
        count=new.count,
        amount_microcredits=positive(microcredits_of(new), new),
        expires_at=new.expires_at,
        grant_expires_at=new.grant_expires_at,
        as_grant=new.kind == "grant",
        priority=new.priority,
        actor=call.actor,
        reason=new.reason,
    )
    try:
        made = await call.office.desk.codes.create(order, call.resource_id)
    except RowRefused as error:
        if not await call.office.desk.codes.list(limit=1, batch_id=call.resource_id):
            raise
        raise Conflict("These codes were made, and can be shown no more.", code="codes_made_before") from error
    shown = [NewCodeView(**members(code_view(one.redemption_code)), code=one.code) for one in made]
    return CodeBatch(id=call.resource_id, count=len(shown), codes=shown)


async def list_codes(call: Call) -> CodePage:
    """A page of codes."""
    query: CodeQuery = call.query
    last = call.after()
    before = None if last is None else await call.office.desk.codes.code(str(last[0]))
    found = await call.office.desk.codes.list(
        limit=query.limit + 1, before=before, batch_id=query.batch, status=query.status
    )
    page, next_cursor = call.page(found, lambda code: [code.id])
    return CodePage(items=[code_view(code) for code in page], next_cursor=next_cursor)


async def read_code(call: Call) -> CodeView:
    """One code."""
    return code_view(await call.office.desk.codes.code(call.parts["code"]))


async def revoke_code(call: Call) -> CodeView:
    """The revoked code."""
    return code_view(await call.office.desk.codes.revoke(call.parts["code"], call.actor))


async def redeem_code(call: Call) -> EntryView:
    """The ledger entry that a code makes."""
    redemption: Redemption = call.body
    return entry_view(await call.office.desk.codes.redeem(await account_of(call), redemption.code, call.actor))


def code_view(code: RedemptionCode) -> CodeView:
    """A code as the API shows it."""
    return CodeView(
        id=code.id,
        batch_id=code.batch_id,
        prefix=code.prefix,
        status=msgspec.convert(code.status, Status),
        kind=msgspec.convert(code.kind, Literal["topup", "grant"]),
        amount_microcredits=code.amount_microcredits,
        credits=credits_of(code.amount_microcredits),
        priority=code.priority,
        expires_at=code.expires_at,
        grant_expires_at=code.grant_expires_at,
        created_at=code.created_at,
        actor=code.actor,
        reason=code.reason,
        account_id=code.account_id,
        redeemed_at=code.redeemed_at,
    )


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/codes",
        right=READ,
        handler=list_codes,
        summary="Redemption codes of a batch, a status, or all, newest first.",
        tag=TAG,
        query=CodeQuery,
        answer=CodePage,
        refusals=((400, "invalid_cursor"),),
    ),
    Endpoint(
        method="POST",
        path="/codes",
        right=FINANCE,
        handler=create_codes,
        summary="Make a batch of codes and show them, for the only time.",
        tag=TAG,
        body=NewCodes,
        answer=CodeBatch,
        status=201,
        makes="batch",
        shown_once=("codes",),
        refusals=((409, "codes_made_before"),),
    ),
    Endpoint(
        method="GET",
        path="/codes/{code}",
        right=READ,
        handler=read_code,
        summary="One code, by its id.",
        tag=TAG,
        answer=CodeView,
        refusals=(_NOT_FOUND,),
    ),
    Endpoint(
        method="POST",
        path="/codes/{code}/revoke",
        right=FINANCE,
        handler=revoke_code,
        summary="End a code that nobody has redeemed.",
        tag=TAG,
        answer=CodeView,
        refusals=(_NOT_FOUND, _REDEEMED),
    ),
    Endpoint(
        method="POST",
        path="/accounts/{account}/redemptions",
        right=FINANCE,
        handler=redeem_code,
        summary="Turn a code into credits of an account; the same account may repeat it, and is answered alike.",
        tag=TAG,
        body=Redemption,
        answer=EntryView,
        status=201,
        refusals=(
            ACCOUNT_NOT_FOUND,
            _NOT_FOUND,
            (403, "system_account"),
            (409, "account_closed"),
            _REDEEMED,
            (409, "code_expired"),
            (409, "code_revoked"),
        ),
    ),
)
