"""The run as a picture: CPU of a small call, a bar a subject, on a logarithmic scale. Pure; returns SVG text.

Bars are medians over the rounds, the factors beside them medians of each round's ratio to nginx. Colours are told by name
too, and the text takes the reader's font, so that the picture is legible on light and dark pages.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.figures import Round, median, median_ratio
from bench.names import OURS, OURS_IN_PART, OURS_WITH_TWO_WORKERS, YARDSTICK

_SCENARIO, _FIGURE = "small", "cpu_us_a_call"
_LEFT, _BARS, _RIGHT = 150, 430, 170
_TOP, _ROW, _BAR, _BOTTOM = 58, 30, 18, 34
_INK, _FAINT, _PLAIN, _OWN = "#57606a", "#d0d7de", "#8c959f", "#0969da"
_FONT = "font-family='system-ui, sans-serif' font-size='13'"
_HALO = " stroke='#ffffff' stroke-width='4' paint-order='stroke'"  # so that no line runs through a figure
_LEFT_OUT = {OURS_IN_PART, OURS_WITH_TWO_WORKERS}  # less than a core each: their cost a call is no subject's own


@dataclass(frozen=True)
class Bar:
    """A subject, its microseconds a call, and how many times nginx's that is (None where nginx was not measured)."""

    subject: str
    us: float
    ratio: float | None


def bars(rounds: Sequence[Round], subjects: Sequence[str]) -> list[Bar]:
    """Return a bar for each subject that was measured, the cheapest first."""
    found = []
    for subject in subjects:
        us = median(rounds, subject, _SCENARIO, _FIGURE)
        if us and subject not in _LEFT_OUT:
            found.append(Bar(subject, us, median_ratio(rounds, _SCENARIO, _FIGURE, (subject, YARDSTICK))))
    return sorted(found, key=lambda bar: bar.us)


def draw(rounds: Sequence[Round], subjects: Sequence[str]) -> str | None:
    """Return the picture, None where fewer than two subjects have something to compare."""
    found = bars(rounds, subjects)
    if len(found) < 2:
        return None
    low = math.floor(math.log10(found[0].us))
    high = max(math.ceil(math.log10(found[-1].us)), low + 1)
    width, bottom = _LEFT + _BARS + _RIGHT, _TOP + _ROW * len(found)

    def x(us: float) -> float:
        return _LEFT + _BARS * (math.log10(us) - low) / (high - low)

    title = "CPU time of one small call, microseconds (logarithmic scale; less is better)"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {bottom + _BOTTOM}' role='img' {_FONT}>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{width}' height='{bottom + _BOTTOM}' fill='#ffffff'/>",
        f"<text x='16' y='26' fill='{_INK}' font-size='15'>{escape(title)}</text>",
    ]
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(f"<line x1='{at:.1f}' y1='{_TOP - 8}' x2='{at:.1f}' y2='{bottom}' stroke='{_FAINT}'/>")
        parts.append(f"<text x='{at:.1f}' y='{bottom + 20}' fill='{_INK}' text-anchor='middle'>{10**power:,}</text>")
    for row, bar in enumerate(found):
        parts += _row(bar, _TOP + _ROW * row, x(bar.us))
    return "\n".join([*parts, "</svg>", ""])


def _row(bar: Bar, top: int, end: float) -> list[str]:
    own = bar.subject == OURS
    middle = top + _BAR / 2 + 4.5
    factor = ""
    if bar.ratio is not None and bar.subject != YARDSTICK:
        factor = f" ({bar.ratio:,.{0 if bar.ratio >= 100 else 1}f} x nginx)"
    weight = " font-weight='bold'" if own else ""
    label = f"{bar.us:,.0f} us{factor}"
    return [
        f"<text x='{_LEFT - 10}' y='{middle}' fill='{_INK}' text-anchor='end'{weight}>{escape(bar.subject)}</text>",
        f"<rect x='{_LEFT}' y='{top}' width='{max(end - _LEFT, 1):.1f}' height='{_BAR}' rx='2' fill='{_OWN if own else _PLAIN}'/>",
        f"<text x='{end + 8:.1f}' y='{middle}' fill='{_INK}'{_HALO}{weight}>{escape(label)}</text>",
    ]
