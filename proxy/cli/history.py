"""`farebox usage` and `farebox ledger`: what is in the database, newest first. Redis need not be there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields

import click

from proxy.cli.context import json_option, print_json, print_table, run_async, when, with_config
from proxy.cli.stores import account_id_of, using_database
from proxy.config import Config
from proxy.core.money import format_credits
from proxy.core.records import LedgerEntry, UsageRecord
from proxy.sql.database import Row, Value, integer

PAGE = 500  # rows asked for at once
NEWEST = 2**62

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
    rows = run_async(_usage_rows(config, reference, limit))
    if as_json:
        for row in rows:
            print_json(_usage_json(row))
        return
    columns = ("AT", "MODEL", "OUTCOME", "STATUS#", "IN#", "OUT#", "CREDITS#", "BASIS", "CALL")
    names = ("model", "outcome", "status", "input_tokens", "output_tokens")
    table = [
        (
            when(integer(row, "at")),
            *(row[name] for name in names),
            format_credits(integer(row, "charge_microcredits")),
            row["settlement_basis"],
            row["call_id"],
        )
        for row in rows
    ]
    print_table(columns, table, empty="No calls yet.")


@click.command()
@click.argument("reference", metavar="ACCOUNT")
@limit_option
@json_option
@with_config
def ledger(config: Config, reference: str, *, limit: int, as_json: bool) -> None:
    """The account's ledger entries; with --json one object a line."""
    rows = run_async(_ledger_rows(config, reference, limit))
    if as_json:
        for row in rows:
            print_json({field.name: row[field.name] for field in fields(LedgerEntry)})
        return
    columns = ("SEQ#", "AT", "KIND", "CREDITS#", "BEFORE#", "AFTER#", "FOR")
    amounts = ("amount_microcredits", "before_microcredits", "after_microcredits")
    table = [
        (
            row["seq"],
            when(integer(row, "at")),
            row["kind"],
            *(format_credits(integer(row, name)) for name in amounts),
            row["call_id"] or row["idempotency_key"] or row["operation_id"],
        )
        for row in rows
    ]
    print_table(columns, table, empty="No entries yet.")


async def _usage_rows(config: Config, reference: str, limit: int) -> Sequence[Row]:
    async with using_database(config) as database:
        account_id = await account_id_of(database, reference)
        found: list[Row] = []
        at: Value = NEWEST
        call_id: Value = ""
        while len(found) < limit:
            page = await database.fetch(
                "newest_usage_records",
                account_id=account_id,
                before_at=at,
                before_call_id=call_id,
                row_limit=min(PAGE, limit - len(found)),
            )
            if not page:
                break
            found += page
            at, call_id = page[-1]["at"], page[-1]["call_id"]
        return found


async def _ledger_rows(config: Config, reference: str, limit: int) -> Sequence[Row]:
    async with using_database(config) as database:
        account_id = await account_id_of(database, reference)
        found: list[Row] = []
        before: Value = NEWEST
        while len(found) < limit:
            size = min(PAGE, limit - len(found))
            page = await database.fetch(
                "newest_ledger_entries", account_id=account_id, before_seq=before, row_limit=size
            )
            if not page:
                break
            found += page
            before = page[-1]["seq"]
        return found


def _usage_json(row: Row) -> Mapping[str, object]:
    shown: dict[str, object] = {field.name: row[field.name] for field in fields(UsageRecord)}
    for name in ("usage", "tags"):
        shown[name] = json.loads(str(row[name]))
    shown["stream"] = bool(row["stream"])
    return shown
