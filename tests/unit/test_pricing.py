"""Money is exact: charges equal an independent calculation with rationals, rounded up once."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.money import MAX_AMOUNT, divide_up, format_credits, parse_credits, parse_scaled
from proxy.core.pricing import Price, Tariff
from proxy.core.usage import INPUT_COUNTERS, TOKEN_COUNTERS, Usage

rates = st.dictionaries(st.sampled_from(TOKEN_COUNTERS), st.integers(0, 10**12)).map(
    lambda chosen: {"input": 10**9, "output": 2 * 10**9, **chosen}
)
usages = st.dictionaries(st.sampled_from(TOKEN_COUNTERS), st.integers(0, 10**9)).map(Usage)


def up(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


@given(rates, usages, st.integers(1, 10**6), st.integers(1, 10**7))
def test_charge_is_the_exact_sum_rounded_up_once(
    rate: dict[str, int], usage: Usage, per_usd: int, markup_ppm: int
) -> None:
    price = Price("m", rate, "v")
    exact_nano = sum((Fraction(count * price.rate(name), 10**6) for name, count in usage.counters.items()), Fraction(0))
    tariff = Tariff(price, per_usd, markup_ppm)
    assert tariff.cost_nano_usd(usage) == up(exact_nano)
    exact_usd = exact_nano / 10**9
    assert tariff.charge_microcredits(usage) == up(exact_usd * per_usd * Fraction(markup_ppm, 10**6) * 10**6)


@given(rates, usages, st.integers(1, 10**6), st.integers(1, 10**7))
def test_hold_is_never_below_the_charge_of_named_rates(
    rate: dict[str, int], usage: Usage, per_usd: int, markup_ppm: int
) -> None:
    tariff = Tariff(Price("m", rate, "v"), per_usd, markup_ppm)
    usage = Usage({name: count for name, count in usage.counters.items() if name in rate})
    assert tariff.hold_microcredits(usage.input_tokens, usage.output_tokens) >= tariff.charge_microcredits(usage)


def test_counters_without_a_rate_are_never_free() -> None:
    price = Price("m", {"input": 1000, "output": 4000}, "v")
    assert [price.rate(name) for name in INPUT_COUNTERS] == [1000, 1000, 1250, 2000, 1000, 1000, 1000, 1000]
    assert price.rate("reasoning") == 4000
    assert Price("m", {"input": 3, "output": 0}, "v").rate("cache_write_5m") == 4, "rounded up"


def test_an_explicit_zero_is_a_zero() -> None:
    price = Price("m", {"input": 1000, "cache_read": 0, "output": 0}, "v")
    assert price.rate("cache_read") == 0
    assert Tariff(price, 1000).charge_microcredits(Usage({"cache_read": 10**9, "output": 5})) == 0


def test_a_thousand_tokens_at_a_dollar_a_million_is_one_credit() -> None:
    tariff = Tariff(Price("m", {"input": 10**9, "output": 10**9}, "v"), 1000)
    assert tariff.charge_microcredits(Usage({"input": 1000})) == 1_000_000


@given(st.integers(-MAX_AMOUNT, MAX_AMOUNT))
def test_credits_survive_their_text(microcredits: int) -> None:
    assert parse_credits(format_credits(microcredits)) == microcredits


@pytest.mark.parametrize(
    "text", ["", "x", "1e3", "0x1", "1.0000001", "NaN", "inf", "9007199254.740992", "१", "1_0", " 1", "--1"]
)
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match=r"decimal|stored"):
        parse_credits(text)


def test_scaled_numbers_are_exact() -> None:
    assert parse_scaled("0.000000001", 10**9) == 1
    assert parse_credits("9007199254.740991") == MAX_AMOUNT
    assert divide_up(0, 7) == 0
    assert divide_up(1, 7) == 1
    assert divide_up(-8, 7) == -1
