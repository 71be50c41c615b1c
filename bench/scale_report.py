"""The curves as tables and sentences: a row a size, how each figure grows, what one Redis carries. Pure but for `write`."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.conditions import Conditions
from bench.figures import Figures
from bench.report import RESULTS, Sheet, describe
from bench.scale_fit import Growth, growth

# What a figure is called, and whether a call waits for it (the others are done a few times a second, or once in a while).
_TITLES = {
    "call_us": "Redis CPU us a call (hold and settle)",
    "hold_p50_us": "hold p50 us",
    "hold_p99_us": "hold p99 us",
    "encode_us": "encoding both us",
    "record_us": "Redis CPU us a recorded event",
    "lag_us": "Redis CPU us a look at the lag",
    "epoch_us": "Redis CPU us a look at the epoch",
    "sweep_us": "Redis CPU us a sweep of the reaper",
    "poll_us": "Redis CPU us a poll of an idle recorder",
    "known_us": "CPU us, key known",
    "mixed_us": "CPU us, any key of all",
    "read_us": "CPU us, key read from SQL",
    "read_p50_us": "read p50 us",
    "read_p99_us": "read p99 us",
}
_MEMORY_TITLES = {
    "account_bytes": "bytes an account",
    "key_bytes": "bytes a key with two limits",
    "hold_bytes": "bytes an open hold",
    "record_bytes": "bytes an unread event",
    "ended_bytes": "bytes an ended hold",
    "used_mb": "MB in all",
}
# Why a figure may grow faster than a logarithm over these sizes, where that is known.
_WHY = {
    (
        "accounts",
        "encode_us",
    ): "a worker keeps the keys of 50,000 accounts at hand; for another one it works them out anew",
    (
        "keys",
        "mixed_us",
    ): "a worker remembers 10,000 keys; beyond, a look-up is a read from SQL, whose own cost is beside it",
    ("holds", "sweep_us"): "a sweep looks at 1,000 deadlines at most, every 15 s",
    ("partitions", "lag_us"): "one command a partition; each worker looks every 2 s",
    ("partitions", "epoch_us"): "one command a partition; each process looks every second",
    ("partitions", "record_us"): "one acknowledgement a partition and commit, and one trim a partition",
    ("partitions", "poll_us"): "one stream a partition; an idle recorder polls every 0.1 s",
    ("partitions", "sweep_us"): "one script a partition, every 15 s",
}


@dataclass(frozen=True)
class Measured:
    """One curve: medians by size, ascending, and every round's figures."""

    name: str
    title: str
    medians: dict[int, Figures]
    rounds: dict[int, list[Figures]]

    def values(self, figure: str) -> tuple[list[int], list[float]]:
        """Return the sizes at which a figure was measured, and its values."""
        found = [(size, figures[figure]) for size, figures in self.medians.items() if figure in figures]
        return [size for size, _ in found], [value for _, value in found]

    def growths(self) -> Iterator[tuple[str, Growth]]:
        """Yield how each figure grows."""
        for figure in (*_TITLES, *_MEMORY_TITLES):
            one = growth(*self.values(figure)) if figure != "used_mb" else None
            if one:
                yield figure, one


def sheets(measured: Sequence[Measured]) -> list[Sheet]:
    """Return a table of times a curve, and one of memory for all curves."""
    made = [_sheet(one) for one in measured]
    rows = [
        (f"{size:,} {one.name}", *(_number(figures.get(figure)) for figure in _MEMORY_TITLES))
        for one in measured
        for size, figures in one.medians.items()
        if any(name.endswith("_bytes") for name in figures)
    ]
    if rows:
        made.append(Sheet("Memory of Redis", ("filled with", *_MEMORY_TITLES.values()), rows))
    return made


