"""Money is exact: charges equal an independent calculation with rationals, rounded up once, and no hold is below its charge."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.money import MAX_AMOUNT, divide_up, format_credits, parse_credits, parse_scaled
from proxy.core.pricing import DEAR_TIERS, Price, Tariff, Unpriced
from proxy.core.usage import INPUT_COUNTERS, OUTPUT_COUNTERS, TOKEN_COUNTERS, UNIT_COUNTERS, Usage

rates = st.dictionaries(st.sampled_from(TOKEN_COUNTERS), st.integers(0, 10**12)).map(
    lambda chosen: {"input": 10**9, "output": 2 * 10**9, **chosen}
)
usages = st.dictionaries(st.sampled_from(TOKEN_COUNTERS), st.integers(0, 10**9)).map(Usage)
unit_rates = st.dictionaries(st.sampled_from(UNIT_COUNTERS), st.integers(0, 10**14))
MILLION = 10**9
PLAIN = {"input": MILLION, "output": 2 * MILLION}


def up(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    """A price with context tiers and service tiers, all of them naming the same counters."""
    named = draw(st.sets(st.sampled_from((*TOKEN_COUNTERS, *UNIT_COUNTERS)))) | {"input", "output"}
    scale = draw(st.sampled_from((1, 9)))

    def flat() -> dict[str, int]:
        return {name: draw(st.integers(0, 10**12)) for name in sorted(named)}

    def with_tiers(service_tiers: dict[str, Price]) -> Price:
        starts = sorted(draw(st.sets(st.integers(1, 10**6), max_size=2)))
        tiers = tuple((start, Price("m", flat(), "v", scale=scale)) for start in starts)
        return Price("m", flat(), "v", tiers=tiers, service_tiers=service_tiers, scale=scale)

    return with_tiers({name: with_tiers({}) for name in draw(st.sets(st.sampled_from(("flex", "priority"))))})


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


@given(prices(), st.data(), st.sampled_from((None, "flex", "priority", "unknown")))
def test_no_call_within_its_bounds_costs_more_than_its_hold(
    price: Price, data: st.DataObject, tier: str | None
) -> None:
    counts = data.draw(st.dictionaries(st.sampled_from(sorted(price.rates)), st.integers(0, 2 * 10**6)))
    usage = Usage(counts)
    units = {name: count + data.draw(st.integers(0, 5)) for name, count in counts.items() if name in UNIT_COUNTERS}
    slack = data.draw(st.integers(0, 10**6))
    tariff = Tariff(price, 1000, 1_300_000)
    held = tariff.hold_microcredits(
        usage.input_tokens + slack, usage.output_tokens + slack, units=units, service_tier=tier
    )
    for billed in (None, tier):
        assert held >= tariff.charge_microcredits(usage, billed)


@given(prices(), st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_wider_bound_never_holds_less(price: Price, read: int, written: int, more_read: int, more: int) -> None:
    tariff = Tariff(price, 1000)
    narrow = tariff.hold_microcredits(read, written, service_tier="priority")
    assert tariff.hold_microcredits(read + more_read, written + more, service_tier="priority") >= narrow
    assert tariff.hold_microcredits(read, written + more) <= tariff.hold_microcredits(
        read, written
    ) + tariff.growth_microcredits(more), "a hold grows by at least what the output can cost"


@given(prices(), usages, st.sampled_from((None, "flex", "priority")))
def test_the_whole_call_is_billed_at_the_tier_that_its_input_reaches(
    price: Price, usage: Usage, tier: str | None
) -> None:
    usage = Usage({name: count for name, count in usage.counters.items() if name in price.rates})
    sold = price.service_tiers.get(tier or "", price)
    flat = sold
    for above, dearer in sold.tiers:
        if sum(usage.counters.get(name, 0) for name in INPUT_COUNTERS) > above:
            flat = dearer
    fee = Fraction(flat.rates.get("requests", 0))
    exact = sum((Fraction(flat.rates[name] * count) for name, count in usage.counters.items()), fee)
    assert Tariff(price, 1000).cost_nano_usd(usage, tier) == up(exact / (10**6 * flat.scale))


def test_cached_input_counts_towards_the_context_tier() -> None:
    dear = Price("m", {"input": 4 * MILLION, "cache_read": MILLION, "output": 6 * MILLION}, "v")
    tariff = Tariff(Price("m", {**PLAIN, "cache_read": MILLION // 2}, "v", tiers=((200_000, dear),)), 1000)
    assert tariff.cost_nano_usd(Usage({"input": 100_000, "cache_read": 100_000})) == 150_000_000, (
        "at the limit: below it"
    )
    assert tariff.cost_nano_usd(Usage({"input": 100_000, "cache_read": 100_001})) == 500_001_000
    assert tariff.hold_microcredits(200_000, 10) < tariff.hold_microcredits(200_001, 0)
    assert tariff.hold_microcredits(0, 10) == tariff.growth_microcredits(10), "an unknown input may be a large one"


def test_counters_without_a_rate_are_never_free() -> None:
    price = Price("m", {"input": 1000, "output": 4000}, "v")
    assert [price.rate(name) for name in INPUT_COUNTERS] == [1000, 1000, 1250, 2000, 1000, 1000, 1000, 1000]
    assert {price.rate(name) for name in OUTPUT_COUNTERS} == {4000}
    assert Price("m", {"input": 3, "output": 0}, "v").rate("cache_write_5m") == 4, "rounded up"
    assert price.rate("web_searches") == 10**13, "what OpenAI and Anthropic ask for a search"


def test_cached_audio_takes_the_closest_rate() -> None:
    assert Price("m", {**PLAIN, "cache_read": 1}, "v").rate("cache_read_audio") == 1
    assert Price("m", {**PLAIN, "cache_read": 1, "input_audio": 7}, "v").rate("cache_read_audio") == 7
    assert Price("m", PLAIN, "v").rate("cache_read_audio") == MILLION


@pytest.mark.parametrize("unit", ["requests", "input_seconds", "input_characters", "output_images", "search_units"])
def test_a_unit_without_a_rate_is_not_priced(unit: str) -> None:
    tariff = Tariff(Price("m", PLAIN, "v"), 1000)
    with pytest.raises(Unpriced, match=unit):
        tariff.charge_microcredits(Usage({unit: 1}))
    assert tariff.charge_microcredits(Usage({unit: 0, "input": 1})) == 1000, "nothing of it was used"


def test_what_is_billed_in_tokens_is_not_billed_by_the_second_too() -> None:
    tariff = Tariff(Price("m", PLAIN, "v"), 1000)
    assert tariff.cost_nano_usd(Usage({"input_audio": 10, "input_seconds": 3})) == 10_000
    assert not tariff.unpriced({"input_seconds": 3}), "a transcription may be billed in tokens"
    assert tariff.hold_microcredits(10, 0, units={"input_seconds": 3}) == tariff.hold_microcredits(10, 0)


def test_tokens_of_a_model_that_is_billed_in_units_are_not_free() -> None:
    tariff = Tariff(Price("whisper", {"input_seconds": 10**11}, "v"), 1000)
    assert tariff.cost_nano_usd(Usage({"input_seconds": 60})) == 6_000_000
    with pytest.raises(Unpriced, match="output"):
        tariff.cost_nano_usd(Usage({"input_seconds": 60, "output": 5}))


def test_what_a_call_needs_a_rate_for() -> None:
    tokens = Tariff(Price("m", PLAIN, "v"), 1000)
    seconds = Tariff(Price("m", {"input_seconds": 1}, "v"), 1000)
    assert tokens.unpriced({"requests": 1}) == ("requests",)
    assert tokens.unpriced({"web_searches": 1}) == ()
    assert seconds.unpriced() == ("input",), "a chat with a model that is billed by the second"
    assert seconds.unpriced({"input_seconds": 60}) == ()
    assert tokens.unpriced(service_tier="priority") == ("service_tier priority",)
    assert tokens.unpriced(service_tier="flex") == (), "the plain rates are the dearer ones"
    assert Tariff(Price("m", PLAIN, "v", any_tier=True), 1000).unpriced(service_tier="priority") == ()


def test_a_fee_is_charged_once_a_call() -> None:
    tariff = Tariff(Price("m", {**PLAIN, "requests": 5 * 10**12}, "v"), 1000)
    assert tariff.cost_nano_usd(Usage({"input": 1})) == 5_001_000
    assert tariff.cost_nano_usd(Usage({"input": 1, "requests": 1})) == 5_001_000
    assert tariff.cost_nano_usd(Usage({"requests": 3})) == 15_000_000
    assert tariff.hold_microcredits(1, 0) == 5_001_000
    assert tariff.growth_microcredits(1) == 2000, "more output is not another call"


def test_a_minimum_is_billed_where_anything_is() -> None:
    tariff = Tariff(Price("w", {"input_seconds": 10**9}, "v", minimums={"input_seconds": 10}), 1000)
    assert [tariff.cost_nano_usd(Usage({"input_seconds": count})) for count in (0, 1, 10, 11)] == [
        0,
        10000,
        10000,
        11000,
    ]


def test_a_tier_is_billed_where_it_was_asked_for_or_costs_more() -> None:
    cheap, dear = Price("m", {"input": 1, "output": 1}, "v"), Price("m", {"input": MILLION, "output": 3 * MILLION}, "v")
    tariff = Tariff(Price("m", PLAIN, "v", service_tiers={"flex": cheap, "priority": dear}), 1000)
    asked_and_told = [
        (None, None), ("flex", "flex"), ("flex", None), (None, "flex"), ("flex", "default"), ("priority", "default"),
        (None, "priority"), ("flex", "priority"), ("auto", "default"), ("scale", "scale"), ("priority", None),
    ]  # fmt: skip
    billed = [tariff.billed_tier(asked, told) for asked, told in asked_and_told]
    assert billed == [None, "flex", None, None, None, None, "priority", "priority", None, None, "priority"]


@pytest.mark.parametrize("tier", [*sorted(DEAR_TIERS), "optimized"])
def test_a_dearer_tier_without_rates_is_never_billed_at_the_plain_ones(tier: str) -> None:
    with pytest.raises(Unpriced, match=f"service_tier {tier}"):
        Tariff(Price("m", PLAIN, "v"), 1000).billed_tier(None, tier)
    assert Tariff(Price("m", PLAIN, "v", any_tier=True), 1000).billed_tier(None, tier) is None
    assert Tariff(Price("m", PLAIN, "v"), 1000).billed_tier(tier, "default") is None


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
