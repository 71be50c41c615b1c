"""What a run says: tables for the terminal, and the same in `results/` as Markdown for people and JSON for programs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from bench.budgets import LEVELS, Verdict
from bench.conditions import Conditions
from bench.figures import Results, Round, median
from bench.names import OURS_IN_PART, OURS_WITH_TWO_WORKERS, PART, PEERS
from bench.scenarios import SCENARIOS

RESULTS = Path(__file__).parent / "results"
_ABSENT = "-"
_SATURATED = 0.9
_DISTURBED = 0.1
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Column:
    """One figure of a scenario's table: its heading, its name, and how many decimals it is worth."""

    heading: str
    figure: str
    decimals: int = 1


@dataclass(frozen=True)
class Sheet:
    """A table as plain text cells, to be shown in either form."""

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


_CALL = (
    Column("CPU us a call", "cpu_us_a_call"),
    Column("calls/s", "calls_a_second", 0),
    Column("p50 ms", "latency_p50_ms", 2),
    Column("p99 ms", "latency_p99_ms", 2),
    Column("busy", "busy", 2),
)
_CHUNK = (Column("CPU us a chunk", "cpu_us_a_chunk", 2), Column("chunks/s", "chunks_a_second", 0))
_MEMORY = (
    Column("idle MB", "idle_mb"),
    Column("idle PSS MB", "idle_pss_mb"),
    Column("KB a stream", "kb_a_stream"),
    Column("MB after they were cut", "after_mb"),
    Column("pace kept", "pace", 2),
)
_FIRST_BYTE = (
    Column("first byte p50 ms", "first_byte_p50_ms", 3),
    Column("first byte p99 ms", "first_byte_p99_ms", 3),
)
_COLUMNS: dict[str, tuple[Column, ...]] = {
    "memory": _MEMORY,
    "memory5k": _MEMORY,
    "small": _CALL,
    "one": (*_FIRST_BYTE, Column("CPU us a call", "cpu_us_a_call")),
    "one-stream": _FIRST_BYTE,
    "flat": (*_CHUNK, Column("busy", "busy", 2)),
    "paced": (
        *_CHUNK,
        Column("pace kept", "pace", 3),
        Column("late p50 ms", "lateness_p50_ms", 2),
        Column("late p99 ms", "lateness_p99_ms", 2),
        Column("late max ms", "lateness_max_ms", 1),
    ),
    "prompt100k": _CALL,
    "prompt": _CALL,
    "small-tls": _CALL,
    "flat-tls": (*_CHUNK, Column("busy", "busy", 2)),
}


def sheets(results: Results, subjects: Sequence[str]) -> list[Sheet]:
    """Return the table of subjects and one table a scenario, a row a subject, medians over the rounds."""
    made = [_subject_sheet(results, subjects)]
    for scenario in SCENARIOS:
        columns = _COLUMNS[scenario.name]
        rows = []
        for subject in subjects:
            values = [median(results.rounds, subject, scenario.name, column.figure) for column in columns]
            if any(value is not None for value in values):
                cells = (_number(value, column.decimals) for value, column in zip(values, columns, strict=True))
                rows.append((subject, *cells))
            elif any((subject, scenario.name) in one.failures for one in results.rounds):
                said = "did not stand it" if subject in PEERS else "FAILED"
                rows.append((subject, said, *(_ABSENT for _ in columns[1:])))
        if rows:
            made.append(Sheet(scenario.title, ("subject", *(column.heading for column in columns)), rows))
    beside = _beside_sheet(results.rounds)
    return [*made, beside] if beside.rows else made


def _subject_sheet(results: Results, subjects: Sequence[str]) -> Sheet:
    """Who was measured and how their answers were checked, or why they were not."""
    rows = []
    for subject in subjects:
        if subject in results.unavailable:
            reason = " ".join(results.unavailable[subject].split())
            rows.append((subject, _ABSENT, f"not measured: {reason}"))
            continue
        checked = "status 200, complete, every piece of text in order" if subject in results.rewriting else "every byte"
        rows.append((subject, checked, "; ".join(results.notes.get(subject, ())) or _ABSENT))
    return Sheet("subjects", ("subject", "answers checked", "remark"), rows)


def _beside_sheet(rounds: Sequence[Round]) -> Sheet:
    """Processes that serve a subject outside its workers, and the bench's own two, a small call at 64 clients."""
    roles: dict[tuple[str, str], None] = {}
    for one in rounds:
        for (subject, scenario), figures in one.figures.items():
            if scenario == "small":
                named = (name.removesuffix("_us_a_call") for name in figures if name.endswith("_us_a_call"))
                roles |= {(subject, role): None for role in named if role != "cpu"}
    rows = [
        (subject, role, _number(median(rounds, subject, "small", f"{role}_us_a_call"), 1))
        for subject, role in sorted(roles)
    ]
    return Sheet("beside the subject, small call, 64 clients", ("subject", "process", "CPU us a call"), rows)


def budget_sheet(verdicts: Sequence[Verdict]) -> Sheet:
    """Return the budgets, each with its value and, per level, whether it is met."""
    rows = []
    for verdict in verdicts:
        budget = verdict.budget
        sign = ">=" if budget.at_least else "<="
        if verdict.value is None or verdict.met is None:
            rows.append((budget.title, "not measured", *(f"({sign} {bound:g})" for bound in budget.bounds)))
            continue
        levels = (
            f"{'met' if met else 'MISSED'} ({sign} {bound:g})"
            for met, bound in zip(verdict.met, budget.bounds, strict=True)
        )
        rows.append((budget.title, f"{verdict.value:,.2f} {budget.unit}", *levels))
    return Sheet("budgets of Farebox, full metering on", ("figure", "measured", *LEVELS), rows)


