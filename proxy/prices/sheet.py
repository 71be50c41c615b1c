"""A price sheet as people write it, and the `Price` that is made of it.

A sheet is counter -> steps: USD per million units, and from which total input on. Figures are exact rationals until they
become whole nano-USD. Written as text: "2.5", with context tiers "2.5>272000:5" (5 USD where the call's input is above
272,000 tokens), as a quotient "400/3600" where the provider's own unit is another (0.0004 USD an hour by the second).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from proxy.core.money import NANO_USD_PER_USD
from proxy.core.pricing import Price

Steps = tuple[tuple[int, Fraction], ...]
Sheet = Mapping[str, Steps]

# A rate finer than this is a mistake of whoever wrote it: 0.111 USD an hour needs a scale of 9.
MAX_SCALE = 1_000_000
MAX_USD = 10**12

_NUMBER = re.compile(r"\d{1,15}(\.\d{1,18})?", re.ASCII)


@dataclass(frozen=True)
class Terms:
    """What makes a `Price` beside its rates."""

    model: str
    version: str
    assumed_output_tokens: int
    source: str = ""
    any_tier: bool = False


@dataclass(frozen=True)
class Quote:
    """One model's rates at one time: the plain sheet, and complete ones by service tier."""

    plain: Sheet
    service_tiers: Mapping[str, Sheet] = field(default_factory=dict)
    minimums: Mapping[str, int] = field(default_factory=dict)


def parse_steps(text: str) -> Steps:
    """The steps of one counter, the plain one first, from their text. Raises ValueError."""
    plain, *tiers = text.split(">")
    steps = [(0, parse_usd(plain))]
    for tier in tiers:
        above, colon, usd = tier.partition(":")
        if not colon or not above.isdecimal() or int(above) <= steps[-1][0]:
            msg = f"{text[:60]!r} is not a rate with ascending tiers"
            raise ValueError(msg)
        steps.append((int(above), parse_usd(usd)))
    return tuple(steps)


def parse_usd(text: str) -> Fraction:
    """A decimal number of USD, or a decimal divided by a whole number. Raises ValueError."""
    number, slash, divisor = text.partition("/")
    if not _NUMBER.fullmatch(number) or (slash and not (divisor.isdecimal() and 0 < int(divisor) <= MAX_SCALE)):
        msg = f"{text[:40]!r} is not a decimal number"
        raise ValueError(msg)
    usd = Fraction(number) / (int(divisor) if slash else 1)
    if usd > MAX_USD:
        msg = f"{text[:40]} USD is more than a rate can be"
        raise ValueError(msg)
    return usd


def format_steps(steps: Steps) -> str:
    """The text that `parse_steps` reads."""
    (_, plain), *tiers = steps
    return format_usd(plain) + "".join(f">{above}:{format_usd(usd)}" for above, usd in tiers)


def format_usd(usd: Fraction) -> str:
    """The shortest exact text of an amount: a decimal, or a quotient where no decimal is exact."""
    rest, twos, fives = usd.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    number = usd.numerator * 10**places // (usd.denominator // rest)
    whole, fraction = divmod(number, 10**places)
    text = f"{whole}.{fraction:0{places}d}".rstrip("0").rstrip(".") if places else str(whole)
    return text if rest == 1 else f"{text}/{rest}"


def make_price(quote: Quote, terms: Terms) -> Price:
    """The price of a quote, in whole nano-USD. Raises ValueError where a rate has too many digits to be one."""
    sheets = (quote.plain, *quote.service_tiers.values())
    denominators = [
        (usd * NANO_USD_PER_USD).denominator for sheet in sheets for steps in sheet.values() for _, usd in steps
    ]
    scale = math.lcm(*denominators)
    if scale > MAX_SCALE:
        msg = f"a rate of {terms.model} has more decimals than can be stored"
        raise ValueError(msg)
    fixed: dict[str, Any] = {
        "assumed_output_tokens": terms.assumed_output_tokens,
        "scale": scale,
        "source": terms.source,
    }
    fixed |= {"minimums": quote.minimums, "any_tier": terms.any_tier}

    def price(sheet: Sheet, service_tiers: Mapping[str, Price]) -> Price:
        thresholds = sorted({above for steps in sheet.values() for above, _ in steps if above})
        plain, *tiers = (
            (above, Price(terms.model, _flat(sheet, above, scale), terms.version, **fixed))
            for above in (0, *thresholds)
        )
        return replace(plain[1], tiers=tuple(tiers), service_tiers=service_tiers)

    return price(quote.plain, {name: price(sheet, {}) for name, sheet in quote.service_tiers.items()})


def _flat(sheet: Sheet, above: int, scale: int) -> dict[str, int]:
    """Counter -> rate where the input is above so much."""
    return {
        counter: int(next(usd for start, usd in reversed(steps) if start <= above) * NANO_USD_PER_USD * scale)
        for counter, steps in sheet.items()
    }
