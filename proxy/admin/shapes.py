"""Shapes that several resources share. Amounts are microcredits (`..._microcredits`, integers) beside exact decimals of credits in strings;
instants are Unix milliseconds (`..._at`).
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from proxy.core.clock import MAX_INSTANT_MS
from proxy.core.errors import InvalidRequest
from proxy.core.money import MAX_AMOUNT, format_credits, parse_credits

Instant = Annotated[int, Meta(ge=0, le=MAX_INSTANT_MS, description="Unix milliseconds.")]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Decimal = Annotated[
    str,
    Meta(
        pattern=r"^[+-]?[0-9]{1,16}(\.[0-9]{1,12})?$", max_length=30, description="An exact decimal.", examples=["12.5"]
    ),
]
Speed = Annotated[int, Meta(ge=1, le=10_000_000_000)]


class Amount(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An amount in one of two units: whole microcredits, or credits as a decimal in a string. Exactly one is given."""

    amount_microcredits: Annotated[int, Meta(ge=-MAX_AMOUNT, le=MAX_AMOUNT)] | UnsetType = UNSET
    credits: Decimal | UnsetType = UNSET


def microcredits_of(amount: Amount) -> int:
    """The amount in microcredits. Raises InvalidRequest where none is given, or two are, or more than can be stored."""
    if (amount.amount_microcredits is UNSET) == (amount.credits is UNSET):
        raise InvalidRequest("give the amount either as amount_microcredits or as credits", param="amount_microcredits")
    if not isinstance(amount.amount_microcredits, UnsetType):
        return amount.amount_microcredits
    assert isinstance(amount.credits, str)
    try:
        return parse_credits(amount.credits)
    except ValueError as error:
        raise InvalidRequest(str(error), param="credits") from error


def credits_of(microcredits: int) -> str:
    """The exact decimal of credits beside an amount."""
    return format_credits(microcredits)


class Ceilings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Limits of a key, an account or a model; what is absent is not limited. Budgets are credits as decimals in strings."""

    requests_per_minute: Speed | UnsetType = UNSET
    tokens_per_minute: Speed | UnsetType = UNSET
    concurrent: Speed | UnsetType = UNSET
    budget_day: Decimal | UnsetType = UNSET
    budget_week: Decimal | UnsetType = UNSET
    budget_month: Decimal | UnsetType = UNSET
    budget_total: Decimal | UnsetType = UNSET


class AccountCeilings(Ceilings, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Limits of an account; those under `models` hold for single models, for all keys of the account together."""

    models: Annotated[dict[str, Ceilings], Meta(max_length=200)] | UnsetType = UNSET


def stored_limits(ceilings: Ceilings) -> dict[str, object]:
    """Limits as `proxy.accounts.limits` wants them."""
    found: dict[str, object] = msgspec.to_builtins(ceilings)
    return found


def shown_limits(limits: Mapping[str, object]) -> Ceilings:
    """Limits of a key as the API shows them."""
    return msgspec.convert(dict(limits), Ceilings)


def shown_account_limits(limits: Mapping[str, object]) -> AccountCeilings:
    """Limits of an account as the API shows them; what happens when clients leave is shown beside them."""
    return msgspec.convert({name: value for name, value in limits.items() if name != "on_client_left"}, AccountCeilings)


def members(view: msgspec.Struct) -> dict[str, Any]:
    """The members of a view, for one that has them and more."""
    return {name: getattr(view, name) for name in view.__struct_fields__}