def remarks(results: Results, verdicts: Sequence[Verdict]) -> list[str]:
    """Return in words what the tables cannot say: what is missing, what failed, what bounds a figure."""
    said = [f"FAILED {failure}" for failure in results.failures]
    said += [f"did not stand the load: {overload}" for overload in results.overloads]
    measured = dict.fromkeys(subject for one in results.rounds for subject, _ in one.figures)
    for name in measured:
        busy = median(results.rounds, name, "small", "busy")
        in_part = name == OURS_IN_PART or (name == OURS_WITH_TWO_WORKERS and OURS_IN_PART in measured)
        if busy is not None and busy < _SATURATED * (PART if in_part else 1):
            said.append(f"{name}: its core was only {busy:.0%} busy with small calls; something else bounded calls/s")
    foreign = [figures["foreign"] for one in results.rounds for figures in one.figures.values() if "foreign" in figures]
    if foreign and max(foreign) > _DISTURBED:
        share = sum(value > _DISTURBED for value in foreign) / len(foreign)
        said.append(
            f"{share:.0%} of the loads were DISTURBED: other work used more than {_DISTURBED:.0%} of a core during them "
            f"(up to {max(foreign):.0%}). Rates and tails are worse than they would be alone, and ratios less certain"
        )
    said += [
        f"{verdict.budget.title}: {verdict.budget.unmeasured}"
        for verdict in verdicts
        if verdict.value is None and verdict.budget.unmeasured
    ]
    return said


def show(console: Console, made: Sequence[Sheet], said: Sequence[str]) -> None:
    """Print the tables and the remarks."""
    for sheet in made:
        table = Table(*sheet.headings)
        for column in table.columns[1:]:
            column.justify = "right"
        for row in sheet.rows:
            table.add_row(*(_coloured(cell) for cell in row))
        console.print(f"\n[bold]{sheet.title}[/bold]", table, sep="\n")
    for remark in said:
        console.print(f"- {remark}", markup=False, highlight=False)


def write(conditions: Conditions, results: Results, made: Sequence[Sheet], said: Sequence[str], suffix: str) -> Path:
    """Write `<date>-<commit><suffix>.json` and `.md`; return the path of the latter."""
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"{conditions.date}-{conditions.commit}{suffix}"
    rounds = [
        {
            "figures": _nested(one.figures, lambda figures: {name: round(value, 4) for name, value in figures.items()}),
            "failures": _nested(one.failures, str),
        }
        for one in results.rounds
    ]
    document = {
        "conditions": conditions.as_json(),
        "tables": [{"title": sheet.title, "headings": sheet.headings, "rows": sheet.rows} for sheet in made],
        "remarks": list(said),
        "rounds": rounds,
    }
    stem.with_name(stem.name + ".json").write_text(json.dumps(document, indent=1) + "\n")
    page = stem.with_name(stem.name + ".md")
    page.write_text(_markdown(conditions, made, said))
    return page


def describe(conditions: Conditions) -> list[str]:
    """Return the conditions as lines of text."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(conditions.versions.items()))
    busy = ", ".join(f"{share:.0%}" for share in conditions.others_busy)
    manner = f"{conditions.rounds} rounds{', --quick: half the time a load' if conditions.quick else ''}"
    return [
        f"{conditions.date}, commit {conditions.commit}{' with uncommitted changes' if conditions.changed else ''}, {manner}",
        f"{conditions.cpu}, {conditions.cores} cores, {conditions.system}, Linux {conditions.kernel}",
        f"Python {conditions.python}, {versions}",
        f"subject on CPU {conditions.subject_cpu}, mock upstream, load and all else on CPU {', '.join(map(str, conditions.rest_cpus))}",
        f"cores busy with other work just before: {busy}",
    ]


def _markdown(conditions: Conditions, made: Sequence[Sheet], said: Sequence[str]) -> str:
    lines = [f"# Bench of {conditions.date}, commit {conditions.commit}", ""]
    lines += [f"- {line}" for line in describe(conditions)]
    for sheet in made:
        lines += ["", f"## {sheet.title}", "", "| " + " | ".join(sheet.headings) + " |"]
        lines.append("|" + " --- |" * len(sheet.headings))
        lines += ["| " + " | ".join(row) + " |" for row in sheet.rows]
    if said:
        lines += ["", "## Remarks", "", *(f"- {' '.join(remark.split())}" for remark in said)]
    return "\n".join(lines) + "\n"


def _nested(by_pair: dict[tuple[str, str], _Value], shape: Callable[[_Value], object]) -> dict[str, dict[str, object]]:
    nested: dict[str, dict[str, object]] = {}
    for (subject, scenario), value in by_pair.items():
        nested.setdefault(subject, {})[scenario] = shape(value)
    return nested


def _number(value: float | None, decimals: int) -> str:
    return _ABSENT if value is None else f"{value:,.{decimals}f}"


def _coloured(cell: str) -> str:
    if cell.startswith("met ("):
        return f"[green]{cell}[/green]"
    return f"[red]{cell}[/red]" if cell.startswith("MISSED") else cell
