"""/admin/v1/accounts/{account}/...: top-ups, adjustments and refunds, each carried out once under its idempotency key; the balance.

The key comes in the header Idempotency-Key or in the body. It belongs to the account: the same one with the same amount is answered
with the same ledger entry for ever, whoever asks, and with another one it is 409.
"""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from proxy.accounts.administrators import FINANCE, READ
from proxy.accounts.journal import ADJUSTMENT, TOPUP
from proxy.accounts.refunds import Refund
from proxy.accounts.topups import Credit
from proxy.admin.account_shapes import BalanceView
from proxy.admin.api import MAX_IDEMPOTENCY_KEY
from proxy.admin.call import Call, Endpoint
from proxy.admin.ledger_entries import EntryView, entry_view
from proxy.admin.search_shapes import Text
from proxy.admin.shapes import Amount, credits_of, microcredits_of
from proxy.core.errors import InvalidRequest
from proxy.core.outcomes import Balance

TAG = "Credits"
Key = Annotated[str, Meta(min_length=1, max_length=MAX_IDEMPOTENCY_KEY)]
Reason = Annotated[str, Meta(max_length=500, description="Kept with the ledger entry.")]
NeededReason = Annotated[str, Meta(min_length=1, max_length=500, description="Kept with the ledger entry.")]
ACCOUNT_NOT_FOUND = (404, "account_not_found")
REFUSALS = (ACCOUNT_NOT_FOUND, (403, "system_account"), (400, "idempotency_key_missing"))


class NewTopup(Amount, kw_only=True, forbid_unknown_fields=True):
    """Credits that were bought: above zero."""

    reason: Reason = ""
    idempotency_key: Key | None = None


class NewAdjustment(Amount, kw_only=True, forbid_unknown_fields=True):
    """A correction of either sign. `covered`: take only what is available, neither spent nor held, or nothing (402)."""

    reason: NeededReason
    covered: bool = False
    idempotency_key: Key | None = None


class NewRefund(Amount, kw_only=True, forbid_unknown_fields=True):
    """The return of what a call was charged: the amount, or without one all that is left of its charge."""

    call_id: Text
    reason: Reason = ""
    idempotency_key: Key | None = None


async def top_up(call: Call) -> EntryView:
    """The ledger entry of a top-up."""
    new: NewTopup = call.body
    return await _credit(call, positive(microcredits_of(new), new), TOPUP)


async def adjust(call: Call) -> EntryView:
    """The ledger entry of an adjustment."""
    new: NewAdjustment = call.body
    amount = microcredits_of(new)
    if amount == 0:
        raise InvalidRequest("an adjustment of nothing changes nothing", param=_unit_of(new))
    if new.covered and amount > 0:
        raise InvalidRequest("only what is taken can be covered", param="covered")
    return await _credit(call, amount, ADJUSTMENT, covered=new.covered)


async def _credit(call: Call, amount: int, kind: str, *, covered: bool = False) -> EntryView:
    key, account_id = key_of(call), await account_of(call)
    wanted = Credit(amount, key, kind, actor=call.actor, reason=call.body.reason, covered=covered)
    return entry_view(await call.office.desk.topups.top_up(account_id, wanted))


async def refund_call(call: Call) -> EntryView:
    """The ledger entry of a refund."""
    new: NewRefund = call.body
    whole = isinstance(new.amount_microcredits, UnsetType) and isinstance(new.credits, UnsetType)
    amount = None if whole else positive(microcredits_of(new), new)
    key, account_id = key_of(call), await account_of(call)
    wanted = Refund(new.call_id, key, amount, actor=call.actor, reason=new.reason)
    return entry_view(await call.office.desk.refunds.refund(account_id, wanted))


async def read_balance(call: Call) -> BalanceView:
    """The balance at this moment."""
    return balance_view(await call.office.ledger.balance(await account_of(call)))


def balance_view(found: Balance | None) -> BalanceView:
    """A balance as the API shows it; zero for an account that the ledger never met."""
    return BalanceView(
        posted_microcredits=found.posted_microcredits if found else 0,
        held_microcredits=found.held_microcredits if found else 0,
        available_microcredits=found.available_microcredits if found else 0,
        open_holds=found.open_holds if found else 0,
        credits=credits_of(found.posted_microcredits if found else 0),
    )


async def account_of(call: Call) -> str:
    """The id of the account that the path names. Raises NotFound."""
    return (await call.directory.account(call.parts["account"])).id


def key_of(call: Call) -> str:
    """The idempotency key of the request, from its header or its body. Raises InvalidRequest: none, or two that differ."""
    given = [key for key in (call.idempotency_key, call.body.idempotency_key) if key is not None]
    if not given:
        message = "What changes a balance needs an idempotency key: send the header Idempotency-Key, new for every change and the same when it is repeated."
        raise InvalidRequest(message, code="idempotency_key_missing", param="Idempotency-Key")
    if len(set(given)) > 1:
        raise InvalidRequest("the header Idempotency-Key and the body have different keys", param="idempotency_key")
    return str(given[0])


def positive(amount: int, given: Amount) -> int:
    """The amount. Raises InvalidRequest for zero and less."""
    if amount <= 0:
        raise InvalidRequest("the amount must be above zero; an adjustment takes credits away", param=_unit_of(given))
    return amount


def _unit_of(given: Amount) -> str:
    return "credits" if given.amount_microcredits is UNSET else "amount_microcredits"


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/accounts/{account}/balance",
        right=READ,
        handler=read_balance,
        summary="What an account has, what its open calls hold of it, and what is available, at this moment.",
        tag=TAG,
        answer=BalanceView,
        refusals=(ACCOUNT_NOT_FOUND,),
    ),
    Endpoint(
        method="POST",
        path="/accounts/{account}/topups",
        right=FINANCE,
        handler=top_up,
        summary="Add credits that were bought, once.",
        tag=TAG,
        body=NewTopup,
        answer=EntryView,
        status=201,
        takes_idempotency_key=True,
        refusals=(*REFUSALS, (409, "account_closed")),
    ),
    Endpoint(
        method="POST",
        path="/accounts/{account}/adjustments",
        right=FINANCE,
        handler=adjust,
        summary="Correct a balance up or down, once.",
        tag=TAG,
        body=NewAdjustment,
        answer=EntryView,
        status=201,
        takes_idempotency_key=True,
        refusals=(*REFUSALS, (402, "insufficient_credits")),
    ),
    Endpoint(
        method="POST",
        path="/accounts/{account}/refunds",
        right=FINANCE,
        handler=refund_call,
        summary="Return what a call was charged, in whole or in part, never more than its charge in all.",
        tag=TAG,
        body=NewRefund,
        answer=EntryView,
        status=201,
        takes_idempotency_key=True,
        refusals=(*REFUSALS, (404, "call_not_found"), (409, "call_open"), (409, "refund_exceeds_charge")),
    ),
)
