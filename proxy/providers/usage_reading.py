"""Believing a provider's figures: how a raw `usage` becomes disjoint counters, or a reason why it cannot.

A figure is a whole number of tokens from 0 to `core.usage.MAX_COUNT`. Anything else (negative, fractional, a string, 5,000 digits,
a part larger than its whole) makes the whole report unbelievable, for no part of it can be trusted then.
"""

from typing import Annotated

import msgspec

from proxy.core.usage import MAX_COUNT, Usage

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)] | None
"""A reported figure; None where the provider did not report it."""

Reading = tuple[Usage | None, Usage | None, str | None]
"""(usage, partial, flag): the whole, or what is known of one side; and the reason why it cannot be charged as it stands.

A flag beside a usage says that the figures are believed but do not tell all that the provider bills.
"""

NOTHING = msgspec.Raw()
"""The default of a raw member that is absent."""


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises on foreign bytes; a ValidationError is a DecodeError."""


class Unbelievable(Exception):
    """The reported figures contradict themselves."""


def is_given(raw: msgspec.Raw) -> bool:
    """Whether a raw member is there and not null."""
    return raw is not NOTHING and bytes(raw) != b"null"


def part(total: int, *parts: int) -> int:
    """What is left of a total without its parts; raises Unbelievable when they exceed it."""
    left = total - sum(parts)
    if left < 0:
        raise Unbelievable("a part of the usage is larger than its total")
    return left
