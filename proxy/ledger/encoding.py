"""Arguments for the scripts and replies from them: checks and translation, no I/O."""

from collections.abc import Sequence
from struct import Struct
from typing import Any

from proxy.core.limits import (
    BUDGET_DAY,
    BUDGET_KINDS,
    BUDGET_MONTH,
    BUDGET_TOTAL,
    BUDGET_WEEK,
    CONCURRENT,
    REQUESTS,
    TOKENS,
    Limit,
)
from proxy.core.money import MAX_AMOUNT
from proxy.core.outcomes import (
    BALANCE,
    BUDGET,
    CORRECTED,
    EXPIRED,
    IN_FLIGHT,
    MAX_LIMITS,
    MAX_SPEED,
    RELEASED,
    SETTLED,
    UNKNOWN,
    Ended,
    Held,
    Refused,
    Stale,
    Standing,
    UnknownAccount,
)
from proxy.ledger.keys import Partition

# The letters of the kinds of limits; see lua/parts/formats.lua.
LETTERS = {
    REQUESTS: "r",
    TOKENS: "t",
    CONCURRENT: "c",
    BUDGET_DAY: "d",
    BUDGET_WEEK: "w",
    BUDGET_MONTH: "m",
    BUDGET_TOTAL: "a",
}
MAX_SCOPE_BYTES = 512
MAX_TEXT_BYTES = 2_000  # actor, reason, idempotency key
MAX_RECORD_BYTES = 64 * 1024

LIMIT_ROW = Struct("<cq")
HOLD_NUMBERS = Struct("<qqqq")  # version, amount, tokens, lease; account id and limits follow
EXTEND_NUMBERS = Struct("<qqqq")  # step, amount, checkpoint, lease
SETTLE_NUMBERS = Struct("<qq")  # charge, tokens; the account id follows
_HELD = tuple(Struct(f"<{2 * (1 + count)}q") for count in range(MAX_LIMITS + 1))  # by the number of limits
_ENDED = Struct("<cBqqq")

Reply = Sequence[Any]  # bytes and int

_STATES = {b"S": SETTLED, b"R": RELEASED, b"X": EXPIRED, b"C": CORRECTED, b"U": UNKNOWN}


def check_amount(value: int, name: str, *, lowest: int = 0, highest: int = MAX_AMOUNT) -> int:
    """A whole number within its bounds. Raises ValueError: what people send is checked before it comes here."""
    if type(value) is not int or not lowest <= value <= highest:
        raise ValueError(f"{name} must be a whole number from {lowest} to {highest}")
    return value


def check_text(value: str | bytes, name: str, most_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """A bounded text, encoded. Raises ValueError."""
    encoded = value.encode() if isinstance(value, str) else value
    if len(encoded) > most_bytes:
        raise ValueError(f"{name} is longer than {most_bytes} bytes")
    return encoded


def encode_limits(partition: Partition, account_id: str, limits: tuple[Limit, ...]) -> tuple[tuple[bytes, ...], bytes]:
    """The keys of a hold's limits, and their kinds and ceilings packed. Raises ValueError."""
    if len(limits) > MAX_LIMITS:
        raise ValueError(f"a hold has at most {MAX_LIMITS} limits")
    packed = b""
    for limit in limits:
        is_speed = limit.kind in {REQUESTS, TOKENS}
        check_amount(limit.ceiling, f"the ceiling of {limit.kind}", highest=MAX_SPEED if is_speed else MAX_AMOUNT)
        check_text(limit.scope, "the scope of a limit", MAX_SCOPE_BYTES)
        packed += LIMIT_ROW.pack(LETTERS[limit.kind].encode(), limit.ceiling)
    keys = tuple(partition.limit(account_id, LETTERS[limit.kind], limit.scope) for limit in limits)
    if len(set(keys)) < len(keys):
        raise ValueError("two limits of one hold have the same scope and kind")
    return keys, packed


def read_standings(limits: tuple[Limit, ...], reply: Reply, start: int) -> tuple[Standing, ...]:
    """The pairs (remaining, ms) of a hold's reply from `start` on, each with its limit."""
    standings = []
    for limit in limits:
        remaining, reset_ms = reply[start], reply[start + 1]
        start += 2
        left = remaining if remaining > 0 else 0  # noqa: FURB136 - `max` takes seven times as long
        standings.append(Standing(limit, left, None if reset_ms == -1 else reset_ms))
    return tuple(standings)


def read_hold(limits: tuple[Limit, ...], reply: bytes | Reply) -> Held | Refused | Stale | UnknownAccount | None:
    """The outcome of the hold script; None where a hold with this id has already ended."""
    if isinstance(reply, bytes):
        held = _HELD[len(limits)].unpack(reply)
        return Held(held[0], held[1], read_standings(limits, held, 2) if limits else ())
    outcome = reply[0]
    if outcome == b"refused":
        return _read_refused(limits, reply)
    if outcome == b"stale":
        return Stale()
    return UnknownAccount() if outcome == b"unknown_account" else None


def _read_refused(limits: tuple[Limit, ...], reply: Reply) -> Refused:
    place, required, available, retry_ms = reply[1:5]
    limit = limits[place - 1] if place > 0 else None
    if limit is None:
        source = BALANCE if place == 0 else IN_FLIGHT
    else:
        source = BUDGET if limit.kind in BUDGET_KINDS else limit.kind
    standings = read_standings(limits, reply, 5)
    return Refused(source, limit, required, available, None if retry_ms == -1 else retry_ms, standings)


def read_ended(reply: bytes) -> Ended:
    """The outcome of settle, release and expire."""
    state, repeated, charge, posted, held = _ENDED.unpack(reply)
    return Ended(_STATES[state], repeated == 1, charge, posted, held)
