"""Credits as integers: 1 credit = 1,000,000 microcredits, the unit that is stored and summed everywhere.

No amount is above 2^53 - 1, the largest integer that Redis' Lua counts exactly. No float touches money.
"""

import re
from decimal import Decimal

MAX_AMOUNT = 2**53 - 1
MICROCREDITS_PER_CREDIT = 1_000_000
NANO_USD_PER_USD = 1_000_000_000

_DECIMAL = re.compile(r"[+-]?\d{1,16}(\.\d{1,12})?", re.ASCII)


def parse_scaled(text: str, scale: int) -> int:
    """A decimal text times `scale`, exactly. Raises ValueError for anything that is not a whole number of units."""
    if not _DECIMAL.fullmatch(text):
        msg = f"{text[:40]!r} is not a decimal number such as 12.5"
        raise ValueError(msg)
    scaled = Decimal(text) * scale
    if scaled != scaled.to_integral_value():
        msg = f"{text} has more than {len(str(scale)) - 1} decimals"
        raise ValueError(msg)
    return int(scaled)


def parse_credits(text: str) -> int:
    """Credits as people write them ("12.5") in microcredits. Raises ValueError beyond six decimals or 2^53 - 1."""
    microcredits = parse_scaled(text, MICROCREDITS_PER_CREDIT)
    if abs(microcredits) > MAX_AMOUNT:
        msg = f"{text} credits is more than can be stored"
        raise ValueError(msg)
    return microcredits


def format_credits(microcredits: int) -> str:
    """Microcredits as an exact decimal of credits, without trailing zeros: 12500000 -> "12.5"."""
    if microcredits < 0:
        return "-" + format_credits(-microcredits)
    digits = str(microcredits).zfill(7)  # one of credits at least, and six of microcredits
    fraction = digits[-6:].rstrip("0")
    return f"{digits[:-6]}.{fraction}" if fraction else digits[:-6]


def divide_up(numerator: int, denominator: int) -> int:
    """The quotient rounded towards plus infinity: the one rounding that a charge gets."""
    return -(-numerator // denominator)
