"""`farebox account`: owners of credits."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict

import click

from proxy.accounts.closing import close as close_for_ever
from proxy.accounts.directory import ORDERS, STATUSES, Account, AccountSearch
from proxy.accounts.limits import PARTINGS
from proxy.accounts.topups import Credit, amount_from
from proxy.cli.context import (
    confirm,
    json_option,
    print_fields,
    print_json,
    print_table,
    run_async,
    when,
    with_config,
    yes_option,
)
from proxy.cli.settings import NONE, changed_limits, limit_options, pairs_from, unless_none
from proxy.cli.stores import Stores, actor_here, open_stores
from proxy.config import Config
from proxy.core.money import format_credits, parse_scaled
from proxy.core.pricing import MARKUP_ONE_PPM


@click.group()
def account() -> None:
    """Accounts: each has one prepaid balance and any number of API keys. ACCOUNT is an id or a name."""


@account.command()
@click.argument("name")
@click.option("--credits", "credit_text", metavar="N", help="Begin with a top-up of this many credits.")
@limit_options
@json_option
@with_config
def create(config: Config, name: str, *, credit_text: str | None, limits: tuple[str, ...], as_json: bool) -> None:
    """Make an account; its balance begins at zero, or at --credits."""
    amount = None if credit_text is None else amount_from(credit_text)

    async def work() -> Account:
        async with open_stores(config) as stores:
            made = await stores.directory.create_account(name, limits=changed_limits({}, limits))
            if amount is not None:
                first = Credit(amount, f"first-{made.id}", actor=actor_here(), reason="created with the account")
                await stores.topups.top_up(made.id, first)
            return made

    made = run_async(work())
    if as_json:
        print_json(asdict(made))
        return
    print_fields(_fields(made))
    first = "" if amount is not None else f"farebox topup {made.id} 100 --key invoice-1, then "
    click.echo(f"\nNext: {first}farebox key create {made.id}")


@account.command("list")
@click.option("--search", "text", metavar="TEXT", help="Part of the name, or the beginning of the id.")
@click.option("--status", type=click.Choice(STATUSES), help="Only these.")
@click.option("--sort", type=click.Choice(ORDERS), default=ORDERS[0], show_default=True, help="A minus: downwards.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most this many.")
@json_option
@with_config
def list_accounts(
    config: Config, *, text: str | None, status: str | None, sort: str, limit: int, as_json: bool
) -> None:
    """Accounts, newest first; with --json one object a line."""

    async def work() -> list[Account]:
        async with open_stores(config) as stores:
            return await stores.directory.search(AccountSearch(text, status, sort), limit=limit)

    found = run_async(work())
    if as_json:
        for one in found:
            print_json(asdict(one))
        return
    rows = [(one.id, one.name, one.status, when(one.created_at)) for one in found]
    print_table(("ID", "NAME", "STATUS", "CREATED"), rows, empty="No accounts. Make one: farebox account create NAME")


@account.command()
@click.argument("reference", metavar="ACCOUNT")
@json_option
@with_config
def show(config: Config, reference: str, *, as_json: bool) -> None:
    """One account."""
    _work_on(config, lambda stores: stores.directory.account(reference), as_json=as_json)


@account.command()
@click.argument("reference", metavar="ACCOUNT")
@click.option("--name", help="Another name.")
@limit_options
@click.option("--markup", metavar="FACTOR", help=f"Charge is cost times this, as in 1.2; {NONE}: the configured one.")
@click.option("--on-client-left", type=click.Choice((*PARTINGS, NONE)), help="What clients that hang up are charged.")
@click.option(
    "--low-balance", metavar="CREDITS", help=f"Tell by webhook when the balance falls to this; {NONE}: never."
)
@click.option(
    "--metadata", "notes", multiple=True, metavar="NAME=VALUE", help="Your own notes, all of them (repeatable)."
)
@json_option
@with_config
def update(
    config: Config,
    reference: str,
    *,
    name: str | None,
    limits: tuple[str, ...],
    markup: str | None,
    on_client_left: str | None,
    low_balance: str | None,
    notes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Change an account; it holds from the next call on. A limit `none` is no limit any more."""

    def changes(before: Account) -> dict[str, object]:
        found: dict[str, object] = {}
        if name is not None:
            found["name"] = name
        if limits or on_client_left is not None:
            changed = changed_limits(before.limits, limits)
            if on_client_left is not None:
                changed |= {"on_client_left": None if on_client_left == NONE else on_client_left}
            found["limits"] = changed
        if markup is not None:
            found["markup_ppm"] = unless_none(markup, _markup)
        if low_balance is not None:
            found["low_balance_microcredits"] = unless_none(low_balance, amount_from)
        if notes:
            found["metadata"] = pairs_from(notes, "a note")
        if not found:
            raise click.UsageError("say what to change: farebox account update --help")
        return found

    _work_on(config, lambda stores: stores.directory.update_account(reference, changes), as_json=as_json)
    if low_balance not in {None, NONE} and not config.webhooks.urls:
        click.echo("Nobody is told yet: name a receiver in [webhooks] of the configuration, then restart.", err=True)


