"""`farebox export`: usage records or ledger entries as a file, oldest first. Redis need not be there.

Memory is that of one slice of rows, however long the file. A file that is named appears whole or not at all, readable by its owner alone.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from proxy.cli.context import progress, run_async, with_config
from proxy.cli.filters import filter_options, wanted_from
from proxy.cli.stores import using_database
from proxy.config import Config
from proxy.core.clock import SystemClock
from proxy.core.errors import ConfigError
from proxy.records.exports import CSV, JSONL, lines
from proxy.records.parquet import ParquetFile
from proxy.records.queries import find_account_id
from proxy.records.search import ENTRIES, FOREVER_MS, USAGE, Shelf, Wanted, slices
from proxy.sql.database import Database

_SHELVES = {"usage": USAGE, "ledger": ENTRIES}
PARQUET = "parquet"


@click.command()
@click.argument("what", type=click.Choice(tuple(_SHELVES)))
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
            if output is None:
                await _text(database, _SHELVES[what], wanted, form, None)
                return
            with _whole(Path(output)) as path:
                count = await (_parquet if form == PARQUET else _text)(database, _SHELVES[what], wanted, form, path)
            click.echo(f"{count} rows in {output}", err=True)

    run_async(work())


async def _text(database: Database, shelf: Shelf, wanted: Wanted, form: str, path: Path | None) -> int:
    """CSV or JSON lines to a file, or to standard output; how many rows."""
    count, heading = 0, int(form == CSV)
    with contextlib.nullcontext(sys.stdout) if path is None else path.open("w", encoding="utf-8", newline="") as out:
        with progress("rows") as shown:
            async for piece in lines(database, shelf, wanted, form):
                out.write(piece.decode())
                count += piece.count(b"\n")
                shown(count - heading)
        out.flush()
    return count - heading


async def _parquet(database: Database, shelf: Shelf, wanted: Wanted, form: str, path: Path | None) -> int:
    assert form == PARQUET
    assert path is not None
    count = 0
    with ParquetFile(path, shelf) as made, progress("rows") as shown:
        async for rows in slices(database, shelf, wanted):
            made.add(rows)
            count += len(rows)
            shown(count)
    return count


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
