"""`python -m bench`: measures Farebox beside nginx and a bare aiohttp proxy, and judges it by its budgets."""

import sys
from dataclasses import replace

import click
from rich.console import Console
from rich.progress import Progress, TextColumn

from bench.budgets import judge
from bench.conditions import observe
from bench.measure import Plan, Results, measure
from bench.native import NoCompilerError
from bench.processes import divide_cores
from bench.report import budget_sheet, describe, remarks, sheets, show, write
from bench.scenarios import SCENARIOS, shortened
from bench.subjects import SUBJECTS

_ROUNDS = 3
_LOG_WIDTH = 140
_SCENARIO_NAMES = [scenario.name for scenario in SCENARIOS]


@click.command()
@click.option("--quick", is_flag=True, help="One round of half the time: a first look, not a result.")
@click.option("--rounds", type=click.IntRange(1, 20), help=f"How often each load is run (default {_ROUNDS}).")
@click.option("--subject", "subjects", multiple=True, type=click.Choice(list(SUBJECTS)), help="Only these subjects.")
@click.option("--scenario", "scenarios", multiple=True, type=click.Choice(_SCENARIO_NAMES), help="Only these loads.")
def main(*, quick: bool, rounds: int | None, subjects: tuple[str, ...], scenarios: tuple[str, ...]) -> None:
    """Measure every subject under every load and write a table to the terminal and to bench/results/."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_WIDTH)
    chosen = [scenario for scenario in SCENARIOS if not scenarios or scenario.name in scenarios]
    plan = Plan(
        subjects=[name for name in SUBJECTS if not subjects or name in subjects],
        scenarios=[shortened(scenario) for scenario in chosen] if quick else chosen,
        rounds=rounds or (1 if quick else _ROUNDS),
        cores=divide_cores(),
    )
    conditions = observe(plan.cores, plan.rounds, quick=quick)
    try:
        results = _measure_visibly(plan, console)
    except NoCompilerError as error:
        raise click.ClickException(str(error)) from error
    conditions = replace(conditions, versions=results.versions)
    verdicts = judge(results.rounds)
    made = [*sheets(results, plan.subjects), budget_sheet(verdicts)]
    said = remarks(results, verdicts)
    for line in describe(conditions):
        console.print(line, highlight=False)
    show(console, made, said)
    partial = bool(subjects or scenarios)
    suffix = f"{'-quick' if quick else ''}{'-partial' if partial else ''}{'-changed' if conditions.changed else ''}"
    console.print(f"written to {write(conditions, results, made, said, suffix).name} in bench/results", highlight=False)
    sys.exit(1 if results.failures else 0)


def _measure_visibly(plan: Plan, console: Console) -> Results:
    loads = sum(1 for number in range(plan.rounds) for _ in plan.pairs(number))
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[load]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=loads, load="starting")

        def on_load(number: int, subject: str, scenario: str) -> None:
            progress.update(task, advance=1, load=f"round {number + 1}: {scenario} on {subject}")

        return measure(plan, on_load)


if __name__ == "__main__":
    main()
