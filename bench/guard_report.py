"""What the guard found beside what is stored, as a table and sentences. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from rich.table import Table

WARN_ABOVE = 0.10
_ROUNDING = 1e-9
_WORTH_A_LINE = 0.01  # of all functions a call enters
_MOST_LINES = 12
_NAMED = 0.5  # functions that half of the calls enter are kept by name


@dataclass(frozen=True)
class Counts:
    """Functions a call: entered in Python, called in C; `names` are the same by name."""

    python: float
    c: float
    names: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """Figures of one run, None where they could not be measured.

    `counts` by version of Python, `instructions` a call by its build: others count otherwise.
    """

    nginx_us: float | None = None
    farebox_us: float | None = None
    ratio: float | None = None
    counts: Mapping[str, Counts] = field(default_factory=dict)
    instructions: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As guard.json has it."""
        return {
            "ratio": self.ratio,
            "nginx_us": self.nginx_us,
            "farebox_us": self.farebox_us,
            "instructions": dict(self.instructions),
            "counts": {
                version: {"python": one.python, "c": one.c, "names": dict(one.names)}
                for version, one in self.counts.items()
            },
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """What `as_json` wrote."""
        counts = {version: Counts(**one) for version, one in document["counts"].items()}
        times = (document["nginx_us"], document["farebox_us"], document["ratio"])
        return cls(*times, counts, document.get("instructions", {}))

    def over(self, older: "Found") -> "Found":
        """These figures, and the older ones for what was not measured."""
        best = self if self.ratio is not None else older
        counts, instructions = {**older.counts, **self.counts}, {**older.instructions, **self.instructions}
        return Found(best.nginx_us, best.farebox_us, best.ratio, counts, instructions)


def per_call(report: Mapping[str, Mapping[str, int]], calls: int) -> Counts:
    """A worker's counts over so many calls, as numbers a call."""
    names = {
        f"{kind} {name}": round(times / calls, 2)
        for kind in ("python", "c")
        for name, times in report[kind].items()
        if times >= _NAMED * calls
    }
    return Counts(round(sum(report["python"].values()) / calls, 1), round(sum(report["c"].values()) / calls, 1), names)


def table(found: Found, stored: Found) -> tuple[Table, list[str]]:
    """The table, and what there is to warn of."""
    shown = Table("a small call costs", "now", "stored", "change", title="Guard")
    said: list[str] = []
    shown.add_row("CPU us: nginx, Farebox", _pair(found), _pair(stored), "")
    shown.add_row("CPU over nginx's, 64 clients", *_compared(found.ratio, stored.ratio, 2))
    for what, mine, theirs, decimals in _counts(found, stored):
        shown.add_row(what, *_compared(mine, theirs, decimals))
        if theirs and mine / theirs - 1 > WARN_ABOVE + _ROUNDING:
            said.append(f"WARNING: {mine / theirs - 1:+.0%} {what} a call: {mine:,.1f}, stored are {theirs:,.1f}")
    said += [
        f"nothing is stored for Python {version} (python -m bench.guard --store keeps this run)"
        for version in {**found.counts, **found.instructions}
        if version not in {**stored.counts, **stored.instructions}
    ]
    return shown, said


def _counts(found: Found, stored: Found) -> Iterator[tuple[str, float, float | None, int]]:
    """What is counted, now and as stored, and with how many decimals."""
    for version, now in found.counts.items():
        then = stored.counts.get(version)
        yield f"Python functions entered (Python {version})", now.python, then.python if then else None, 1
        yield f"C functions called by them (Python {version})", now.c, then.c if then else None, 1
    for version, mine in found.instructions.items():
        yield f"instructions (Python {version})", mine, stored.instructions.get(version), 0


def differences(found: Found, stored: Found) -> Iterator[str]:
    """Yield which functions make the change, where there is one worth a line; the largest first."""
    for version, now in found.counts.items():
        then = stored.counts.get(version)
        if then is None or abs(now.python + now.c - then.python - then.c) < _WORTH_A_LINE * (then.python + then.c):
            continue
        changes = {name: now.names.get(name, 0.0) - then.names.get(name, 0.0) for name in {*now.names, *then.names}}
        largest = sorted(changes.items(), key=lambda item: (-abs(item[1]), item[0]))[:_MOST_LINES]
        yield from (f"{change:+.1f} a call: {name}" for name, change in largest if abs(change) >= _NAMED)


def _pair(found: Found) -> str:
    if found.nginx_us is None or found.farebox_us is None:
        return "-"
    return f"{found.nginx_us:.1f}, {found.farebox_us:.1f}"


def _compared(now: float | None, then: float | None, decimals: int) -> tuple[str, str, str]:
    change = f"{now / then - 1:+.1%}" if now is not None and then else "-"
    return (*("-" if value is None else f"{value:,.{decimals}f}" for value in (now, then)), change)
