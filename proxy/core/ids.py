"""Identifiers: time-ordered UUIDs for calls, prefixed random ids for everything that people handle."""

import os
import time

_pool = bytearray()


def _random(size: int) -> bytes:
    """`size` random bytes, taken from the operating system 4 KiB at a time (a system call per call id is waste)."""
    if len(_pool) < size:
        _pool.extend(os.urandom(4096))
    taken = bytes(_pool[-size:])
    del _pool[-size:]
    return taken


def _forget_pool() -> None:
    _pool.clear()


# A forked child must not hand out its parent's random bytes again.
os.register_at_fork(after_in_child=_forget_pool)


def new_call_id(now_ms: int | None = None) -> str:
    """A UUID version 7 (RFC 9562) as text: 48 bits of Unix milliseconds, then 74 random bits; 36 characters."""
    milliseconds = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    random = _random(10)
    high = 0x7000 | (int.from_bytes(random[:2], "big") & 0x0FFF)
    low = (random[2] & 0x3F) | 0x80
    stamp = f"{milliseconds & 0xFFFFFFFFFFFF:012x}"
    return f"{stamp[:8]}-{stamp[8:]}-{high:04x}-{low:02x}{random[3]:02x}-{random[4:].hex()}"


def new_id(prefix: str) -> str:
    """`<prefix>_` and 20 hexadecimal digits (80 random bits): unique, not secret."""
    return f"{prefix}_{_random(10).hex()}"


def new_account_id() -> str:
    """An id for an account: `acct_...`."""
    return new_id("acct")


def new_key_id() -> str:
    """An id for an API key (not the key itself, which is secret): `key_...`."""
    return new_id("key")


def new_trace_id() -> str:
    """A W3C trace id: 32 hexadecimal digits, never all zero."""
    return f"{int.from_bytes(_random(16), 'big') or 1:032x}"
