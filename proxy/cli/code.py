"""`farebox code`: redemption codes, which accounts turn into credits. A code is shown once, when it is made."""

import sys
from dataclasses import asdict

import click

from proxy.accounts.redemption import MAX_CODES, CodeOrder, NewCode, RedemptionCode
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
from proxy.cli.credit import WITH_AMOUNT, print_entry
from proxy.cli.grant import priority_option
from proxy.cli.stores import actor_here, open_stores
from proxy.config import Config
from proxy.core.money import format_credits
from proxy.core.records import LedgerEntry


@click.group()
def code() -> None:
    """Redemption codes: made in batches, each redeemed once, by one account."""


@code.command(context_settings=WITH_AMOUNT)
@click.argument("credit_text", metavar="CREDITS")
@click.option("--count", type=click.IntRange(1, MAX_CODES), default=1, show_default=True, help="How many codes.")
@click.option("--expires", metavar="WHEN", help="Refuse the codes from then on: 2026-12-31, or 30d, 12h, 90m.")
@click.option("--as-grant", is_flag=True, help="Credits that burn before bought ones.")
@click.option("--grant-expires", metavar="WHEN", help="When what is left of the granted credits ends (a grant too).")
@priority_option
@click.option("--reason", default="", help="Kept with the codes and their ledger entries.")
@json_option
@with_config
def create(
    config: Config,
    credit_text: str,
    *,
    count: int,
    expires: str | None,
    as_grant: bool,
    grant_expires: str | None,
    priority: int,
    reason: str,
    as_json: bool,
) -> None:
    """Make codes worth CREDITS each and show them, for the only time; with --json one object a line."""
    order = CodeOrder(
        count,
        amount_from(credit_text),
        None if expires is None else future_from(expires),
        None if grant_expires is None else future_from(grant_expires),
        as_grant=as_grant,
        priority=priority,
        actor=actor_here(),
        reason=reason,
    )

    async def work() -> list[NewCode]:
        async with open_stores(config) as stores:
            return await stores.codes.create(order)

    made = run_async(work())
    for one in made:
        if as_json:
            print_json({"code": one.code, **asdict(one.redemption_code)})
        else:
            click.echo(one.code)
    if not as_json:
        click.echo("\nThis is the only time they are shown. Redeem one: farebox code redeem ACCOUNT CODE", err=True)


@code.command("list")
@click.option("--batch", "batch_id", metavar="BATCH_ID", help="Only the codes of this batch.")
@click.option("--status", type=click.Choice(("active", "redeemed", "expired", "revoked")), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most this many.")
@json_option
@with_config
def list_codes(config: Config, *, batch_id: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """Codes without the codes, newest first; with --json one object a line."""

    async def work() -> list[RedemptionCode]:
        async with open_stores(config) as stores:
            return await stores.codes.list(limit=limit, batch_id=batch_id, status=status)

    found = run_async(work())
    if as_json:
        for one in found:
            print_json(asdict(one))
        return
    rows = [
        (
            one.id,
            f"{one.prefix}...",
            one.kind,
            one.status,
            format_credits(one.amount_microcredits),
            "" if one.expires_at is None else when(one.expires_at),
            one.account_id,
            one.reason,
        )
        for one in found
    ]
    columns = ("ID", "CODE", "KIND", "STATUS", "CREDITS#", "EXPIRES", "REDEEMED BY", "REASON")
    print_table(columns, rows, empty="No codes. Make some: farebox code create CREDITS --count 10")


@code.command()
@click.argument("code_id", metavar="CODE_ID")
@yes_option
@json_option
@with_config
def revoke(config: Config, code_id: str, *, yes: bool, as_json: bool) -> None:
    """End a code that nobody has redeemed, for ever. CODE_ID is the code_... that `farebox code list` shows."""
    confirm(f"End {code_id} for ever?", yes=yes)

    async def work() -> RedemptionCode:
        async with open_stores(config) as stores:
            return await stores.codes.revoke(code_id, actor_here())

    ended = run_async(work())
    if as_json:
        print_json(asdict(ended))
    else:
        click.echo(f"{ended.id} ({ended.prefix}...) is {ended.status}.")


@code.command()
@click.argument("reference", metavar="ACCOUNT")
@click.argument("text", metavar="CODE")
@json_option
@with_config
def redeem(config: Config, reference: str, text: str, *, as_json: bool) -> None:
    """Turn a code into credits of ACCOUNT. CODE may be -, to be read from standard input. Repeating it changes nothing."""
    typed = sys.stdin.readline().strip() if text == "-" else text

    async def work() -> LedgerEntry:
        async with open_stores(config) as stores:
            account = await stores.directory.account(reference)
            return await stores.codes.redeem(account.id, typed, actor_here())

    entry = run_async(work())
    if as_json:
        print_json(asdict(entry))
    else:
        print_entry(entry, "redeemed")
