"""`farebox key`: credentials of an account. A key is shown once, when it is made."""

from dataclasses import asdict

import click

from proxy.accounts.directory import ApiKey, KeySettings, NewKey
from proxy.accounts.keys import MANAGER, USER
from proxy.cli.context import json_option, print_fields, print_json, print_table, run_async, when, with_config
from proxy.cli.stores import open_stores
from proxy.config import Config

_SPEEDS = ("requests_per_minute", "tokens_per_minute", "concurrent")
_BUDGETS = ("budget_day", "budget_week", "budget_month", "budget_total")


@click.group()
def key() -> None:
    """API keys: made, listed, revoked, rotated."""


@key.command()
@click.argument("reference", metavar="ACCOUNT")
@click.option("--name", default="", help="What the key is for.")
@click.option("--manager", is_flag=True, help="A key for the query and admin APIs (sk_mg_...) instead of calls.")
@click.option(
    "--model", "models", multiple=True, metavar="NAME", help="Allow this model only (repeatable; a trailing * matches)."
)
@click.option("--requests-per-minute", type=click.IntRange(1), help="Speed limit of this key.")
@click.option("--tokens-per-minute", type=click.IntRange(1), help="Speed limit of this key.")
@click.option("--concurrent", type=click.IntRange(1), help="At most this many calls at once.")
@click.option("--budget-day", metavar="CREDITS", help="At most this many credits a UTC day.")
@click.option("--budget-week", metavar="CREDITS", help="At most this many credits an ISO week.")
@click.option("--budget-month", metavar="CREDITS", help="At most this many credits a month.")
@click.option("--budget-total", metavar="CREDITS", help="At most this many credits in all.")
@json_option
@with_config
def create(
    config: Config,
    reference: str,
    *,
    name: str,
    manager: bool,
    models: tuple[str, ...],
    as_json: bool,
    **limits: object,
) -> None:
    """Make a key and show it, for the only time."""
    settings = KeySettings(
        kind=MANAGER if manager else USER,
        name=name,
        limits={kind: limits[kind] for kind in (*_SPEEDS, *_BUDGETS) if limits[kind] is not None} or None,
        models=models or None,
    )

    async def work() -> NewKey:
        async with open_stores(config) as stores:
            return await stores.directory.create_key(reference, settings)

    _print_new(run_async(work()), as_json=as_json)


@key.command("list")
@click.argument("reference", metavar="ACCOUNT")
@json_option
@with_config
def list_keys(config: Config, reference: str, *, as_json: bool) -> None:
    """An account's keys, ended ones too, newest first; with --json one object a line."""

    async def work() -> list[ApiKey]:
        async with open_stores(config) as stores:
            return await stores.directory.keys(reference)

    found = run_async(work())
    if as_json:
        for one in found:
            print_json(asdict(one))
        return
    rows = [(one.id, f"{one.prefix}...", one.kind, one.name, one.status, when(one.created_at)) for one in found]
    columns = ("ID", "KEY", "KIND", "NAME", "STATUS", "CREATED")
    print_table(columns, rows, empty=f"No keys yet. Make one: farebox key create {reference}")


@key.command()
@click.argument("key_id", metavar="KEY_ID")
@json_option
@with_config
def revoke(config: Config, key_id: str, *, as_json: bool) -> None:
    """End a key for ever: its next call is refused."""

    async def work() -> ApiKey:
        async with open_stores(config) as stores:
            return await stores.directory.revoke_key(key_id)

    ended = run_async(work())
    if as_json:
        print_json(asdict(ended))
    else:
        click.echo(f"{ended.id} ({ended.prefix}...) is revoked.")


@key.command()
@click.argument("key_id", metavar="KEY_ID")
@json_option
@with_config
def rotate(config: Config, key_id: str, *, as_json: bool) -> None:
    """Replace a key by a new one with the same settings; the old one ends at once."""

    async def work() -> NewKey:
        async with open_stores(config) as stores:
            return await stores.directory.rotate_key(key_id)

    _print_new(run_async(work()), as_json=as_json)


def _print_new(made: NewKey, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": made.api_key.id, "key": made.key, **asdict(made.api_key)})
        return
    print_fields({"id": made.api_key.id, "account": made.api_key.account_id, "key": made.key})
    click.echo("\nThis is the only time the key is shown.")
