"""Reading a request's JSON without decoding what is only passed on: the top level as raw members, and typed members.

What is refused here is what could be read in two ways: a provider that reads it another way than Farebox would be paid
for more than was held. All refusals are InvalidRequest with the member's name in `param`, and never quote a value.
"""

import contextlib
import json
import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.providers.shortening import shortened
from proxy.providers.usage_reading import UNREADABLE

# Above any model's limit; what is larger is a mistake or an attack, and would only be refused as unaffordable.
MAX_OUTPUT_LIMIT = 10_000_000
MAX_MODEL_CHARS = 256
MAX_OTHERS = 16
_LARGE_BYTES = 64 * 1024
# One byte is looked for by its number: looked for as bytes (`b"\\" in body`), Python first fails to read those as a number.
_NUL = 0x00
_BACKSLASH = 0x5C
_OPENING_BRACKET = 0x5B

T = TypeVar("T")

_STRING = msgspec.json.Decoder(str)
_SWITCH: msgspec.json.Decoder[bool | None] = msgspec.json.Decoder(bool | None)
_INTEGER: msgspec.json.Decoder[int | None] = msgspec.json.Decoder(int | None)
_decode_top = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_ESCAPED_ASCII = re.compile(rb"\\u00[4-7]")


def outline(body: bytes, metered: Iterable[str]) -> dict[str, msgspec.Raw]:
    """As `top_level`, but that long strings may be missing their insides: for shapes, names and small values only."""
    _require_text(body)
    short = body if len(body) < _LARGE_BYTES else shortened(body)
    if short is not body:
        with contextlib.suppress(InvalidRequest):  # the long run was not in a string, or the body is no JSON at all
            return _members(short, metered)
    return _members(body, metered)


def top_level(body: bytes, metered: Iterable[str]) -> dict[str, msgspec.Raw]:
    """The members of a JSON object, undecoded; raises InvalidRequest for what is not clean JSON or is ambiguous."""
    _require_text(body)
    return _members(body, metered)


def _members(body: bytes, metered: Iterable[str]) -> dict[str, msgspec.Raw]:
    try:
        members = _decode_top(body)
    except RecursionError:
        raise InvalidRequest("The request body is nested too deeply.") from None
    except msgspec.ValidationError:
        raise InvalidRequest("The request body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):  # lone surrogates too, also in members that are only skipped
        raise InvalidRequest("The request body is not valid JSON.") from None
    # One byte is looked for ten times faster than a word, and most large prompts have no escape at all.
    if _BACKSLASH in body and b"\\u0000" in body and _ESCAPED_NUL.search(body):
        raise InvalidRequest("The request body contains an escaped NUL character.")
    _require_unambiguous(body, members, frozenset(metered))
    return members


def decode(raw: msgspec.Raw, decoder: msgspec.json.Decoder[T], param: str, message: str) -> T:
    """One member, typed by the decoder; raises InvalidRequest with `message`."""
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        raise InvalidRequest(message, param=param) from None


def read_model(members: dict[str, msgspec.Raw]) -> str:
    """The model's name: 1 to 256 printable characters."""
    raw = members.get("model")
    if raw is None:
        raise InvalidRequest("The member `model` is required.", param="model")
    model = decode(raw, _STRING, "model", "`model` must be a string.")
    if not model or len(model) > MAX_MODEL_CHARS or not model.isprintable():
        raise InvalidRequest(f"`model` must be 1 to {MAX_MODEL_CHARS} printable characters.", param="model")
    return model


def checked_model(model: str, member: str = "model") -> str:
    """A model's name from elsewhere than the member `model`: 1 to 256 printable characters."""
    if not model or len(model) > MAX_MODEL_CHARS or not model.isprintable():
        raise InvalidRequest(f"`{member}` must be 1 to {MAX_MODEL_CHARS} printable characters.", param=member)
    return model


def other_models(names: Iterable[str], model: str, member: str) -> tuple[str, ...]:
    """The models beside the one that is asked for, each once; raises InvalidRequest for too many, or for no names."""
    others = {checked_model(name, member): None for name in names if name != model}
    if len(others) > MAX_OTHERS:
        raise InvalidRequest(f"`{member}` must name at most {MAX_OTHERS} models.", param=member)
    return tuple(others)


def with_model(body: bytes, model: str) -> bytes:
    """The body with another model's name, every other member as it was written; for a body that was read."""
    members = _decode_top(body)
    return msgspec.json.encode(members | {"model": model})


def read_switch(members: dict[str, msgspec.Raw], name: str) -> bool:
    """A boolean member; absent and null are false."""
    raw = members.get(name)
    if raw is None:
        return False
    return decode(raw, _SWITCH, name, f"`{name}` must be true or false.") or False


def read_count(members: dict[str, msgspec.Raw], name: str, least: int, most: int) -> int | None:
    """An integer member within bounds; None where it is absent or null."""
    raw = members.get(name)
    if raw is None:
        return None
    try:
        value = _INTEGER.decode(raw)
    except UNREADABLE:
        raise _no_count(name, least, most) from None
    if value is not None and not least <= value <= most:
        raise _no_count(name, least, most)
    return value


def _no_count(name: str, least: int, most: int) -> InvalidRequest:
    return InvalidRequest(f"`{name}` must be an integer from {least} to {most}.", param=name)


def is_array(raw: msgspec.Raw) -> bool:
    """Whether a member is a JSON array."""
    return memoryview(raw)[0] == _OPENING_BRACKET


def _require_text(body: bytes) -> None:
    if _NUL in body:
        raise InvalidRequest("The request body contains a NUL byte.")
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            raise InvalidRequest("The request body is not valid UTF-8.") from None


def _require_unambiguous(body: bytes, members: dict[str, msgspec.Raw], metered: frozenset[str]) -> None:
    """Every metered member is spelled plainly, and once. Some providers ignore case; the last or the first of two may win."""
    if not metered.issuperset(members):
        for name in members:
            if name not in metered and name.casefold() in metered:
                raise InvalidRequest(f"Spell this member `{name.casefold()}`.", param=name[:64])
    # Official SDKs write JSON without spaces: written anew, the members are the same bytes again, unless one was there twice.
    # Of a large body the length tells, without a copy: two quotes, a colon and a comma each, two braces, one comma less.
    if len(body) < _LARGE_BYTES:
        once = _encode(members) == body
    else:
        once = len(body) == sum(memoryview(raw).nbytes + len(name) + 4 for name, raw in members.items()) + 1
    if once:
        return
    for name in metered & members.keys():
        quoted = b'"%b"' % name.encode()
        if (seen := body.count(quoted)) != 1:
            nested = sum(bytes(raw).count(quoted) for raw in members.values())
            if seen - nested != 1:
                raise InvalidRequest(f"`{name}` must be given once, without escapes.", param=name)
    if b"\\u00" in body and _ESCAPED_ASCII.search(body):
        _require_single(body, metered)


def _require_single(body: bytes, metered: frozenset[str]) -> None:
    """The exact check, for bodies that could spell a member's name with escapes."""
    outermost: list[str] = []

    def remember(pairs: list[tuple[str, object]]) -> None:
        outermost[:] = [name for name, _ in pairs]  # the outermost object is finished last

    try:
        json.loads(body, object_pairs_hook=remember)
    except (ValueError, RecursionError):
        raise InvalidRequest("The request body is not valid JSON.") from None
    for name in metered:
        if outermost.count(name) > 1:
            raise InvalidRequest(f"`{name}` must be given once.", param=name)
