"""How the bench judges growth, and what it makes of curves."""

import pytest

from bench.scale_fit import growth, percentile
from bench.scale_report import Measured, carries, findings, sheets

SIZES = (100, 1000, 10_000, 100_000, 1_000_000)


def test_what_does_not_depend_on_the_size_is_flat() -> None:
    found = growth(SIZES, [20.0, 20.3, 19.8, 20.1, 20.2])
    assert found is not None
    assert found.verdict == "flat"
    assert found.exponent == pytest.approx(0, abs=0.01)


def test_a_logarithm_is_within_a_logarithm() -> None:
    found = growth(SIZES, [2.0, 3.0, 4.0, 5.0, 6.0])
    assert found is not None
    assert found.verdict == "within a logarithm"
    assert found.exponent == pytest.approx(found.log_exponent, abs=0.002)


@pytest.mark.parametrize("exponent", [0.2, 0.5, 1.0, 2.0])
def test_any_power_of_the_size_is_more_than_a_logarithm(exponent: float) -> None:
    found = growth(SIZES, [5 * size**exponent for size in SIZES])
    assert found is not None
    assert found.exponent == pytest.approx(exponent)
    assert found.beyond_logarithm


def test_a_cost_that_sets_in_at_the_largest_size_is_seen() -> None:
    found = growth(SIZES, [20.0, 20.0, 20.0, 20.0, 31.0])
    assert found is not None
    assert found.exponent < found.log_exponent
    assert found.beyond_logarithm


def test_noise_of_a_tenth_at_the_largest_size_is_none() -> None:
    found = growth(SIZES, [20.0, 20.0, 20.0, 20.0, 22.0])
    assert found is not None
    assert not found.beyond_logarithm


def test_small_sizes_have_their_own_logarithm() -> None:
    sizes = (1, 2, 4, 8, 16, 32, 64)
    linear, half = growth(sizes, [3.0 * size for size in sizes]), growth(sizes, [size**0.2 for size in sizes])
    assert linear is not None
    assert half is not None
    assert linear.beyond_logarithm
    assert not half.beyond_logarithm, "log2(n + 2) itself grows by a factor of four from 1 to 64"


def test_none_at_all_is_a_size() -> None:
    found = growth((0, 100, 1000), [5.0, 5.0, 5.0])
    assert found is not None
    assert found.verdict == "flat"


def test_what_cannot_be_fitted_is_not() -> None:
    assert growth((1,), [5.0]) is None
    assert growth((1, 2), [0.0, 0.0]) is None


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(value) for value in range(1, 101)], 0.99) == 99.0
    assert percentile([7.0], 0.99) == 7.0


def curve(name: str, figure: str, values: list[float], **more: float) -> Measured:
    medians = {size: {figure: value, **more} for size, value in zip(SIZES, values, strict=True)}
    return Measured(name, name, medians, {})


def test_growth_is_said_with_its_reason_and_flat_curves_are_not() -> None:
    flat, steep = curve("accounts", "call_us", [30.0] * 5), curve("keys", "mixed_us", [2.0, 2.0, 3.0, 120.0, 140.0])
    assert findings([flat]) == ["Nothing grows faster than a logarithm."]
    (said,) = findings([flat, steep])
    assert "any key of all against keys: 2.0 at 100, 120.0 at 100,000, 140.0 at 1,000,000" in said
    assert "remembers 10,000 keys" in said


def test_what_a_redis_carries_comes_from_the_dearest_and_the_largest() -> None:
    said = carries([curve("accounts", "call_us", [20.0, 20.0, 20.0, 20.0, 40.0], account_bytes=256.0)])
    assert "25,000 (the dearest crowd here: 40.0 us a call) to 50,000 calls a second" in said[0]
    assert said[1] == "accounts: 256 bytes each at 1,000,000, so 4,194,304 in a GB."


def test_every_size_has_a_row_and_every_curve_its_verdict() -> None:
    times, memory = sheets([curve("accounts", "call_us", [30.0] * 5, account_bytes=240.0)])
    assert [row[0] for row in times.rows] == [*(f"{size:,}" for size in SIZES), "exponent", "a logarithm's", "grows"]
    assert times.rows[-1][1] == "flat"
    assert [row[1] for row in memory.rows] == ["240.0"] * 5
