"""`farebox usage` and `farebox ledger`: what is in the database, newest first. Redis need not be there."""

from dataclasses import asdict

import click

from proxy.cli.context import json_option, print_json, print_table, run_async, when, with_config
from proxy.cli.stores import using_database
from proxy.config import Config
from proxy.core.money import format_credits
from proxy.core.records import LedgerEntry, UsageRecord
from proxy.records.queries import find_account_id, newest_entries, newest_usage

limit_option = click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="At most this many, newest first."
)


@click.command()
@click.argument("reference", metavar="ACCOUNT")
@limit_option
@json_option
@with_config
def usage(config: Config, reference: str, *, limit: int, as_json: bool) -> None:
    """The account's usage records; with --json one object a line."""

    async def work() -> list[UsageRecord]:
        async with using_database(config) as database:
            account_id = await find_account_id(database, reference)
            return [record async for record in newest_usage(database, account_id, limit)]

    found = run_async(work())
    if as_json:
        for record in found:
            print_json(asdict(record))
        return
    columns = ("AT", "MODEL", "OUTCOME", "STATUS#", "IN#", "OUT#", "CREDITS#", "BASIS", "CALL")
    rows = [
        (
            when(record.at),
            record.model,
            record.outcome,
            record.status,
            record.input_tokens,
            record.output_tokens,
            format_credits(record.charge_microcredits),
            record.settlement_basis,
            record.call_id,
        )
        for record in found
    ]
    print_table(columns, rows, empty="No calls yet.")


@click.command()
@click.argument("reference", metavar="ACCOUNT")
@limit_option
@json_option
@with_config
def ledger(config: Config, reference: str, *, limit: int, as_json: bool) -> None:
    """The account's ledger entries; with --json one object a line."""

    async def work() -> list[LedgerEntry]:
        async with using_database(config) as database:
            account_id = await find_account_id(database, reference)
            return [entry async for entry in newest_entries(database, account_id, limit)]

    found = run_async(work())
    if as_json:
        for entry in found:
            print_json(asdict(entry))
        return
    columns = ("SEQ#", "AT", "KIND", "CREDITS#", "BEFORE#", "AFTER#", "FOR")
    rows = [
        (
            entry.seq,
            when(entry.at),
            entry.kind,
            format_credits(entry.amount_microcredits),
            format_credits(entry.before_microcredits),
            format_credits(entry.after_microcredits),
            entry.call_id or entry.idempotency_key or entry.operation_id,
        )
        for entry in found
    ]
    print_table(columns, rows, empty="No entries yet.")
