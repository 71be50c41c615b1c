"""`farebox import`: accounts, API keys and balances from CSV files.

The whole file is read and checked first, and what it would do is shown: nothing is changed before that was agreed to, nor where
a single line is wrong. Running the same file again changes nothing, and so a run that broke off is finished by repeating it.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from proxy.cli import import_accounts, import_balances, import_keys
from proxy.cli.context import (
    json_option,
    print_json,
    print_table,
    progress,
    run_async,
    stdin_is_terminal,
    with_config,
    yes_option,
)
from proxy.cli.csv_rows import CsvRow, Effect, Plan, Planned, read_rows, shown_mistakes
from proxy.cli.import_accounts import AccountImport
from proxy.cli.import_balances import BalanceImport
from proxy.cli.import_keys import KeyImport
from proxy.cli.stores import Stores, open_stores
from proxy.config import Config
from proxy.core.errors import FareboxError, InvalidRequest
from proxy.core.money import format_credits

_SHOWN = 20
_EFFECTS: dict[Effect, str] = {"create": "made", "change": "changed", "keep": "there already"}
_file = click.argument("file", type=click.Path(path_type=Path))
Planner = Callable[[Stores, Plan], Awaitable[Callable[[], None]]]


@click.group("import")
def import_group() -> None:
    """Accounts, keys and balances from CSV files: shown first, done when that is agreed to (or with --yes)."""


@import_group.command()
@_file
@yes_option
@json_option
@with_config
def accounts(config: Config, file: Path, *, yes: bool, as_json: bool) -> int:
    """Make accounts, and change those that are there already.

    Columns: name; and if you like id, markup, on_client_left, low_balance, metadata.ANYTHING, and every limit by its name
    (requests_per_minute, budget_month, ...). An empty cell leaves things as they are; the word none removes.
    """
    rows = read_rows(file, import_accounts.COLUMNS, import_accounts.REQUIRED, prefix=import_accounts.METADATA)

    async def planner(stores: Stores, plan: Plan) -> Callable[[], None]:
        await AccountImport(stores).plan(rows, plan)
        return lambda: None

    return _import(config, planner, yes=yes, as_json=as_json)


@import_group.command()
@_file
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A new file (mode 0600) for keys that are made.")
@yes_option
@json_option
@with_config
def keys(config: Config, file: Path, *, output: Path | None, yes: bool, as_json: bool) -> int:
    """Bring API keys: given ones, digests of them, or new ones.

    Columns: account; and key (sk-fb-..., sk_mg_...), or digest with prefix (of an installation with the same pepper), or neither:
    then a key is made under its name. And if you like name, kind, expires, models, paths, networks, scopes (lists with
    semicolons), and every limit by its name. Keys that are there already are left as they are.
    """
    rows = read_rows(file, import_keys.COLUMNS, import_keys.REQUIRED)

    async def planner(stores: Stores, plan: Plan) -> Callable[[], None]:
        importer = KeyImport(stores, output)
        await importer.plan(rows, plan)
        return importer.close

    return _import(config, planner, yes=yes, as_json=as_json)


@import_group.command()
@_file
@click.option("--batch", help="What rows without a key are known by; the file's name where it is not given.")
@yes_option
@json_option
@with_config
def balances(config: Config, file: Path, *, batch: str | None, yes: bool, as_json: bool) -> int:
    """Add credits to accounts, each row once for ever.

    Columns: account, credits (below zero takes); and if you like key (an idempotency key), kind (topup, adjustment), reason.
    """
    name = file.name if batch is None else batch
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise click.UsageError("--batch has 1 to 100 printable characters")
    rows: list[CsvRow] = read_rows(file, import_balances.COLUMNS, import_balances.REQUIRED)

    async def planner(stores: Stores, plan: Plan) -> Callable[[], None]:
        importer = BalanceImport(stores, name)
        await importer.plan(rows, plan)
        if not as_json and not plan.mistakes:
            click.echo(f"Credits to be added: {format_credits(importer.total_microcredits)}")
        return lambda: None

    return _import(config, planner, yes=yes, as_json=as_json)


def _import(config: Config, planner: Planner, *, yes: bool, as_json: bool) -> int:
    """Plans, shows, asks, does. The exit code: 0 also where it was only shown."""

    async def work() -> int:
        async with open_stores(config) as stores:
            plan = Plan()
            close = await planner(stores, plan)
            if plan.mistakes:
                raise InvalidRequest(f"Nothing was changed.\n{shown_mistakes(plan.mistakes)}")
            todo = [one for one in plan.planned if one.apply is not None]
            if not as_json:
                _show(plan)
            done = bool(todo) and _is_agreed(yes=yes, as_json=as_json)
            try:
                if done:
                    await _apply(todo)
            finally:
                close()
            _tell(plan, applied=done, as_json=as_json)
            return 0

    return run_async(work())


def _is_agreed(*, yes: bool, as_json: bool) -> bool:
    if yes or as_json or not stdin_is_terminal():
        return yes
    return click.confirm("Do it?")


async def _apply(todo: list[Planned]) -> None:
    with progress("rows", len(todo)) as shown:
        for number, one in enumerate(todo, 1):
            assert one.apply is not None
            try:
                await one.apply()
            except FareboxError as error:
                raise InvalidRequest(
                    f"line {one.line}: {error.message} {number - 1} of {len(todo)} row(s) before it are done. "
                    "Repeat the command when this is mended: what is done stays as it is."
                ) from error
            shown(number)


def _show(plan: Plan) -> None:
    todo = [one for one in plan.planned if one.effect != "keep"]
    rows = [(one.line, one.effect, one.subject, one.detail) for one in todo[:_SHOWN]]
    print_table(("LINE#", "WHAT", "FOR", "DETAIL"), rows, empty="There is nothing to do.")
    if len(todo) > _SHOWN:
        click.echo(f"and {len(todo) - _SHOWN} more")


def _tell(plan: Plan, *, applied: bool, as_json: bool) -> None:
    counts: dict[str, int] = {effect: plan.count(effect) for effect in _EFFECTS}
    if as_json:
        print_json({"applied": applied, **counts})
        return
    sums = ", ".join(f"{counts[effect]} {text}" for effect, text in _EFFECTS.items())
    if applied or counts["create"] + counts["change"] == 0:
        click.echo(f"Done: {sums}.")
    else:
        click.echo(f"Nothing was changed. It would be: {sums}. To do it, say --yes.")
