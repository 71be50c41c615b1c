"""`farebox grant`: credits that burn before bought ones, the soonest expiry first."""

from dataclasses import asdict

import click

from proxy.accounts.grants import Grant, GrantOrder
from proxy.accounts.topups import amount_from
from proxy.cli.context import (
    confirm,
    future_from,
    json_option,
    print_json,
    print_table,
    run_async,
    when,
    with_config,
    yes_option,
)
from proxy.cli.credit import WITH_AMOUNT, key_option, print_entry, reason_option
from proxy.cli.stores import actor_here, open_stores
from proxy.config import Config
from proxy.core.grants import DEFAULT_PRIORITY, MAX_PRIORITY
from proxy.core.money import format_credits
from proxy.core.records import LedgerEntry

priority_option = click.option(
    "--priority",
    type=click.IntRange(0, MAX_PRIORITY),
    default=DEFAULT_PRIORITY,
    show_default=True,
    help="Among equal expiries the lower one burns first.",
)


@click.group()
def grant() -> None:
    """Granted credits: they burn before bought ones, and what is left of them ends at their expiry."""


@grant.command(context_settings=WITH_AMOUNT)
@click.argument("reference", metavar="ACCOUNT")
@click.argument("credit_text", metavar="CREDITS")
@key_option
@click.option("--expires", metavar="WHEN", help="What is left ends then: 2026-12-31, or 30d, 12h, 90m. Else never.")
@priority_option
@reason_option
@json_option
@with_config
def give(
    config: Config,
    reference: str,
    credit_text: str,
    *,
    idempotency_key: str,
    expires: str | None,
    priority: int,
    reason: str,
    as_json: bool,
) -> None:
    """Give CREDITS. Repeating the command with the same key changes nothing."""
    expires_at = None if expires is None else future_from(expires)
    order = GrantOrder(amount_from(credit_text), idempotency_key, expires_at, priority, actor_here(), reason)

    async def work() -> tuple[LedgerEntry, Grant]:
        async with open_stores(config) as stores:
            return await stores.grants.give((await stores.directory.account(reference)).id, order)

    entry, given = run_async(work())
    if as_json:
        print_json({**asdict(given), "entry": asdict(entry)})
        return
    print_entry(entry, "granted")
    until = "never expires" if given.expires_at is None else f"expires {when(given.expires_at)}"
    click.echo(f"{given.id} {until}.")


@grant.command("list")
@click.argument("reference", metavar="ACCOUNT")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most this many.")
@json_option
@with_config
def list_grants(config: Config, reference: str, *, limit: int, as_json: bool) -> None:
    """An account's grants, newest first, with what is left of them now; with --json one object a line."""

    async def work() -> list[Grant]:
        async with open_stores(config) as stores:
            return await stores.grants.list((await stores.directory.account(reference)).id, limit=limit)

    found = run_async(work())
    if as_json:
        for one in found:
            print_json(asdict(one))
        return
    rows = [
        (
            one.id,
            one.status,
            format_credits(one.amount_microcredits),
            format_credits(one.remaining_microcredits),
            one.priority,
            "" if one.expires_at is None else when(one.expires_at),
            one.reason,
        )
        for one in found
    ]
    columns = ("ID", "STATUS", "CREDITS#", "LEFT#", "PRIORITY#", "EXPIRES", "REASON")
    print_table(columns, rows, empty=f"No grants. Give one: farebox grant give {reference} CREDITS --key KEY")


@grant.command()
@click.argument("grant_id", metavar="GRANT")
@yes_option
@json_option
@with_config
def revoke(config: Config, grant_id: str, *, yes: bool, as_json: bool) -> None:
    """Take what is left of a grant; what open calls hold of it is taken when they end."""
    confirm(f"Take what is left of {grant_id}?", yes=yes)

    async def work() -> Grant:
        async with open_stores(config) as stores:
            before = await stores.grants.grant(grant_id)
            await stores.note("grant.revoke", before.id, {"account_id": before.account_id})
            return await stores.grants.revoke(before.id)

    ended = run_async(work())
    if as_json:
        print_json(asdict(ended))
        return
    click.echo(f"{ended.id} is {ended.status}: {format_credits(ended.expired_microcredits)} credits were taken.")
    if ended.remaining_microcredits:
        click.echo(f"{format_credits(ended.remaining_microcredits)} more leave when open calls end.")
