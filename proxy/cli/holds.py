"""`farebox holds`: what open calls have set aside, and ending one by hand."""

from dataclasses import asdict

import click

from proxy.accounts.audit_log import Change, note
from proxy.cli.context import confirm, json_option, print_json, print_table, run_async, when, with_config, yes_option
from proxy.cli.stores import Stores, actor_here, open_stores
from proxy.config import Config
from proxy.core.clock import SystemClock
from proxy.core.money import format_credits
from proxy.core.outcomes import POLICIES, Ended
from proxy.ledger.open_holds import BEGINNING, OpenHold, OpenHolds
from proxy.ledger.scripts import RedisScripts
from proxy.records.row import shown_record

_PAGE = 500


@click.group()
def holds() -> None:
    """Open holds: credits that calls in progress have set aside."""


@holds.command("list")
@click.option("--account", "reference", metavar="ACCOUNT", help="Only this account's.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most this many.")
@json_option
@with_config
def list_holds(config: Config, *, reference: str | None, limit: int, as_json: bool) -> None:
    """Open holds, partition by partition, the soonest deadline first; with --json one object a line."""

    async def work() -> list[OpenHold]:
        async with open_stores(config) as stores:
            account_id = "" if reference is None else (await stores.directory.account(reference)).id
            return await _find(stores, account_id, limit)

    found = run_async(work())
    if as_json:
        for one in found:
            print_json({**asdict(one), "draft": shown_record(one.draft, one.call_id, one.account_id)})
        return
    rows = [(one.call_id, one.account_id, format_credits(one.amount_microcredits), when(one.deadline)) for one in found]
    print_table(("CALL", "ACCOUNT", "CREDITS#", "LEASE UNTIL"), rows, empty="No open holds.")


@holds.command()
@click.argument("reference", metavar="ACCOUNT")
@click.argument("call_id", metavar="CALL")
@click.option(
    "--charge", type=click.Choice(POLICIES), default=POLICIES[0], show_default=True, help="What the call is charged."
)
@yes_option
@json_option
@with_config
def release(config: Config, reference: str, call_id: str, *, charge: str, yes: bool, as_json: bool) -> None:
    """End an open hold now, as if its lease were over. A call that still ends by itself corrects the charge."""
    confirm(f"End the hold of {call_id}?", yes=yes)

    async def work() -> Ended:
        async with open_stores(config) as stores:
            account = await stores.directory.account(reference)
            open_holds = OpenHolds(RedisScripts(stores.redis), stores.ledger)
            await open_holds.check(account.id, call_id)
            change = Change(actor_here(), "hold.release", call_id, {"account_id": account.id}, {"charge": charge})
            await note(stores.database, change, SystemClock().now_ms())
            return await open_holds.release(account.id, call_id, charge)

    ended = run_async(work())
    if as_json:
        print_json(asdict(ended))
    else:
        click.echo(f"The hold is over; the call was charged {format_credits(ended.charge_microcredits)} credits.")


async def _find(stores: Stores, account_id: str, limit: int) -> list[OpenHold]:
    open_holds = OpenHolds(RedisScripts(stores.redis), stores.ledger)
    partitions = [stores.ledger.partition_of(account_id)] if account_id else stores.ledger.partitions
    found: list[OpenHold] = []
    for partition in partitions:
        place = BEGINNING
        while len(found) < limit:
            most = min(_PAGE, limit - len(found))
            page = await open_holds.page(partition, limit=most, place=place, account_id=account_id)
            found += page.holds
            if page.next_place is None:
                break
            place = page.next_place
    return found
