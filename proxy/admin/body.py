"""What an administrator sends, read strictly: a body that could be understood in two ways is refused.

JSON objects only, every member once and known (the message names one that is not), numbers as JSON has them, no NUL and no lone
surrogate in any text. A query is read likewise: every parameter once.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from proxy.admin.wording import in_plain_words
from proxy.core.errors import InvalidRequest

T = TypeVar("T")

MAX_BODY_BYTES = 256 * 1024
_WHOLE = re.compile(r"[0-9]{1,16}|-[1-9][0-9]{0,15}", re.ASCII)
_WORDS = frozenset({"true", "false"})


def read_json(body: bytes) -> dict[str, Any]:
    """The object of a body; an empty body is an empty object. Raises InvalidRequest."""
    if not body.strip():
        return {}
    try:
        found = json.loads(body.decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise InvalidRequest(f"The body is not JSON: {str(error)[:200]}", code="invalid_json") from error
    if not isinstance(found, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    check_texts(found)
    return found


def read_query(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The parameters of a query. Raises InvalidRequest."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidRequest(f"{name[:100]} is given twice", param=name[:100])
        found[name] = value
    check_texts(found)
    return found


def shaped(value: Mapping[str, Any], shape: type[T], *, strict: bool = True) -> T:
    """The value as a `shape`. Raises InvalidRequest whose `param` is the member's path. Not strict: numbers may be text."""
    try:
        return msgspec.convert(value, shape, strict=strict)
    except msgspec.ValidationError as error:
        message, param = in_plain_words(str(error), shape)
        raise InvalidRequest(message, param=param) from error


def shaped_query(given: Mapping[str, str], shape: type[T]) -> T:
    """A query as a `shape`: whole numbers in digits alone, true or false in words. Raises InvalidRequest."""
    found = shaped(given, shape, strict=False)
    for name, text in given.items():
        value = getattr(found, name)
        if (type(value) is int and not _WHOLE.fullmatch(text)) or (type(value) is bool and text not in _WORDS):
            raise InvalidRequest(f"{name} is a whole number in digits, or true or false", param=name)
        if value is None:
            raise InvalidRequest(f"{name} cannot be null; leave it out", param=name)
    return found


def check_texts(value: object) -> None:
    """Raises InvalidRequest for NUL or a lone surrogate in any text, however deep."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if "\0" in one or (not one.isascii() and any("\ud800" <= sign <= "\udfff" for sign in one)):
                raise InvalidRequest("A text has a character that cannot be stored (NUL, half of a surrogate pair).")
        elif isinstance(one, dict):
            waiting += one.keys()
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member is given twice")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number in JSON")
