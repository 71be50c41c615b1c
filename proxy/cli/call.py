"""`farebox call`: everything that is recorded of one call."""

from dataclasses import asdict

import click

from proxy.cli.context import json_option, print_fields, print_json, print_table, run_async, when, with_config
from proxy.cli.stores import using_database
from proxy.config import Config
from proxy.core.errors import NotFound
from proxy.core.money import format_credits
from proxy.core.records import UsageRecord
from proxy.records.queries import usage_of_call
from proxy.sql.database import Row, integer, text


@click.command()
@click.argument("call_id", metavar="CALL")
@json_option
@with_config
def call(config: Config, call_id: str, *, as_json: bool) -> None:
    """The usage record of a call and its ledger entries: its charge, a correction, refunds."""

    async def work() -> tuple[UsageRecord, list[Row]]:
        async with using_database(config) as database:
            record = await usage_of_call(database, call_id)
            if record is None:
                raise NotFound(f"There is no call {call_id[:100]!r}. farebox usage ACCOUNT lists an account's calls.")
            return record, await database.fetch("ledger_entries_of_call", call_id=call_id)

    record, entries = run_async(work())
    if as_json:
        print_json({**asdict(record), "entries": entries})
        return
    print_fields({**asdict(record), "at": when(record.at), "charge": format_credits(record.charge_microcredits)})
    click.echo()
    rows = [
        (integer(row, "seq"), text(row, "kind"), format_credits(integer(row, "amount_microcredits"))) for row in entries
    ]
    print_table(("SEQ#", "KIND", "CREDITS#"), rows, empty="No ledger entries: it was not charged.")
