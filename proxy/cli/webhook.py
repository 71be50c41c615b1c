"""`farebox webhook`: what was told to the configured receivers, and telling it again."""

from dataclasses import asdict

import click

from proxy.accounts.outbox import Delivery, DeliveryFilter, Outbox
from proxy.cli.context import json_option, print_json, print_table, run_async, when, with_config
from proxy.cli.stores import actor_here, using_database
from proxy.config import Config
from proxy.core.clock import SystemClock
from proxy.records.queries import find_account_id


@click.group()
def webhook() -> None:
    """Webhooks: events for the receivers in webhooks.urls, such as a balance that fell to its threshold."""


@webhook.command("list")
@click.option("--account", "reference", metavar="ACCOUNT", help="Only this account's.")
@click.option("--status", type=click.Choice(("pending", "delivered", "failed")), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most this many.")
@json_option
@with_config
def list_deliveries(config: Config, *, reference: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """Deliveries, newest first; with --json one object a line."""

    async def work() -> list[Delivery]:
        async with using_database(config) as database:
            account_id = None if reference is None else await find_account_id(database, reference)
            wanted = DeliveryFilter(status, account_id)
            return list(await Outbox(database, SystemClock()).page(wanted, limit=limit, last=None))

    found = run_async(work())
    if as_json:
        for one in found:
            print_json(asdict(one))
        return
    rows = [
        (one.id, when(one.created_at), one.kind, one.account_id, one.host, one.status, one.attempts, one.problem)
        for one in found
    ]
    columns = ("ID", "CREATED", "KIND", "ACCOUNT", "HOST", "STATUS", "ATTEMPTS#", "PROBLEM")
    print_table(columns, rows, empty="No deliveries.")


@webhook.command()
@click.argument("delivery_id", metavar="DELIVERY")
@json_option
@with_config
def resend(config: Config, delivery_id: str, *, as_json: bool) -> None:
    """Send an event again, under the id that it had; the running Farebox does it within seconds."""

    async def work() -> Delivery:
        async with using_database(config) as database:
            return await Outbox(database, SystemClock()).resend(delivery_id, actor_here())

    found = run_async(work())
    if as_json:
        print_json(asdict(found))
    else:
        click.echo(f"{found.id} is {found.status}, to {found.host}.")
