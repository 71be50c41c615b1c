"""From usage to money in exact integers: a rate is nano-USD per million units, and each sum is rounded up once.

cost   = what the provider bills, nano-USD:     sum(count x rate) / 10^6
charge = what the account pays, microcredits:   the same sum x credits per USD x markup, times 10^6 / (10^9 x 10^6 x 10^6)

A unit is a token, or what UNIT_COUNTERS names: a second, a character, an image, a search, a request. Nothing that was used
is priced to zero by silence: a token counter without a rate takes its side's plain one, and a unit without one is `Unpriced`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import gcd
from types import MappingProxyType

from proxy.core.money import MICROCREDITS_PER_CREDIT, NANO_USD_PER_USD, divide_up
from proxy.core.usage import INPUT_COUNTERS, OUTPUT_COUNTERS, TOKEN_COUNTERS, UNIT_COUNTERS, Usage

UNITS_PER_RATE = 1_000_000
MARKUP_ONE_PPM = 1_000_000

# A counter that a price does not name is charged from another rate of the same price, never at nothing, and no discount is
# assumed for a cached read. Cache writes cost 5/4 (5 minutes) and 2 (1 hour) of the input rate in Anthropic's documentation
# (https://platform.claude.com/docs/en/build-with-claude/prompt-caching#pricing), whose ratios the others that bill them share.
_FALLBACK = dict.fromkeys(INPUT_COUNTERS, ("input", 1, 1)) | dict.fromkeys(OUTPUT_COUNTERS, ("output", 1, 1))
_FALLBACK["cache_write_5m"] = ("input", 5, 4)
_FALLBACK["cache_write_1h"] = ("input", 2, 1)

# Tools that the provider runs are billed beside the tokens, and nobody can tell in advance whether a model will use one, so
# a price that does not name them charges the list price that OpenAI and Anthropic share: 10 USD for 1,000 web searches, 2.50
# for 1,000 file searches (https://developers.openai.com/api/docs/pricing, https://platform.claude.com/docs/en/about-claude/pricing).
# A session of OpenAI's code interpreter is 0.03 USD for a container of 1 GB, and as many times more as it is larger.
_TOOL_RATES = {
    "web_searches": 10_000 * NANO_USD_PER_USD,
    "file_searches": 2_500 * NANO_USD_PER_USD,
    "code_sessions": 30_000 * NANO_USD_PER_USD,
}
# Another measure of what may be billed in tokens: a transcription by the second or by the token, a rerank by the search.
_MEASURES = frozenset(UNIT_COUNTERS) - _TOOL_RATES.keys() - {"requests"}
_TOKENS = frozenset(TOKEN_COUNTERS)

# Tiers that providers sell above their plain rates. One that a price has no rates for is not served at the plain ones.
DEAR_TIERS = frozenset(("priority", "fast", "us", "fast-us"))
# Nor is one of these, where the provider says that it served it. Latency-optimized inference at AWS may be asked for without
# getting it, so that asking alone is not refused.
_DEAR_WHEN_SERVED = DEAR_TIERS | {"optimized"}

# A sum is in nano-USD / 10^6, times credits per USD and the markup in millionths; so many of these make a microcredit.
_PER_MICROCREDIT = UNITS_PER_RATE * NANO_USD_PER_USD * MARKUP_ONE_PPM // MICROCREDITS_PER_CREDIT

_NO_UNITS: Mapping[str, int] = MappingProxyType({})


class Unpriced(ValueError):
    """Something was used, or asked for, that the price has no rate for. `names` are counters, or a service tier."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(f"no rate for {', '.join(names)}")
        self.names = names


