"""Stalls as a table. Pure."""

from collections.abc import Sequence

from bench.report import Sheet
from bench.scale_fit import percentile
from bench.stalls_bed import Seen

BOUND_MS = 10.0
_HEADINGS = (
    "under",
    "longest stall ms",
    "99.9 % of looks below ms",
    "stalls above 10 ms",
    "longest but for waiting for a core, ms",
    "above 10 ms",
    "longest work in a row, CPU ms",
    "above 10 ms",
    "bare timer: longest ms",
    "bare: above 10 ms",
    "longest collection, CPU ms",
    "verdict",
)


def sheet(seen: Sequence[tuple[str, Seen]]) -> Sheet:
    """Return the table of all conditions."""
    return Sheet("Stalls", _HEADINGS, [lines_of(title, one) for title, one in seen])


def lines_of(title: str, one: Seen) -> tuple[str, ...]:
    """Return one condition's cells."""
    return (
        title,
        f"{max(one.late_ms, default=0.0):.1f}",
        f"{percentile(one.late_ms, 0.999):.1f}",
        str(_above(one.late_ms, BOUND_MS)),
        f"{max(one.held_up_ms, default=0.0):.1f}",
        str(_above(one.held_up_ms, BOUND_MS)),
        f"{max(one.worked_ms, default=0.0):.1f}",
        str(_above(one.worked_ms, BOUND_MS)),
        f"{max(one.bare_ms, default=0.0):.1f}",
        str(_above(one.bare_ms, BOUND_MS)),
        f"{max(ms for _, ms in one.collections_ms):.1f}" if one.collections_ms else "-",
        verdict(one),
    )


def verdict(one: Seen) -> str:
    """`within 10 ms`; `no core` where the loop was late only since it had none, or the whole machine stood; else `OVER 10 ms`."""
    if _above(one.worked_ms, BOUND_MS):
        return "OVER 10 ms"
    held_up = _above(one.held_up_ms, BOUND_MS)
    # A machine that stands while the loop sleeps is on no account; the bare timer sees it.
    stood = held_up <= _above(one.bare_ms, BOUND_MS) and max(one.held_up_ms, default=0.0) <= max(
        one.bare_ms, default=0.0
    )
    if held_up and not stood:
        return "OVER 10 ms (waiting)"
    return "no core" if _above(one.late_ms, BOUND_MS) else "within 10 ms"


def _above(values: Sequence[float], bound: float) -> int:
    return sum(1 for value in values if value > bound)
