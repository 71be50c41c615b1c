"""Identifiers: time-ordered UUIDs for calls, prefixed random ids for everything that people handle."""

import os
import struct
import time
from collections.abc import Iterator

# RFC 9562's variant: the digit's two high bits are 10, the other two random.
_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
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
    instant, random = f"{milliseconds & 0xFFFFFFFFFFFF:012x}", _random().hex()
    return f"{instant[:8]}-{instant[8:]}-7{random[:3]}-{_VARIANTS[random[3]]}{random[4:7]}-{random[7:19]}"


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
