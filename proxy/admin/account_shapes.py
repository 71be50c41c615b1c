"""What comes in and goes out at /admin/v1/accounts."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from proxy.accounts.directory import Account
from proxy.admin.call import PageQuery
from proxy.admin.shapes import AccountCeilings, Amount, Decimal, Name, credits_of, shown_account_limits
from proxy.core.errors import InvalidRequest
from proxy.core.money import MAX_AMOUNT, parse_credits, parse_scaled
from proxy.core.pricing import MARKUP_ONE_PPM

Metadata = Annotated[dict[str, Annotated[str, Meta(max_length=500)]], Meta(max_length=50)]
Parting = Literal["cancel", "drain", "free"]


class AccountView(msgspec.Struct, kw_only=True):
    """An account. `markup` null: the configured one; `on_client_left` null: the provider's or the configured one; `low_balance_...` null:
    nobody is told when the balance is low.
    """

    id: str
    name: str
    status: Literal["active", "suspended", "closed"]
    limits: AccountCeilings
    markup: str | None
    on_client_left: Parting | None
    metadata: dict[str, str]
    low_balance_microcredits: int | None
    low_balance_credits: str | None
    created_at: int
    closed_at: int | None


class BalanceView(msgspec.Struct, kw_only=True):
    """What an account has (posted), what its open calls hold of it, and what a new call can hold. `credits` is posted, in credits."""

    posted_microcredits: int
    held_microcredits: int
    available_microcredits: int
    open_holds: int
    credits: str


class AccountWithBalance(AccountView, kw_only=True):
    """An account with its balance, null while Redis is away."""

    balance: BalanceView | None


class AccountPage(msgspec.Struct, kw_only=True):
    """Accounts, and the cursor of the next page."""

    items: list[AccountView]
    next_cursor: str | None


class AccountQuery(PageQuery, kw_only=True, forbid_unknown_fields=True):
    """Which accounts: `q` is part of the name (in any case) or the beginning of the id, taken literally."""

    q: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    status: Literal["active", "suspended", "closed"] | None = None
    sort: Literal["-created_at", "created_at", "name", "-name"] = "-created_at"


class NewAccount(Amount, kw_only=True, forbid_unknown_fields=True):
    """An account to be made. With an amount it begins with a top-up, which needs the role finance too, as does `markup`."""

    name: Name
    limits: AccountCeilings | UnsetType = UNSET
    markup: Decimal | None = None
    on_client_left: Parting | None = None
    metadata: Metadata = msgspec.field(default_factory=dict)


class AccountChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed; `limits` and `metadata` replace what is there. `markup` needs the role finance. A balance that falls to
    `low_balance_microcredits` (or `low_balance_credits`; null: never) is told to the configured webhooks, once until it was above it.
    """

    name: Name | UnsetType = UNSET
    limits: AccountCeilings | UnsetType = UNSET
    markup: Decimal | UnsetType | None = UNSET
    on_client_left: Parting | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET
    low_balance_microcredits: Annotated[int, Meta(ge=0, le=MAX_AMOUNT)] | UnsetType | None = UNSET
    low_balance_credits: Decimal | UnsetType | None = UNSET


class Closing(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How to close: `forfeit` takes what is left of the balance (and writes off what it is below zero)."""

    forfeit: bool = False


def markup_ppm(markup: str | None) -> int | None:
    """A markup as people write it ("1.2") in parts per million (1,200,000). Raises InvalidRequest."""
    if markup is None:
        return None
    try:
        return parse_scaled(markup, MARKUP_ONE_PPM)
    except ValueError as error:
        raise InvalidRequest(f"markup: {error}", param="markup") from error


def low_balance(change: AccountChange) -> int | UnsetType | None:
    """The threshold in microcredits, in whichever unit it was given; UNSET where in none. Raises InvalidRequest."""
    if change.low_balance_credits is UNSET:
        return change.low_balance_microcredits
    if change.low_balance_microcredits is not UNSET:
        raise InvalidRequest(
            "give the low balance either as low_balance_microcredits or as low_balance_credits",
            param="low_balance_microcredits",
        )
    if not isinstance(change.low_balance_credits, str):
        return None
    try:
        return parse_credits(change.low_balance_credits)
    except ValueError as error:
        raise InvalidRequest(str(error), param="low_balance_credits") from error


def shown(account: Account) -> AccountView:
    """An account as the API shows it."""
    parting = account.limits.get("on_client_left")
    return AccountView(
        id=account.id,
        name=account.name,
        status=msgspec.convert(account.status, Literal["active", "suspended", "closed"]),
        limits=shown_account_limits(account.limits),
        markup=None
        if account.markup_ppm is None
        else credits_of(account.markup_ppm),  # a millionth is a microcredit's share
        on_client_left=msgspec.convert(parting, Parting | None),
        metadata=dict(account.metadata),
        low_balance_microcredits=account.low_balance_microcredits,
        low_balance_credits=None
        if account.low_balance_microcredits is None
        else credits_of(account.low_balance_microcredits),
        created_at=account.created_at,
        closed_at=account.closed_at,
    )
