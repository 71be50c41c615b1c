"""`farebox reservation`: holds that applications asked for, listed and given back."""

import json
from dataclasses import asdict

import click

from proxy.accounts.reservations import Reservation
from proxy.cli.context import confirm, json_option, print_json, print_table, run_async, when, with_config, yes_option
from proxy.cli.stores import open_stores
from proxy.config import Config
from proxy.core.money import format_credits


@click.group()
def reservation() -> None:
    """Reservations: credits that applications set aside for work of their own, for five minutes."""


@reservation.command("list")
@click.argument("reference", metavar="ACCOUNT")
@click.option("--active", is_flag=True, help="Only those that still hold credits.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most this many.")
@json_option
@with_config
def list_reservations(config: Config, reference: str, *, active: bool, limit: int, as_json: bool) -> None:
    """An account's reservations, newest first; with --json one object a line."""

    async def work() -> list[Reservation]:
        async with open_stores(config) as stores:
            account = await stores.directory.account(reference)
            return await stores.reservations.list(account.id, active_only=active, limit=limit)

    found = run_async(work())
    if as_json:
        for one in found:
            print_json(_shown(one))
        return
    rows = [
        (
            one.id,
            one.status,
            format_credits(one.amount_microcredits),
            None if one.actual_microcredits is None else format_credits(one.actual_microcredits),
            one.operation,
            one.model,
            when(one.created_at),
            when(one.expires_at),
        )
        for one in found
    ]
    columns = ("ID", "STATUS", "CREDITS#", "CHARGED#", "OPERATION", "MODEL", "CREATED", "EXPIRES")
    print_table(columns, rows, empty="No reservations.")


@reservation.command()
@click.argument("reservation_id", metavar="RESERVATION")
@yes_option
@json_option
@with_config
def cancel(config: Config, reservation_id: str, *, yes: bool, as_json: bool) -> None:
    """Give the credits of a reservation back; its application can no longer confirm it."""
    confirm(f"Cancel {reservation_id}?", yes=yes)

    async def work() -> Reservation:
        async with open_stores(config) as stores:
            before = await stores.reservations.get(reservation_id)
            await stores.note("reservation.cancel", before.id, {"account_id": before.account_id})
            return await stores.reservations.cancel(before.id)

    ended = run_async(work())
    if as_json:
        print_json(_shown(ended))
    else:
        click.echo(f"{ended.id} is {ended.status}.")


def _shown(one: Reservation) -> dict[str, object]:
    return {**asdict(one), "metadata": json.loads(one.metadata)}
