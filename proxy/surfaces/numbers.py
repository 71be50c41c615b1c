"""Amounts and instants as JSON shows them: exact texts made from integers, never by way of a float.

A `msgspec.Raw` goes into an answer as it is, so that an amount is a JSON number with every digit that it has.
"""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from msgspec import Raw

from proxy.core.clock import MAX_INSTANT_MS
from proxy.core.money import MICROCREDITS_PER_CREDIT, NANO_USD_PER_USD, format_credits

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANO_DIGITS = 9
# The namespace of ids that a vendor wants as UUIDs and that have another form here (RFC 9562, version 5).
_NAMESPACE = uuid.UUID("6f1d0c0e-5a8b-5b0e-9c41-6d1f0c2b7a55")


def credits_number(microcredits: int) -> Raw:
    """Microcredits as a JSON number of credits, exact: 12500000 -> 12.5."""
    return Raw(format_credits(microcredits).encode())


def whole_credits(microcredits: int) -> int:
    """Whole credits where a vendor's field is an integer: floored, so that no credit is shown that is not there."""
    return microcredits // MICROCREDITS_PER_CREDIT


def usd_text(nano_usd: int) -> str:
    """Nano-USD as an exact decimal of dollars without trailing zeros: 42500000 -> "0.0425"."""
    whole, fraction = divmod(abs(nano_usd), NANO_USD_PER_USD)
    sign = "-" if nano_usd < 0 else ""
    return f"{sign}{whole}.{fraction:0{_NANO_DIGITS}d}".rstrip("0").rstrip(".")


def usd_number(nano_usd: int) -> Raw:
    """Nano-USD as a JSON number of dollars, exact."""
    return Raw(usd_text(nano_usd).encode())


def decimal_number(value: Decimal) -> Raw:
    """A decimal as a JSON number without an exponent, exact and without trailing zeros."""
    text = f"{value:f}"
    return Raw((text.rstrip("0").rstrip(".") if "." in text else text).encode())


def usd_nano_of_microcredits(microcredits: int, credits_per_usd: int) -> int:
    """What so many credits are in nano-USD, floored: a balance never shows money that is not there."""
    return microcredits * (NANO_USD_PER_USD // MICROCREDITS_PER_CREDIT) // credits_per_usd


def instant(at_ms: int) -> str:
    """Unix milliseconds as ISO 8601 in UTC with milliseconds: 2025-09-11T02:05:05.225Z; the end of the year 9999 where it is later."""
    at_ms = min(at_ms, MAX_INSTANT_MS)
    at = _EPOCH + timedelta(milliseconds=at_ms)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def as_uuid(identifier: str) -> str:
    """An id as a UUID: itself where it is one (32 hexadecimal digits, as trace ids are, get their dashes), else derived from it."""
    try:
        return str(uuid.UUID(identifier))
    except ValueError:
        return str(uuid.uuid5(_NAMESPACE, identifier))
