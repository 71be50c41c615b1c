"""`farebox usage` and `farebox ledger`: what is in the database, newest first. Redis need not be there."""

from collections.abc import AsyncIterator
from dataclasses import asdict

import click

from proxy.cli.context import json_option, print_json, print_table, run_async, when, with_config
from proxy.cli.filters import filter_options, wanted_from
from proxy.cli.stores import using_database
from proxy.config import Config
from proxy.core.money import format_credits
from proxy.core.records import LedgerEntry, UsageRecord
from proxy.records.queries import find_account_id, usage_record
from proxy.records.search import ENTRIES, USAGE, Place, Shelf, Wanted, newest
from proxy.sql.database import Database, Row

KINDS = ("topup", "charge", "correction", "refund", "grant", "expiry", "adjustment")
_PAGE = 1000

limit_option = click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="At most this many, newest first."
)


@click.command()
@click.argument("reference", metavar="ACCOUNT")
@filter_options
@limit_option
@json_option
@with_config
def usage(config: Config, reference: str, *, limit: int, as_json: bool, **named: str | None) -> None:
    """The account's usage records; with --json one object a line."""

    async def work() -> list[UsageRecord]:
        async with using_database(config) as database:
            wanted = wanted_from(await find_account_id(database, reference), named)
            return [usage_record(row) async for row in _newest(database, USAGE, wanted, limit)]

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
    print_table(columns, rows, empty="No calls like that." if any(named.values()) else "No calls yet.")


@click.command()
@click.argument("reference", metavar="ACCOUNT")
@filter_options
@click.option("--kind", type=click.Choice(KINDS), help="Only entries of this kind.")
@limit_option
@json_option
@with_config
def ledger(config: Config, reference: str, *, kind: str | None, limit: int, as_json: bool, **named: str | None) -> None:
    """The account's ledger entries; with --json one object a line."""

    async def work() -> list[LedgerEntry]:
        async with using_database(config) as database:
            wanted = wanted_from(await find_account_id(database, reference), named, kind=kind)
            return [_entry(row) async for row in _newest(database, ENTRIES, wanted, limit)]

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
    print_table(columns, rows, empty="No entries like that." if kind or any(named.values()) else "No entries yet.")


async def _newest(database: Database, shelf: Shelf, wanted: Wanted, limit: int) -> AsyncIterator[Row]:
    """At most `limit` rows, newest first, whatever lies between them."""
    place: Place | None = None
    while limit > 0:
        found = await newest(database, shelf, wanted, limit=min(limit, _PAGE), before=place)
        for row in found.rows:
            yield row
        limit, place = limit - len(found.rows), found.place
        if place is None:
            return


def _entry(row: Row) -> LedgerEntry:
    return LedgerEntry(**row)  # type: ignore[arg-type]  # the columns are the fields
