"""Lowering a request's token limit to what the balance affords (mode `strict`), or setting one where the caller gave none."""

from typing import Protocol, runtime_checkable

import msgspec

from proxy.providers.rows import Names

_decode_top = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@runtime_checkable
class Clamps(Protocol):
    """An operation whose requests can say how many tokens an answer may have at most."""

    def clamp(self, body: bytes, limit: int, names: Names) -> bytes:
        """The body with a limit of at most `limit` tokens a choice, every other member as it was written.

        `names` are those that the server obeys, where servers of one dialect know different ones (see `token_limits`).
        """


def with_limit(body: bytes, members: tuple[str, ...], preferred: str, limit: int) -> bytes:
    """The body, in which each of `members` that is there is at most `limit`, or `preferred` says so where none is.

    For a body that was read: what is there is a whole number (below zero: no limit) or null.
    """
    top = _decode_top(body)
    given = [name for name in members if name in top and bytes(top[name]) != b"null"]
    for name in given:
        top[name] = lowered(top[name], limit)
    if not given:
        top[preferred] = msgspec.Raw(b"%d" % limit)
    return msgspec.json.encode(top)


def lowered(asked: msgspec.Raw, limit: int) -> msgspec.Raw:
    """The smaller of a limit that is asked for and another; below zero asks for none."""
    tokens = msgspec.json.decode(asked, type=int)
    return msgspec.Raw(b"%d" % (min(limit, tokens) if tokens >= 0 else limit))


def with_limit_inside(body: bytes, parents: tuple[str, ...], members: tuple[str, ...], limit: int) -> bytes:
    """The same where the limit stands in an object of the body; the first names are those that are added.

    The names are spellings of one: what is there as null gets its value under the name that it has.
    """
    top = _decode_top(body)
    parent = _spelling(top, parents)
    inner = bytes(top[parent]) if parent in top and bytes(top[parent]) != b"null" else b"{}"
    top[parent] = msgspec.Raw(with_limit(inner, members, _spelling(_decode_top(inner), members), limit))
    return msgspec.json.encode(top)


def _spelling(members: dict[str, msgspec.Raw], names: tuple[str, ...]) -> str:
    """The name of those that is there, with a value if one of them has one; else the first."""
    there = [name for name in names if name in members]
    return next((name for name in there if bytes(members[name]) != b"null"), there[0] if there else names[0])
