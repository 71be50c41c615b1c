"""Lowering a request's token limit to what the balance affords (mode `strict`), or setting one where the caller gave none."""

from typing import Protocol, runtime_checkable

import msgspec

_decode_top = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@runtime_checkable
class Clamps(Protocol):
    """An operation whose requests can say how many tokens an answer may have at most."""

    def clamp(self, body: bytes, limit: int, provider: str) -> bytes:
        """The body with a limit of at most `limit` tokens a choice, every other member as it was written.

        `provider` is the provider's name, for the members that providers of one dialect name differently.
        """


def with_limit(body: bytes, members: tuple[str, ...], preferred: str, limit: int) -> bytes:
    """The body, in which each of `members` that is there is at most `limit`, or `preferred` says so where none is.

    For a body that was read: what is there is a whole number or null.
    """
    top = _decode_top(body)
    given = {name: top[name] for name in members if name in top and bytes(top[name]) != b"null"}
    for name, raw in given.items():
        top[name] = msgspec.Raw(b"%d" % min(limit, msgspec.json.decode(raw, type=int)))
    if not given:
        top[preferred] = msgspec.Raw(b"%d" % limit)
    return msgspec.json.encode(top)
