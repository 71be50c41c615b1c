"""Identifiers: time-ordered UUIDs for calls, prefixed random ids for everything that people handle."""

import os
import re
import time

# The last ten bytes of a UUID version 7 (RFC 9562): the digit 7, 12 random bits, the bits 10, and 62 random ones.
_BATCH = 100
_RANDOM_BITS = int("0fff3fffffffffffffff" * _BATCH, 16)
_FIXED_BITS = int("70008000000000000000" * _BATCH, 16)
_TAIL = re.compile("(.{4})(.{4})(.{12})")
_tails: list[str] = []


def _more_tails() -> None:
    """A hundred at a time: asking the operating system for each costs a call several us, and writing it in pieces as much."""
    random = int.from_bytes(os.urandom(10 * _BATCH), "big")
    _tails.extend(map("-".join, _TAIL.findall(f"{random & _RANDOM_BITS | _FIXED_BITS:x}")))


# A forked child must not hand out its parent's random bits again.
os.register_at_fork(after_in_child=_tails.clear)


def new_call_id(now_ms: int | None = None) -> str:
    """A UUID version 7 (RFC 9562) as text: 48 bits of Unix milliseconds, then 74 random bits; 36 characters."""
    milliseconds = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    if not _tails:
        _more_tails()
    instant = milliseconds.to_bytes(6, "big").hex("-", -4)
    return f"{instant}-{_tails.pop()}"


def new_id(prefix: str) -> str:
    """`<prefix>_` and 20 hexadecimal digits (80 random bits): unique, not secret."""
    return f"{prefix}_{os.urandom(10).hex()}"


def new_account_id() -> str:
    """An id for an account: `acct_...`."""
    return new_id("acct")


def new_key_id() -> str:
    """An id for an API key (not the key itself, which is secret): `key_...`."""
    return new_id("key")


def trace_id_of(call_id: str) -> str:
    """The W3C trace id of a call that belongs to no other trace: its own id, in 32 hexadecimal digits."""
    return call_id.replace("-", "")
