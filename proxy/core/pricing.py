"""From tokens to money in exact integers: a rate is nano-USD per million tokens, and each sum is rounded up once.

cost   = what the provider bills, nano-USD:     sum(tokens x rate) / 10^6
charge = what the account pays, microcredits:   the same sum x credits per USD x markup, times 10^6 / (10^9 x 10^6 x 10^6)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from proxy.core.money import MICROCREDITS_PER_CREDIT, NANO_USD_PER_USD, divide_up
from proxy.core.usage import INPUT_COUNTERS, OUTPUT_COUNTERS, TOKEN_COUNTERS, Usage

TOKENS_PER_RATE = 1_000_000
MARKUP_ONE_PPM = 1_000_000

# A counter that a price does not name is charged from its side's plain rate, never at nothing, and no discount is assumed
# for a cached read. Cache writes cost 5/4 (5 minutes) and 2 (1 hour) of the input rate in Anthropic's documentation
# ("Prompt caching", pricing), the only provider that bills them apart.
_FALLBACK = dict.fromkeys(INPUT_COUNTERS, ("input", 1, 1)) | dict.fromkeys(OUTPUT_COUNTERS, ("output", 1, 1))
_FALLBACK["cache_write_5m"] = ("input", 5, 4)
_FALLBACK["cache_write_1h"] = ("input", 2, 1)


@dataclass(frozen=True)
class Price:
    """The rates of one model, valid from one version on: counter -> nano-USD per 10^6 tokens."""

    model: str
    rates: Mapping[str, int]
    version: str
    assumed_output_tokens: int = 4096

    def rate(self, counter: str) -> int:
        """Nano-USD per 10^6 tokens of this counter; falls back to the plain input or output rate."""
        return self._every_rate[counter]

    @cached_property
    def dearest_input(self) -> int:
        """The highest rate that the price names for an input token, nano-USD per 10^6 tokens.

        Rates that are only derived (cache writes without one) stay out: most providers never bill them, and a hold that
        takes every byte for a token covers twice the plain rate anyway.
        """
        return max(self.rates[name] for name in INPUT_COUNTERS if name in self.rates)

    @cached_property
    def dearest_output(self) -> int:
        """The highest rate that the price names for an output token, nano-USD per 10^6 tokens."""
        return max(self.rates[name] for name in OUTPUT_COUNTERS if name in self.rates)

    @cached_property
    def _every_rate(self) -> dict[str, int]:
        return {name: self._rate(name) for name in TOKEN_COUNTERS}

    def _rate(self, counter: str) -> int:
        rate = self.rates.get(counter)
        if rate is not None:
            return rate
        plain, times, divisor = _FALLBACK[counter]
        return divide_up(self.rates[plain] * times, divisor)


@dataclass(frozen=True, slots=True)
class Tariff:
    """A price as one account meets it: credits per USD and the markup (parts per million, 10^6 = none) applied."""

    price: Price
    credits_per_usd: int
    markup_ppm: int = MARKUP_ONE_PPM

    def cost_nano_usd(self, usage: Usage) -> int:
        """What the provider bills for this usage, in nano-USD, rounded up once."""
        return -(-self._sum(usage) // TOKENS_PER_RATE)

    def charge_microcredits(self, usage: Usage) -> int:
        """What the account pays for this usage, in microcredits, rounded up once."""
        return self._to_microcredits(self._sum(usage))

    def hold_microcredits(self, input_tokens: int, output_tokens: int) -> int:
        """An upper bound of the charge: every token at the dearest named rate of its side."""
        return self._to_microcredits(
            input_tokens * self.price.dearest_input + output_tokens * self.price.dearest_output
        )

    def _sum(self, usage: Usage) -> int:
        total = 0
        for counter, tokens in usage.counters.items():
            total += tokens * self.price.rate(counter)
        return total

    def _to_microcredits(self, nano_usd_per_million: int) -> int:
        return divide_up(
            nano_usd_per_million * self.credits_per_usd * self.markup_ppm * MICROCREDITS_PER_CREDIT,
            TOKENS_PER_RATE * NANO_USD_PER_USD * MARKUP_ONE_PPM,
        )
