"""`python -m bench`: measures Farebox beside nginx, a bare aiohttp proxy and gateways of others, and judges it by its budgets."""

import sys
from collections.abc import Sequence
from dataclasses import replace

import click
from rich.console import Console
from rich.progress import Progress, TextColumn

from bench.budgets import judge
from bench.conditions import observe
from bench.figures import Results
from bench.measure import Plan, measure
from bench.names import PEERS as PEER_NAMES
from bench.native import NoCompilerError
from bench.plot import draw
from bench.processes import SubjectUnavailableError, divide_cores
from bench.report import budget_sheet, describe, remarks, sheets, show, write
from bench.scenarios import SCENARIOS, shortened
from bench.subjects import RECIPES, SUBJECTS
from bench.subjects.peers.install import install

_ROUNDS = 3
_LOG_WIDTH = 140
_SUBJECT_NAMES = [*SUBJECTS, *PEER_NAMES]
_SCENARIO_NAMES = [scenario.name for scenario in SCENARIOS]


@click.command()
@click.option("--quick", is_flag=True, help="One round of half the time: a first look, not a result.")
@click.option("--rounds", type=click.IntRange(1, 20), help=f"How often each load is run (default {_ROUNDS}).")
@click.option("--subject", "subjects", multiple=True, type=click.Choice(_SUBJECT_NAMES), help="Only these subjects.")
@click.option("--scenario", "scenarios", multiple=True, type=click.Choice(_SCENARIO_NAMES), help="Only these loads.")
@click.option("--peers", is_flag=True, help="Gateways of others too, each installed on its first use.")
def main(
    *, quick: bool, rounds: int | None, subjects: tuple[str, ...], scenarios: tuple[str, ...], peers: bool
) -> None:
    """Measure every subject under every load and write a table to the terminal and to bench/results/."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_WIDTH)
    chosen = [scenario for scenario in SCENARIOS if not scenarios or scenario.name in scenarios]
    names = subjects or (*SUBJECTS, *(PEER_NAMES if peers else ()))
    missing = _install([name for name in PEER_NAMES if name in names], console)
    plan = Plan(
        subjects=[name for name in _SUBJECT_NAMES if name in names and name not in missing],
        scenarios=[shortened(scenario) for scenario in chosen] if quick else chosen,
        rounds=rounds or (1 if quick else _ROUNDS),
        cores=divide_cores(),
    )
    conditions = observe(plan.cores, plan.rounds, quick=quick)
    try:
        results = _measure_visibly(plan, console)
    except NoCompilerError as error:
        raise click.ClickException(str(error)) from error
    results.unavailable |= missing
    conditions = replace(conditions, versions=results.versions)
    verdicts = judge(results.rounds)
    made = [*sheets(results, [*plan.subjects, *missing]), budget_sheet(verdicts)]
    said = remarks(results, verdicts)
    for line in describe(conditions):
        console.print(line, highlight=False)
    show(console, made, said)
    partial = bool(subjects or scenarios)
    suffix = f"{'-quick' if quick else ''}{'-partial' if partial else ''}{'-changed' if conditions.changed else ''}"
    page = write(conditions, results, made, said, suffix)
    if picture := draw(results.rounds, plan.subjects):
        page.with_suffix(".svg").write_text(picture)
    console.print(f"written to {page.name} in bench/results", highlight=False)
    sys.exit(1 if results.failures else 0)


def _install(peers: Sequence[str], console: Console) -> dict[str, str]:
    """Install these gateways where they are not yet; return why the others cannot be measured."""
    missing = {}
    for name in peers:
        recipe = RECIPES[name]
        if isinstance(recipe, str):
            missing[name] = recipe
            continue
        try:
            install(recipe, lambda text: console.print(text, highlight=False))
        except SubjectUnavailableError as error:
            missing[name] = str(error)
    return missing


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