@dataclass(frozen=True)
class Price:
    """The rates of one model, valid from one version on: counter -> nano-USD per (10^6 x `scale`) units.

    `tiers` are complete prices for calls whose input, cached tokens included, is above so many tokens, ascending: the whole
    call is billed at the last one that it reaches. `service_tiers` are complete prices by the provider's own word for
    the tier. `minimums` are the least units that a call is billed, where it uses any. `any_tier`: the plain
    rates were said to hold in every service tier without rates of its own. `scale` is above 1 only where a provider's
    rate (0.111 USD an hour) is no whole number of nano-USD.
    """

    model: str
    rates: Mapping[str, int]
    version: str
    assumed_output_tokens: int = 4096
    tiers: tuple[tuple[int, Price], ...] = ()
    service_tiers: Mapping[str, Price] = field(default_factory=dict)
    scale: int = 1
    source: str = ""
    minimums: Mapping[str, int] = field(default_factory=dict)
    any_tier: bool = False

    def rate(self, counter: str) -> int:
        """Nano-USD per (10^6 x `scale`) units of this counter, as charged. Raises Unpriced where nothing says what it costs."""
        try:
            return self.every_rate[counter]
        except KeyError:
            raise Unpriced((counter,)) from None

    def for_call(self, input_tokens: int) -> Price:
        """The flat price that a call of so much input pays."""
        reached = self
        for above, tier in self.tiers:
            if input_tokens > above:
                reached = tier
        return reached

    def at_most(self, input_tokens: int | None, service_tier: str | None) -> list[Price]:
        """Every flat price that a call of at most so much input (None: any) may pay, in the tier that it asked for or without."""
        plain = [self]
        if service_tier is not None and service_tier in self.service_tiers:
            plain.append(self.service_tiers[service_tier])
        return plain + [
            tier for price in plain for above, tier in price.tiers if input_tokens is None or input_tokens > above
        ]

    @cached_property
    def flat(self) -> bool:
        """Whether one set of rates is all there is."""
        return not self.tiers and not self.service_tiers

    @cached_property
    def request_fee(self) -> int:
        """What every call costs beside its usage, nano-USD per (10^6 x `scale`) requests."""
        return self.rates.get("requests", 0)

    @cached_property
    def dearest_input(self) -> int:
        """The highest rate that the price names for an input token, nano-USD per (10^6 x `scale`) tokens.

        Rates that are only derived (cache writes without one) stay out: most providers never bill them, and a hold that
        takes every byte for a token covers twice the plain rate anyway. Where writes are billed, both kinds are.
        """
        named = {name for name in INPUT_COUNTERS if name in self.rates}
        if "cache_write_5m" in named:
            named.add("cache_write_1h")
        return max((self.every_rate[name] for name in named if name in self.every_rate), default=0)

    @cached_property
    def dearest_output(self) -> int:
        """The highest rate that the price names for an output token, nano-USD per (10^6 x `scale`) tokens."""
        return max((self.rates[name] for name in OUTPUT_COUNTERS if name in self.rates), default=0)

    @cached_property
    def every_rate(self) -> dict[str, int]:
        """Counter -> rate as charged, for every counter that has one, its own or a fallback."""
        rates = {name: rate * self.scale for name, rate in _TOOL_RATES.items()}
        for name in TOKEN_COUNTERS:
            rate = self._fallback(name)
            if rate is not None:
                rates[name] = rate
        return rates | dict(self.rates)

    def _fallback(self, counter: str) -> int | None:
        plain, times, divisor = _FALLBACK[counter]
        if counter == "cache_read_audio":  # audio that has no rate of its own is cached like the rest
            plain = next((name for name in ("input_audio", "cache_read") if name in self.rates), plain)
        return divide_up(self.rates[plain] * times, divisor) if plain in self.rates else None