@account.command()
@click.argument("reference", metavar="ACCOUNT")
@json_option
@with_config
def suspend(config: Config, reference: str, *, as_json: bool) -> None:
    """Refuse every key of the account from now on; calls that run end as they would."""
    _work_on(config, lambda stores: stores.directory.suspend(reference), as_json=as_json)


@account.command()
@click.argument("reference", metavar="ACCOUNT")
@json_option
@with_config
def resume(config: Config, reference: str, *, as_json: bool) -> None:
    """End a suspension."""
    _work_on(config, lambda stores: stores.directory.resume(reference), as_json=as_json)


@account.command()
@click.argument("reference", metavar="ACCOUNT")
@click.option("--forfeit", is_flag=True, help="Take what is left of the balance; without this it must be zero.")
@yes_option
@json_option
@with_config
def close(config: Config, reference: str, *, forfeit: bool, yes: bool, as_json: bool) -> None:
    """Close an account for ever and revoke its keys."""
    confirm(f"Close {reference} for ever?", yes=yes)

    async def work(stores: Stores) -> Account:
        return await close_for_ever(
            stores.directory, stores.topups, stores.ledger, reference, actor=actor_here(), forfeit=forfeit
        )

    _work_on(config, work, as_json=as_json)


def _work_on(config: Config, work: Callable[[Stores], Awaitable[Account]], *, as_json: bool) -> None:
    """Does the work with the stores open, and prints the account that it gives."""

    async def run() -> Account:
        async with open_stores(config) as stores:
            return await work(stores)

    shown = run_async(run())
    if as_json:
        print_json(asdict(shown))
    else:
        print_fields(_fields(shown))


def _markup(text: str) -> int:
    try:
        return parse_scaled(text, MARKUP_ONE_PPM)
    except ValueError as error:
        raise click.UsageError(f"--markup: {error}") from error


def _fields(shown: Account) -> dict[str, object]:
    fields: dict[str, object] = {
        "id": shown.id,
        "name": shown.name,
        "status": shown.status,
        "limits": ", ".join(f"{kind} {ceiling}" for kind, ceiling in shown.limits.items()) or "none",
        "created": when(shown.created_at),
    }
    if shown.markup_ppm is not None:
        fields["markup"] = format_credits(shown.markup_ppm)
    if shown.low_balance_microcredits is not None:
        fields["low balance"] = format_credits(shown.low_balance_microcredits)
    if shown.metadata:
        fields["metadata"] = ", ".join(f"{name}={value}" for name, value in shown.metadata.items())
    if shown.closed_at is not None:
        fields["closed"] = when(shown.closed_at)
    return fields
