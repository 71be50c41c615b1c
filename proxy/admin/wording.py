"""What msgspec says of a request that has another shape, in words for whoever wrote the request: JSON's types instead of Python's,
the names that are known where one is not, and what the API's description says of a member that is wrong.
"""

import re
from collections.abc import Iterator

from msgspec import inspect

_UNKNOWN = "Object contains unknown field "
_MISSING = "Object missing required field "
_MATCHING = " matching regex "
_TYPES = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
_QUOTED = re.compile(r"`([a-z |]+)`")
_EMPTY = " of length >= 1"
_ENUM = "Invalid enum value "
_PART = re.compile(r"[^.\[\]]+|\[[^\]]*\]")


def in_plain_words(message: str, shape: type) -> tuple[str, str | None]:
    """The message with the member's path in front, and that path (None: all of it)."""
    text, _, where = message.partition(" - at `")
    path = where.rstrip("`").removeprefix("$").removeprefix(".")
    for beginning in (_UNKNOWN, _MISSING):
        if text.startswith(beginning):
            member = ".".join(part for part in (path, text.removeprefix(beginning).strip("`")) if part)[:200]
            known = ", ".join(_names(_at(inspect.type_info(shape), path)))
            return (
                f"{member} is missing" if beginning == _MISSING else f"{member} is not known here; known: {known}"
            ), member
    said = _QUOTED.sub(_in_words, text[:1].lower() + text[1:]).replace("`", "")
    said, form, _ = said.partition(_MATCHING)
    if said.endswith(_EMPTY):
        said = said.removesuffix(_EMPTY) + ", not an empty one"
    if form:
        said = said.replace("expected a text", "expected a text of another form")
    if not path:
        return said, None
    if text.startswith(_ENUM):
        values = ", ".join(_values(_at(inspect.type_info(shape), path)))
        return f"{path[:200]}: {text.removeprefix(_ENUM)[:100]} is none of {values}", path[:200]
    about = _description(_at(inspect.type_info(shape), path))
    return f"{path[:200]}: {said}{f' ({about})' if about else ''}", path[:200]


def _in_words(found: re.Match[str]) -> str:
    words = [_TYPES.get(name, name) for name in found[1].split(" | ") if name != "null" or " | " not in found[1]]
    return " or ".join(words)


def _at(info: inspect.Type, path: str) -> inspect.Type | None:
    """The type of the member that the path leads to; None where it leads out of what is described."""
    found: inspect.Type | None = info
    for part in _PART.findall(path):
        found = None if found is None else next(_within(found, part), None)
    return found


def _within(info: inspect.Type, part: str) -> Iterator[inspect.Type]:
    for one in _alternatives(info):
        if isinstance(one, inspect.StructType):
            yield from (field.type for field in one.fields if field.encode_name == part)
        elif isinstance(one, inspect.ListType):
            yield one.item_type
        elif isinstance(one, inspect.DictType):
            yield one.value_type


def _alternatives(info: inspect.Type) -> Iterator[inspect.Type]:
    """The types that a value may have, without what is said of them."""
    if isinstance(info, inspect.Metadata):
        yield from _alternatives(info.type)
    elif isinstance(info, inspect.UnionType):
        for one in info.types:
            yield from _alternatives(one)
    else:
        yield info


def _names(info: inspect.Type | None) -> list[str]:
    alternatives = () if info is None else _alternatives(info)
    return [field.encode_name for one in alternatives if isinstance(one, inspect.StructType) for field in one.fields]


def _values(info: inspect.Type | None) -> list[str]:
    alternatives = () if info is None else _alternatives(info)
    return [str(value) for one in alternatives if isinstance(one, inspect.LiteralType) for value in one.values]


def _description(info: inspect.Type | None) -> str:
    """What the description says of a member, with its example."""
    for one in info.types if isinstance(info, inspect.UnionType) else (info,):
        if isinstance(one, inspect.Metadata):
            said = (one.extra_json_schema or {}).get("description", "").rstrip(".")
            examples = (one.extra_json_schema or {}).get("examples", ())
            return ", ".join([said] * bool(said) + [f'such as "{example}"' for example in examples[:1]])
    return ""