def _sheet(one: Measured) -> Sheet:
    names = [name for name in _TITLES if any(name in figures for figures in one.medians.values())]
    rows = [(f"{size:,}", *(_number(figures.get(name)) for name in names)) for size, figures in one.medians.items()]
    grown = dict(one.growths())
    rows.append(("exponent", *(f"{grown[name].exponent:.3f}" if name in grown else "-" for name in names)))
    some = next(iter(grown.values()), None)
    rows.append(("a logarithm's", *(f"{some.log_exponent:.3f}" if some and name in grown else "-" for name in names)))
    rows.append(("grows", *(grown[name].verdict if name in grown else "-" for name in names)))
    return Sheet(f"By {one.title}", (one.name, *(_TITLES[name] for name in names)), rows)


def findings(measured: Sequence[Measured]) -> list[str]:
    """Return a sentence for each figure that grows faster than a logarithm, or one that none does."""
    found = []
    for one in measured:
        for figure, how in one.growths():
            if not how.beyond_logarithm:
                continue
            sizes, values = one.values(figure)
            title = _TITLES.get(figure) or _MEMORY_TITLES[figure]
            found.append(
                f"MORE than a logarithm: {title} against {one.name}: {_number(values[0])} at {sizes[0]:,}, "
                f"{_number(values[-2])} at {sizes[-2]:,}, {_number(values[-1])} at {sizes[-1]:,} "
                f"(exponent {how.exponent:.2f}, a logarithm's {how.log_exponent:.2f})" + _why(one.name, figure)
            )
    return found or ["Nothing grows faster than a logarithm."]


def _why(curve: str, figure: str) -> str:
    known = _WHY.get((curve, figure))
    return f": {known}" if known else ""


def carries(measured: Sequence[Measured]) -> list[str]:
    """Return what one Redis on one core carries, from the largest sizes that were measured."""
    said = []
    costs = [figures["call_us"] for one in measured for figures in one.medians.values() if "call_us" in figures]
    if costs:
        least, most = min(costs), max(costs)
        said.append(
            f"One core of Redis does the scripts of {1e6 / most:,.0f} (the dearest crowd here: {most:.1f} us a call) "
            f"to {1e6 / least:,.0f} calls a second ({least:.1f} us)."
        )
    for name, what in (
        ("account", "accounts"),
        ("key", "keys with two limits"),
        ("hold", "open holds"),
        ("record", "unread events"),
        ("ended", "ended holds (kept for ten minutes)"),
    ):
        sizes = [
            (size, figures[f"{name}_bytes"])
            for one in measured
            for size, figures in one.medians.items()
            if f"{name}_bytes" in figures
        ]
        if sizes:
            size, each = max(sizes)
            said.append(f"{what}: {each:,.0f} bytes each at {size:,}, so {1024**3 / each:,.0f} in a GB.")
    return said


def write(
    conditions: Conditions, measured: Sequence[Measured], made: Sequence[Sheet], found: Sequence[str], suffix: str
) -> Path:
    """Write `scale-<date>-<commit><suffix>.json` and `.md`; return the path of the latter."""
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"scale-{conditions.date}-{conditions.commit}{suffix}"
    document = {
        "conditions": conditions.as_json(),
        "curves": {one.name: {"medians": one.medians, "rounds": one.rounds} for one in measured},
        "remarks": list(found),
    }
    stem.with_name(stem.name + ".json").write_text(json.dumps(document, indent=1) + "\n")
    lines = [
        f"# Scale, {conditions.date}, commit {conditions.commit}{', fewer sizes (--quick)' if conditions.quick else ''}",
        "",
    ]
    lines += [f"- {line}" for line in describe(replace(conditions, quick=False))]
    for sheet in made:
        lines += [
            "",
            f"## {sheet.title}",
            "",
            f"| {' | '.join(sheet.headings)} |",
            f"|{' --- |' * len(sheet.headings)}",
        ]
        lines += [f"| {' | '.join(row)} |" for row in sheet.rows]
    lines += ["", "## What this says", "", *(f"- {sentence}" for sentence in found)]
    page = stem.with_name(stem.name + ".md")
    page.write_text("\n".join(lines) + "\n")
    return page


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"