@dataclass(frozen=True, slots=True)
class Tariff:
    """A price as one account meets it: credits per USD and the markup (parts per million, 10^6 = none) applied."""

    price: Price
    credits_per_usd: int
    markup_ppm: int = MARKUP_ONE_PPM
    _factor: int = field(init=False, repr=False, compare=False)
    _divisor: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Shortens the fraction by which a sum becomes microcredits: divisions by small numbers cost a third."""
        factor = self.credits_per_usd * self.markup_ppm
        common = gcd(factor, _PER_MICROCREDIT)
        object.__setattr__(self, "_factor", factor // common)
        object.__setattr__(self, "_divisor", _PER_MICROCREDIT // common)

    def cost_nano_usd(self, usage: Usage, service_tier: str | None = None) -> int:
        """What the provider bills for this usage, in nano-USD, rounded up once. Raises Unpriced."""
        price = self._price_of(usage, service_tier)
        return -(-_sum(price, usage.counters) // (UNITS_PER_RATE * price.scale))

    def charge_microcredits(self, usage: Usage, service_tier: str | None = None) -> int:
        """What the account pays for this usage, in microcredits, rounded up once. Raises Unpriced.

        `service_tier` is the tier to bill (see `billed_tier`); None bills the plain rates.
        """
        price = self._price_of(usage, service_tier)
        return self._to_microcredits(_sum(price, usage.counters), price.scale)

    def bill(self, usage: Usage, service_tier: str | None = None) -> tuple[int, int]:
        """Cost (nano-USD) and charge (microcredits) of this usage in one go. Raises Unpriced."""
        price = self.price if self.price.flat else self._price_of(usage, service_tier)
        total, scale = _sum(price, usage.counters), price.scale
        return -(-total // (UNITS_PER_RATE * scale)), self._to_microcredits(total, scale)

    def hold_microcredits(
        self,
        input_tokens: int,
        output_tokens: int,
        *,
        units: Mapping[str, int] = _NO_UNITS,
        service_tier: str | None = None,
    ) -> int:
        """An upper bound of the charge of a call within these bounds: every token at the dearest named rate of its side.

        `units` bounds what is not counted in tokens. Of the context tiers those count that so much input can reach (0:
        unknown, all of them), of the service tiers the plain one and the one that was asked for. Raises Unpriced.
        """
        price = self.price
        if service_tier is None and not price.tiers and not units:  # most calls: nothing to compare
            tokens = input_tokens * price.dearest_input + output_tokens * price.dearest_output
            return self._to_microcredits(tokens + price.request_fee, price.scale)
        bounds = [
            self._to_microcredits(
                input_tokens * one.dearest_input
                + output_tokens * one.dearest_output
                + (_sum(one, units, tokens_too=True) if units or one.request_fee else 0),
                one.scale,
            )
            for one in price.at_most(input_tokens or None, service_tier)
        ]
        return max(bounds)

    def growth_microcredits(self, output_tokens: int, service_tier: str | None = None) -> int:
        """What so many more output tokens can cost at most, in whichever context tier the call is."""
        candidates = self.price.at_most(None, service_tier)
        return max(self._to_microcredits(output_tokens * one.dearest_output, one.scale) for one in candidates)

    def billed_tier(self, asked: str | None, reported: str | None) -> str | None:
        """The service tier that a call is billed in, or None for the plain rates.

        The provider's word counts where it is the tier that was asked for or a dearer one; a discount that nobody asked for
        is not taken from an answer. Where the provider says nothing, a dearer tier that was asked for and accepted counts; a
        cheaper one does not: many servers pass over members that they do not know, and bill their plain rates. Raises Unpriced
        where the provider says that it served a dearer tier which has no rates here.
        """
        tiers = self.price.service_tiers
        if reported in _DEAR_WHEN_SERVED and reported not in tiers and not self.price.any_tier:
            raise Unpriced((f"service_tier {reported}",))
        told = asked if reported is None else reported
        if told is None or told not in tiers:
            return None
        return told if told == reported == asked or self._is_dear(told) else None

    def unpriced(self, units: Mapping[str, int] = _NO_UNITS, service_tier: str | None = None) -> tuple[str, ...]:
        """What a call is going to use that has no rate, by name; such a call is refused (402 model_not_priced).

        `units` are the units that it certainly uses. Empty when everything has a price.
        """
        rates = self.price.every_rate
        missing = [name for name in units if name not in rates and not ("input" in rates and name in _MEASURES)]
        if service_tier in DEAR_TIERS and service_tier not in self.price.service_tiers and not self.price.any_tier:
            missing.append(f"service_tier {service_tier}")
        if "input" not in rates and "requests" not in rates and not any(name in rates for name in units):
            missing.append("input")
        return tuple(missing)

    def _is_dear(self, service_tier: str) -> bool:
        dearer = self.price.service_tiers[service_tier]
        plain = self.price.every_rate
        return any(
            rate * self.price.scale > plain.get(name, 0) * dearer.scale for name, rate in dearer.every_rate.items()
        )

    def _price_of(self, usage: Usage, service_tier: str | None) -> Price:
        price = self.price
        if service_tier is not None:
            price = price.service_tiers.get(service_tier, price)
        return price.for_call(usage.input_tokens) if price.tiers else price

    def _to_microcredits(self, nano_usd_sum: int, scale: int) -> int:
        return -(-nano_usd_sum * self._factor // (self._divisor * scale))


def _sum(price: Price, counters: Mapping[str, int], *, tokens_too: bool = False) -> int:
    """Nano-USD times (10^6 x scale). `tokens_too`: tokens are charged as well, beside these counters. Raises Unpriced."""
    if price.minimums:
        counters = _at_least(counters, price.minimums)
    rates = price.every_rate
    total = 0 if "requests" in counters else price.request_fee
    try:
        for counter, count in counters.items():
            total += count * rates[counter]
    except KeyError:
        return _sum_of_priced(price, counters, tokens_too=tokens_too)
    return total


def _sum_of_priced(price: Price, counters: Mapping[str, int], *, tokens_too: bool) -> int:
    """The sum where some counter has no rate: fine if it is zero, or if the same thing is billed in tokens."""
    rates = price.every_rate
    in_tokens = "input" in rates and (tokens_too or any(counters[name] for name in counters if name in _TOKENS))
    missing = [
        name
        for name, count in counters.items()
        if name not in rates and count and not (in_tokens and name in _MEASURES)
    ]
    if missing:
        raise Unpriced(tuple(missing))
    total = 0 if "requests" in counters else price.request_fee
    return total + sum(count * rates[name] for name, count in counters.items() if name in rates)


def _at_least(counters: Mapping[str, int], minimums: Mapping[str, int]) -> Mapping[str, int]:
    return {name: max(count, minimums.get(name, 0)) if count else 0 for name, count in counters.items()}
