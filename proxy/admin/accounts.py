"""/admin/v1/accounts: made, read, searched, changed, suspended, resumed, closed."""

from msgspec import UNSET, UnsetType

from proxy.accounts.administrators import FINANCE, OPERATE, READ
from proxy.accounts.closing import close as close_for_ever
from proxy.accounts.directory import Account, AccountSearch
from proxy.accounts.topups import Credit
from proxy.admin.account_shapes import (
    AccountChange,
    AccountPage,
    AccountQuery,
    AccountView,
    AccountWithBalance,
    BalanceView,
    Closing,
    NewAccount,
    low_balance,
    markup_ppm,
    shown,
)
from proxy.admin.call import Call, Endpoint
from proxy.admin.shapes import credits_of, members, microcredits_of, stored_limits
from proxy.core.errors import Conflict, InvalidRequest, Unavailable

TAG = "Accounts"
_NOT_FOUND = (404, "account_not_found")
_NAME_TAKEN = (409, "name_taken")
_CLOSED = (409, "account_closed")


async def list_accounts(call: Call) -> AccountPage:
    """A page of accounts."""
    query: AccountQuery = call.query
    last = call.after()
    after = None if last is None else await call.directory.account(str(last[-1]))
    found = await call.directory.search(
        AccountSearch(query.q, query.status, query.sort), limit=query.limit + 1, after=after
    )
    page, next_cursor = call.page(found, lambda account: [account.id])
    return AccountPage(items=[shown(account) for account in page], next_cursor=next_cursor)


async def create_account(call: Call) -> AccountView:
    """A new account, with its first top-up."""
    new: NewAccount = call.body
    amount = None
    if new.amount_microcredits is not UNSET or new.credits is not UNSET:
        amount = microcredits_of(new)
        if amount <= 0:
            raise InvalidRequest("an account begins with credits above zero, or without an amount", param="credits")
    if amount is not None or new.markup is not None:
        call.administrator.require(FINANCE)
    limits = {} if isinstance(new.limits, UnsetType) else stored_limits(new.limits)
    if new.on_client_left is not None:
        limits["on_client_left"] = new.on_client_left
    try:
        made = await call.directory.create_account(
            new.name, limits=limits, markup_ppm=markup_ppm(new.markup), metadata=new.metadata, new=call.resource_id
        )
    except Conflict as error:
        if error.code != "id_taken":
            raise
        made = await call.directory.account(call.resource_id)  # the same request came before
    if amount is not None:
        first = Credit(amount, f"first-{made.id}", actor=call.actor, reason="created with the account")
        await call.office.desk.topups.top_up(made.id, first)
    return shown(made)


async def read_account(call: Call) -> AccountWithBalance:
    """One account with its balance."""
    account = await call.directory.account(call.parts["account"])
    try:
        found = await call.office.ledger.balance(account.id)
    except Unavailable:
        balance = None
    else:
        balance = BalanceView(
            posted_microcredits=found.posted_microcredits if found else 0,
            held_microcredits=found.held_microcredits if found else 0,
            available_microcredits=found.available_microcredits if found else 0,
            open_holds=found.open_holds if found else 0,
            credits=credits_of(found.posted_microcredits if found else 0),
        )
    return AccountWithBalance(**members(shown(account)), balance=balance)


async def change_account(call: Call) -> AccountView:
    """The account as it is then."""
    change: AccountChange = call.body
    if change.markup is not UNSET:
        call.administrator.require(FINANCE)

    def changes(account: Account) -> dict[str, object]:
        found = {name: value for name in ("name", "metadata") if (value := getattr(change, name)) is not UNSET}
        if change.markup is not UNSET:
            found["markup_ppm"] = markup_ppm(change.markup)
        if (threshold := low_balance(change)) is not UNSET:
            found["low_balance_microcredits"] = threshold
        if change.limits is not UNSET or change.on_client_left is not UNSET:
            found["limits"] = _limits(account, change)
        return found

    return shown(await call.directory.update_account(call.parts["account"], changes))


def _limits(account: Account, change: AccountChange) -> dict[str, object]:
    """Limits and what happens when clients leave are stored together, and changed one by one."""
    limits = dict(account.limits) if isinstance(change.limits, UnsetType) else stored_limits(change.limits)
    parting = account.limits.get("on_client_left") if change.on_client_left is UNSET else change.on_client_left
    limits.pop("on_client_left", None)
    return limits if parting is None else {**limits, "on_client_left": parting}


async def suspend_account(call: Call) -> AccountView:
    """The suspended account."""
    return shown(await call.directory.suspend(call.parts["account"]))


async def resume_account(call: Call) -> AccountView:
    """The account, active again."""
    return shown(await call.directory.resume(call.parts["account"]))


async def close_account(call: Call) -> AccountView:
    """The closed account."""
    closing: Closing = call.body
    if closing.forfeit:
        call.administrator.require(FINANCE)
    office = call.office
    closed = await close_for_ever(
        call.directory,
        office.desk.topups,
        office.ledger,
        call.parts["account"],
        actor=call.actor,
        forfeit=closing.forfeit,
    )
    return shown(closed)


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/accounts",
        right=READ,
        handler=list_accounts,
        summary="Accounts, searched by name, id and status.",
        tag=TAG,
        query=AccountQuery,
        answer=AccountPage,
        refusals=((400, "invalid_cursor"),),
    ),
    Endpoint(
        method="POST",
        path="/accounts",
        right=OPERATE,
        handler=create_account,
        summary="Make an account, with credits if an amount is given.",
        tag=TAG,
        body=NewAccount,
        answer=AccountView,
        status=201,
        makes="acct",
        refusals=(_NAME_TAKEN,),
    ),
    Endpoint(
        method="GET",
        path="/accounts/{account}",
        right=READ,
        handler=read_account,
        summary="One account, by id or name, with its balance.",
        tag=TAG,
        answer=AccountWithBalance,
        refusals=(_NOT_FOUND,),
    ),
    Endpoint(
        method="PATCH",
        path="/accounts/{account}",
        right=OPERATE,
        handler=change_account,
        summary="Change an account; it holds from the next call on.",
        tag=TAG,
        body=AccountChange,
        answer=AccountView,
        refusals=(_NOT_FOUND, _NAME_TAKEN, _CLOSED),
    ),
    Endpoint(
        method="POST",
        path="/accounts/{account}/suspend",
        right=OPERATE,
        handler=suspend_account,
        summary="Refuse every key of the account from now on; calls that run end as they would.",
        tag=TAG,
        answer=AccountView,
        refusals=(_NOT_FOUND, _CLOSED),
    ),
    Endpoint(
        method="POST",
        path="/accounts/{account}/resume",
        right=OPERATE,
        handler=resume_account,
        summary="End a suspension.",
        tag=TAG,
        answer=AccountView,
        refusals=(_NOT_FOUND, _CLOSED),
    ),
    Endpoint(
        method="POST",
        path="/accounts/{account}/close",
        right=OPERATE,
        handler=close_account,
        summary="Close an account for ever: its keys end. Its balance must be zero, or be forfeit (role finance).",
        tag=TAG,
        body=Closing,
        answer=AccountView,
        refusals=(_NOT_FOUND, (409, "calls_in_progress"), (409, "balance_not_zero")),
    ),
)
