"""`farebox export`: usage records or ledger entries as a file, oldest first. Redis need not be there.

Memory is that of one slice of rows, however long the file. A file that is named appears whole or not at all, readable by its owner alone.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import click

from proxy.cli.context import progress, run_async, with_config
from proxy.cli.filters import filter_options, wanted_from
from proxy.cli.stores import using_database
from proxy.config import Config
from proxy.core.clock import SystemClock
from proxy.core.errors import ConfigError
from proxy.records.export import (
    ENTRY_COLUMNS,
    USAGE_COLUMNS,
    Column,
    Record,
    csv_head,
    csv_lines,
    json_lines,
    record_of,
)
from proxy.records.parquet import ParquetFile
from proxy.records.queries import find_account_id
from proxy.records.search import ENTRIES, FOREVER_MS, USAGE, Shelf, Wanted, slices
from proxy.sql.database import Database

_TABLES = {"usage": (USAGE, USAGE_COLUMNS), "ledger": (ENTRIES, ENTRY_COLUMNS)}
CSV, JSONL, PARQUET = "csv", "jsonl", "parquet"


@click.command()
@click.argument("what", type=click.Choice(tuple(_TABLES)))
@click.option("--format", "form", type=click.Choice((CSV, JSONL, PARQUET)), default=CSV, show_default=True)
@click.option("--account", "reference", metavar="ACCOUNT", help="Only this account's; else everybody's.")
@filter_options
@click.option("-o", "--output", metavar="FILE", help="Where to write it; else to standard output.")
@with_config
def export(
    config: Config, what: str, *, form: str, reference: str | None, output: str | None, **named: str | None
) -> None:
    """Write usage records or ledger entries to a file, oldest first, up to this moment.

    In CSV a text that a spreadsheet would take for a formula begins with an apostrophe. Parquet needs farebox[parquet].
    """
    if form == PARQUET and output is None:
        raise click.UsageError("Parquet is not text: name a file with -o FILE")

    async def work() -> None:
        async with using_database(config) as database:
            account_id = None if reference is None else await find_account_id(database, reference)
            wanted = wanted_from(account_id, named)
            if wanted.to_at == FOREVER_MS:  # or the export of a busy installation would follow it for ever
                wanted = replace(wanted, to_at=SystemClock().now_ms() + 1)
            source = _rows(database, *_TABLES[what], wanted)
            if output is None:
                await _text(source, _TABLES[what][1], form, None)
                return
            with _whole(Path(output)) as path:
                await (_parquet if form == PARQUET else _text)(source, _TABLES[what][1], form, path)

    run_async(work())


async def _rows(
    database: Database, shelf: Shelf, columns: tuple[Column, ...], wanted: Wanted
) -> AsyncIterator[list[Record]]:
    """Everything that is wanted, and how much it is so far for those who watch."""
    count = 0
    with progress("rows") as shown:
        async for rows in slices(database, shelf, wanted):
            yield [record_of(row, columns) for row in rows]
            count += len(rows)
            shown(count)


async def _text(source: AsyncIterator[list[Record]], columns: tuple[Column, ...], form: str, path: Path | None) -> None:
    """CSV or JSON lines to a file, or to standard output."""
    with contextlib.nullcontext(sys.stdout) if path is None else path.open("w", encoding="utf-8", newline="") as out:
        if form == CSV:
            out.write(csv_head(columns))
        async for records in source:
            out.write(csv_lines(records, columns) if form == CSV else json_lines(records))
        out.flush()


async def _parquet(
    source: AsyncIterator[list[Record]], columns: tuple[Column, ...], form: str, path: Path | None
) -> None:
    assert form == PARQUET
    assert path is not None
    with ParquetFile(path, columns) as made:
        async for records in source:
            made.add(records)


@contextlib.contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """A file beside `output` that takes its place when the block ends well, and vanishes when it does not."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}. Name another file with -o FILE.") from error
    os.close(handle)
    path = Path(name)
    try:
        yield path
        path.replace(output)
    finally:
        path.unlink(missing_ok=True)
