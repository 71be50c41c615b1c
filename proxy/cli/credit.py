"""`farebox topup` and `farebox balance`."""

from dataclasses import asdict

import click

from proxy.accounts.topups import Credit, amount_from
from proxy.cli.context import json_option, print_fields, print_json, run_async, with_config
from proxy.cli.stores import open_stores
from proxy.config import Config
from proxy.core.errors import NotFound
from proxy.core.money import format_credits
from proxy.core.outcomes import Balance
from proxy.core.records import LedgerEntry


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

    async def work() -> Balance:
        async with open_stores(config) as stores:
            account = await stores.directory.account(reference)
            found = await stores.ledger.balance(account.id)
            if found is None:
                raise NotFound(f"Redis does not know {account.name}; if it lost its data: farebox rebuild")
            return found

    found = run_async(work())
    if as_json:
        microcredits = found.posted_microcredits
        print_json(
            {
                "credits": format_credits(microcredits),
                "microcredits": microcredits,
                "held": found.held_microcredits,
                "available": found.available_microcredits,
            }
        )
        return
    print_fields(
        {
            "credits": format_credits(found.posted_microcredits),
            "held": format_credits(found.held_microcredits),
            "available": format_credits(found.available_microcredits),
        }
    )
