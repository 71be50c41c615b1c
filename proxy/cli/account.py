"""`farebox account`: owners of credits."""

from dataclasses import asdict

import click

from proxy.accounts.directory import Account
from proxy.accounts.topups import Credit, amount_from
from proxy.cli.context import json_option, print_fields, print_json, print_table, run_async, when, with_config
from proxy.cli.stores import open_stores
from proxy.config import Config


@click.group()
def account() -> None:
    """Accounts: each has one prepaid balance and any number of API keys. ACCOUNT is an id or a name."""


@account.command()
@click.argument("name")
@click.option("--credits", "credit_text", metavar="N", help="Begin with a top-up of this many credits.")
@json_option
@with_config
def create(config: Config, name: str, *, credit_text: str | None, as_json: bool) -> None:
    """Make an account; its balance begins at zero, or at --credits."""
    amount = None if credit_text is None else amount_from(credit_text)

    async def work() -> Account:
        async with open_stores(config) as stores:
            made = await stores.directory.create_account(name)
            if amount is not None:
                first = Credit(amount, f"first-{made.id}", actor="cli", reason="created with the account")
                await stores.topups.top_up(made.id, first)
            return made

    made = run_async(work())
    if as_json:
        print_json(asdict(made))
        return
    print_fields(_fields(made))
    click.echo(f"\nNext: farebox key create {made.id}")


@account.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most this many.")
@json_option
@with_config
def list_accounts(config: Config, *, limit: int, as_json: bool) -> None:
    """Accounts, newest first; with --json one object a line."""

    async def work() -> list[Account]:
        async with open_stores(config) as stores:
            return await stores.directory.accounts(limit=limit)

    found = run_async(work())
    if as_json:
        for one in found:
            print_json(asdict(one))
        return
    rows = [(one.id, one.name, one.status, when(one.created_at)) for one in found]
    print_table(
        ("ID", "NAME", "STATUS", "CREATED"), rows, empty="No accounts yet. Make one: farebox account create NAME"
    )


@account.command()
@click.argument("reference", metavar="ACCOUNT")
@json_option
@with_config
def show(config: Config, reference: str, *, as_json: bool) -> None:
    """One account."""

    async def work() -> Account:
        async with open_stores(config) as stores:
            return await stores.directory.account(reference)

    _print(run_async(work()), as_json=as_json)


@account.command()
@click.argument("reference", metavar="ACCOUNT")
@json_option
@with_config
def suspend(config: Config, reference: str, *, as_json: bool) -> None:
    """Refuse every key of the account from now on; calls that run end as they would."""

    async def work() -> Account:
        async with open_stores(config) as stores:
            return await stores.directory.suspend(reference)

    _print(run_async(work()), as_json=as_json)


@account.command()
@click.argument("reference", metavar="ACCOUNT")
@json_option
@with_config
def resume(config: Config, reference: str, *, as_json: bool) -> None:
    """End a suspension."""

    async def work() -> Account:
        async with open_stores(config) as stores:
            return await stores.directory.resume(reference)

    _print(run_async(work()), as_json=as_json)


def _print(shown: Account, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(shown))
    else:
        print_fields(_fields(shown))


def _fields(shown: Account) -> dict[str, object]:
    return {
        "id": shown.id,
        "name": shown.name,
        "status": shown.status,
        "limits": ", ".join(f"{kind} {ceiling}" for kind, ceiling in shown.limits.items()) or "none",
        "created": when(shown.created_at),
    }
