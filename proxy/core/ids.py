"""Identifiers: time-ordered UUIDs for calls, prefixed random ids for everything that people handle."""

import os
import struct
import time
from collections.abc import Iterator

_LOW_62 = (1 << 62) - 1
_TEN_BYTES = struct.Struct("10s")
_pool: list[Iterator[tuple[bytes]]] = []


def _random() -> bytes:
    """Ten random bytes, of four thousand that the operating system gives at a time: asking for each costs a call several us."""
    if _pool and (taken := next(_pool[0], None)) is not None:
        return taken[0]
    _pool[:] = [_TEN_BYTES.iter_unpack(os.urandom(4000))]
    return next(_pool[0])[0]


# A forked child must not hand out its parent's random bytes again.
os.register_at_fork(after_in_child=_pool.clear)


def new_call_id(now_ms: int | None = None) -> str:
    """A UUID version 7 (RFC 9562) as text: 48 bits of Unix milliseconds, then 74 random bits; 36 characters."""
    milliseconds = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    random = int.from_bytes(_random())
    value = (milliseconds & 0xFFFFFFFFFFFF) << 80 | 7 << 76 | random >> 68 << 64 | 2 << 62 | random & _LOW_62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_id(prefix: str) -> str:
    """`<prefix>_` and 20 hexadecimal digits (80 random bits): unique, not secret."""
    return f"{prefix}_{_random().hex()}"


def new_account_id() -> str:
    """An id for an account: `acct_...`."""
    return new_id("acct")


def new_key_id() -> str:
    """An id for an API key (not the key itself, which is secret): `key_...`."""
    return new_id("key")


def trace_id_of(call_id: str) -> str:
    """The W3C trace id of a call that belongs to no other trace: its own id, in 32 hexadecimal digits."""
    return call_id.replace("-", "")
