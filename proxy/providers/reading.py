"""Reading a request's JSON without decoding what is only passed on: the top level as raw members, and typed members.

What is refused here is what could be read in two ways: a provider that reads it another way than Farebox would be paid
for more than was held. All refusals are InvalidRequest with the member's name in `param`, and never quote a value.
"""

import json
import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from proxy.core.errors import InvalidRequest

# Above any model's limit; what is larger is a mistake or an attack, and would only be refused as unaffordable.
MAX_OUTPUT_LIMIT = 10_000_000
MAX_MODEL_CHARS = 256

# Up to here looking for each metered name in the whole body takes less than a microsecond in all.
SMALL_BODY_BYTES = 4096

T = TypeVar("T")

_decode_top = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_ESCAPED_ASCII = re.compile(rb"\\u00[4-7]")


def top_level(body: bytes, metered: Iterable[str]) -> dict[str, msgspec.Raw]:
    """The members of a JSON object, undecoded; raises InvalidRequest for what is not clean JSON or is ambiguous."""
    _require_text(body)
    try:
        members = _decode_top(body)
    except RecursionError:
        raise InvalidRequest("The request body is nested too deeply.") from None
    except msgspec.ValidationError:
        raise InvalidRequest("The request body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidRequest("The request body is not valid JSON.") from None
    if b"\\u" in body:
        _require_clean_escapes(body)
    _require_unambiguous(body, members, frozenset(metered))
    return members


def decode(raw: msgspec.Raw, kind: type[T], param: str, message: str) -> T:
    """One member as `kind`; raises InvalidRequest with `message`."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest(message, param=param) from None


def read_model(members: dict[str, msgspec.Raw]) -> str:
    """The model's name: 1 to 256 printable characters."""
    raw = members.get("model")
    if raw is None:
        raise InvalidRequest("The member `model` is required.", param="model")
    model = decode(raw, str, "model", "`model` must be a string.")
    if not model or len(model) > MAX_MODEL_CHARS or not model.isprintable():
        raise InvalidRequest(f"`model` must be 1 to {MAX_MODEL_CHARS} printable characters.", param="model")
    return model


def read_switch(members: dict[str, msgspec.Raw], name: str) -> bool:
    """A boolean member; absent and null are false."""
    raw = members.get(name)
    if raw is None:
        return False
    return decode(raw, bool | None, name, f"`{name}` must be true or false.") or False  # type: ignore[arg-type]


def read_count(members: dict[str, msgspec.Raw], name: str, least: int, most: int) -> int | None:
    """An integer member within bounds; None where it is absent or null."""
    raw = members.get(name)
    if raw is None:
        return None
    message = f"`{name}` must be an integer from {least} to {most}."
    value: int | None = decode(raw, int | None, name, message)  # type: ignore[arg-type]
    if value is not None and not least <= value <= most:
        raise InvalidRequest(message, param=name)
    return value


def is_array(raw: msgspec.Raw) -> bool:
    """Whether a member is a JSON array."""
    return bytes(memoryview(raw)[:1]) == b"["


def _require_text(body: bytes) -> None:
    if b"\0" in body:
        raise InvalidRequest("The request body contains a NUL byte.")
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            raise InvalidRequest("The request body is not valid UTF-8.") from None


def _require_clean_escapes(body: bytes) -> None:
    """No NUL and no half surrogate pair anywhere: stores and providers refuse them or read them differently."""
    if _NUL.search(body):
        raise InvalidRequest("The request body contains an escaped NUL character.")
    if _SURROGATE.search(body):
        try:
            msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidRequest("The request body contains a lone surrogate.") from None


def _require_unambiguous(body: bytes, members: dict[str, msgspec.Raw], metered: frozenset[str]) -> None:
    """Every metered member is spelled plainly, and once. Some providers ignore case; the last or the first of two may win."""
    for name in members.keys() - metered:
        if name.casefold() in metered:
            raise InvalidRequest(f"Spell this member `{name.casefold()}`.", param=name[:64])
    if len(body) > SMALL_BODY_BYTES and _is_compact(body, members):
        return
    for name in metered & members.keys():
        quoted = b'"%b"' % name.encode()
        if (seen := body.count(quoted)) != 1:
            nested = sum(bytes(memoryview(raw)).count(quoted) for raw in members.values())
            if seen - nested != 1:
                raise InvalidRequest(f"`{name}` must be given once, without escapes.", param=name)
    if b"\\u00" in body and _ESCAPED_ASCII.search(body):
        _require_single(body, metered)


def _is_compact(body: bytes, members: dict[str, msgspec.Raw]) -> bool:
    """Whether the members as decoded account for every byte of a body without spaces: then nothing was given twice.

    Cheaper than looking for names in a long body; official SDKs write bodies so.
    """
    written = sum(len(name.encode()) + memoryview(raw).nbytes for name, raw in members.items())
    return len(body) == written + 4 * len(members) + 1  # two quotes, a colon, a comma each; two braces, one comma less


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
