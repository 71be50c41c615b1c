"""How a figure grows with a size, and whether that is more than a logarithm would. Pure.

A growth is an exponent: a figure that is proportional to the size has 1, one that does not depend on it 0. What a logarithm
gives depends on where one looks (from 10^2 to 10^6 it grows by a factor of 3, which is an exponent of 0.12), so the bound is
the exponent of log2(size + 2) over the same sizes. A step at the end of the curve counts as well: a fit over all sizes would
hide a cost that sets in at the largest one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_FLAT = 0.02  # 5 % a factor of ten
_SLACK = 1.05  # logarithms of different bases and offsets differ by this much
_NOISE = 0.25  # what the last step may differ by without anybody's fault


@dataclass(frozen=True)
class Growth:
    """A figure over sizes. `factor`: the largest size's value over the smallest's; `last_step`: over the one before it."""

    exponent: float
    factor: float
    last_step: float
    log_exponent: float
    log_last_step: float

    @property
    def beyond_logarithm(self) -> bool:
        """Whether the figure grows faster than a logarithm of the size, over all sizes or in the last step."""
        if self.exponent > max(self.log_exponent * _SLACK, _FLAT):
            return True
        return self.last_step > self.log_last_step * (1 + _NOISE)

    @property
    def verdict(self) -> str:
        """`flat`, `within a logarithm`, or `MORE than a logarithm`."""
        if self.beyond_logarithm:
            return "MORE than a logarithm"
        return "flat" if self.exponent <= _FLAT else "within a logarithm"


def growth(sizes: Sequence[int], values: Sequence[float]) -> Growth | None:
    """Fit a figure over at least two sizes in ascending order; None where there is nothing to fit (too few, or not above zero)."""
    points = [(size, value) for size, value in zip(sizes, values, strict=True) if value > 0]
    if len(points) < 2:
        return None
    places = [math.log(max(size, 1)) for size, _ in points]
    logs = [math.log2(size + 2) for size, _ in points]
    return Growth(
        exponent=_slope(places, [math.log(value) for _, value in points]),
        factor=points[-1][1] / points[0][1],
        last_step=points[-1][1] / points[-2][1],
        log_exponent=_slope(places, [math.log(one) for one in logs]),
        log_last_step=logs[-1] / logs[-2],
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of the values do not exceed; NaN without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def _slope(places: Sequence[float], values: Sequence[float]) -> float:
    """Least squares; 0 where all places are one."""
    middle, level = math.fsum(places) / len(places), math.fsum(values) / len(values)
    spread = math.fsum((place - middle) ** 2 for place in places)
    if not spread:
        return 0.0
    return math.fsum((place - middle) * (value - level) for place, value in zip(places, values, strict=True)) / spread
