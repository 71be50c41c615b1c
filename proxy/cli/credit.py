"""`farebox topup` and `farebox balance`."""

from dataclasses import asdict

import click

from proxy.accounts.topups import Credit, amount_from
from proxy.cli.context import json_option, print_fields, print_json, run_async, with_config
from proxy.cli.stores import open_stores
from proxy.config import Config
from proxy.core.money import format_credits
from proxy.core.records import LedgerEntry
from proxy.records.queries import BalanceView, balance_of


# A negative amount reaches the check that refuses it, instead of being taken for an option.
@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("reference", metavar="ACCOUNT")
@click.argument("credit_text", metavar="CREDITS")
@click.option(
    "--key", "idempotency_key", required=True, metavar="IDEMPOTENCY_KEY", help="The same key is applied once, ever."
)
@click.option("--reason", default="", help="Kept with the ledger entry.")
@json_option
@with_config
def topup(
    config: Config, reference: str, credit_text: str, *, idempotency_key: str, reason: str, as_json: bool
) -> None:
    """Add CREDITS (a decimal, as in 12.5). Repeating the command with the same key changes nothing."""
    amount = amount_from(credit_text)

    async def work() -> LedgerEntry:
        async with open_stores(config) as stores:
            account = await stores.directory.account(reference)
            return await stores.topups.top_up(account.id, Credit(amount, idempotency_key, actor="cli", reason=reason))

    entry = run_async(work())
    if as_json:
        print_json(asdict(entry))
        return
    before, after = format_credits(entry.before_microcredits), format_credits(entry.after_microcredits)
    click.echo(f"{format_credits(entry.amount_microcredits)} credits added: {before} -> {after} (entry {entry.seq})")


@click.command()
@click.argument("reference", metavar="ACCOUNT")
@json_option
@with_config
def balance(config: Config, reference: str, *, as_json: bool) -> None:
    """What the account has (posted), what its open calls hold, and what is available."""

    async def work() -> BalanceView:
        async with open_stores(config) as stores:
            return await balance_of(stores.database, stores.ledger, reference)

    found = run_async(work())
    if as_json:
        print_json(asdict(found))
        return
    print_fields(
        {"credits": found.credits, "held": format_credits(found.held), "available": format_credits(found.available)}
    )
