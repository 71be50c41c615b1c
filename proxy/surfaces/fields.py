"""Members of a request as their vendors mean them: bounded, typed, exact. What does not fit is None or raises InvalidRequest.

Bodies are decoded with `Decimal` for every number that is no integer, so that an amount is what its sender wrote.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.core.money import MAX_AMOUNT, MICROCREDITS_PER_CREDIT

MAX_ID = 200  # characters of an id or name that a caller gives
MAX_JSON_BYTES = 16_384  # of metadata that is kept
_LARGEST = 2**62

_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def read_object(raw: bytes) -> dict[str, Any]:
    """A body that must be one JSON object; an empty body is an empty one. Raises InvalidRequest (`invalid_json`)."""
    if not raw.strip():
        return {}
    try:
        return _decode(bytes(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError) as error:
        raise InvalidRequest("The request body must be a JSON object.", code="invalid_json") from error


def write_object(members: Mapping[str, Any]) -> str:
    """The JSON text of an object that `read_object` read, its numbers as they were."""
    return _encode(members).decode()


def as_integer(value: object) -> int | None:
    """A JSON number without a fraction (1.0 is one), None for anything else."""
    if type(value) is int:
        return value if abs(value) < _LARGEST else None
    if (
        isinstance(value, Decimal)
        and value.is_finite()
        and abs(value) < _LARGEST
        and value == value.to_integral_value()
    ):
        return int(value)
    return None


def integer_text(text: str | None) -> int | None:
    """Decimal digits of a query, with a sign or without; None for anything else."""
    if text is None or len(text) > len(str(_LARGEST)) or not text.removeprefix("-").isascii():
        return None
    return int(text) if text.removeprefix("-").isdecimal() else None


def identifier(members: Mapping[str, Any], name: str) -> str | None:
    """An id of the caller's: 1 to 200 printable characters; None where it is absent or null. Raises InvalidRequest."""
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_ID or not value.isprintable():
        raise InvalidRequest(f"{name} must be a string of 1 to {MAX_ID} printable characters", param=name)
    return value


def line(members: Mapping[str, Any], name: str, most: int) -> str:
    """A line of text of at most `most` characters; empty where absent. Raises InvalidRequest."""
    value = members.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most or not (value.isprintable() or not value):
        raise InvalidRequest(f"{name} must be at most {most} printable characters", param=name)
    return value


def count(members: Mapping[str, Any], name: str, *, most: int, default: int | None = None) -> int:
    """A whole number from 0 to `most`. Raises InvalidRequest, also where it is absent without a default."""
    value = members.get(name)
    if value is None and default is not None:
        return default
    number = as_integer(value)
    if number is None or not 0 <= number <= most:
        raise InvalidRequest(f"{name} must be a whole number from 0 to {most}", param=name)
    return number


def microcredits(members: Mapping[str, Any], name: str, *, lowest: int = 1) -> int:
    """Credits (a JSON number, or a decimal in a string) in microcredits, exact, at least `lowest`. Raises InvalidRequest."""
    value = members.get(name)
    number = _decimal(value)
    scaled = None if number is None else number * MICROCREDITS_PER_CREDIT
    if scaled is None or scaled != scaled.to_integral_value() or not lowest <= scaled <= MAX_AMOUNT:
        least = "above zero" if lowest else "at least zero"
        raise InvalidRequest(f"{name} must be a number of credits {least}, with at most six decimals", param=name)
    return int(scaled)


def json_text(members: Mapping[str, Any], name: str) -> str | None:
    """A member that must be a JSON object, as the text that is kept; None where absent or null. Raises InvalidRequest."""
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name} must be an object", param=name)
    text = write_object(value)
    if len(text) > MAX_JSON_BYTES or "\\u0000" in text:
        raise InvalidRequest(f"{name} must be at most {MAX_JSON_BYTES} bytes of JSON without NUL", param=name)
    return text


def date_ms(text: str | None, name: str, *, end: bool = False) -> int | None:
    """An ISO 8601 date or instant in Unix milliseconds (UTC where it names no zone); None where absent.

    A date without a time is its first millisecond, with `end` its last. Raises InvalidRequest.
    """
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        at_ms = int(at.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{name} must be an ISO 8601 date or time", param=name) from error
    is_day = len(text) <= len("2024-01-15")
    return at_ms + 86_400_000 - 1 if end and is_day else at_ms


def _decimal(value: object) -> Decimal | None:
    if type(value) is int:
        return Decimal(value) if abs(value) < _LARGEST else None
    if isinstance(value, str):
        if not 1 <= len(value) <= 40 or not value.isascii() or not value.replace(".", "", 1).isdecimal():
            return None
        value = Decimal(value)
    if isinstance(value, Decimal) and value.is_finite() and -20 < value.adjusted() < 20:
        return value
    return None
