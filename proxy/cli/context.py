"""What the commands share: where the configuration is, how results are printed, and how a coroutine is run."""

import asyncio
import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from proxy.config import Config
from proxy.core.clock import MAX_INSTANT_MS
from proxy.core.errors import ConfigError
from proxy.roles import load

T = TypeVar("T")
_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MOST_DRAWN = 1000  # rows; above that a table is not looked at, but searched
SEARCHED = (Path("farebox.toml"), Path("farebox-data/farebox.toml"))


def find_config(given: str | None) -> Path:
    """The configuration file by the order of `farebox --help`. Raises ConfigError naming the places that were tried."""
    if given:
        return _existing(Path(given), "--config")
    named = os.environ.get("FAREBOX_CONFIG")
    if named:
        return _existing(Path(named), "FAREBOX_CONFIG")
    for path in SEARCHED:
        if path.is_file():
            return path
    raise ConfigError(
        "no configuration: give --config FILE, set FAREBOX_CONFIG, or run here where ./farebox.toml or "
        "./farebox-data/farebox.toml stands (`farebox dev` writes the second one)"
    )


def _existing(path: Path, source: str) -> Path:
    if not path.is_file():
        raise ConfigError(f"{source} names {path}, which is not a file")
    return path


def with_path(command: Callable[..., T]) -> Callable[..., T]:
    """Adds `--config` to a command and hands it `path`, the configuration's file."""

    @click.option("--config", "given", metavar="FILE", help="The configuration file.")
    @click.pass_context
    @functools.wraps(command)
    def wrapped(ctx: click.Context, /, *args: object, given: str | None, **options: object) -> T:
        return command(*args, path=find_config(given or ctx.find_root().obj), **options)

    return wrapped


def with_config(command: Callable[..., T]) -> Callable[..., T]:
    """Adds `--config` to a command and hands it `config`, read and checked."""

    @with_path
    @functools.wraps(command)
    def wrapped(*args: object, path: Path, **options: object) -> T:
        config: Config = load(path)
        return command(*args, config=config, **options)

    return wrapped


yes_option = click.option("--yes", is_flag=True, help="Do not ask: for programs, and who is sure.")
json_option = click.option("--json", "as_json", is_flag=True, help="For programs: JSON instead of a table.")


def confirm(question: str, *, yes: bool) -> None:
    """Asks on a terminal before what cannot be undone; elsewhere it must have been said with --yes. Raises click's errors."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say --yes.")
    click.confirm(question, abort=True)


def stdin_is_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Runs a command's coroutine; the event loop is the standard one, which starts quicker."""
    return asyncio.run(work)


def print_json(value: object) -> None:
    """One JSON value on one line."""
    click.echo(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table for people; `empty` is what to say when there is nothing. Columns that end in # are aligned right."""
    found = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not found:
        click.echo(empty)
    elif len(found) > _MOST_DRAWN:
        _print_plainly(columns, found)
    else:
        _draw(columns, found)


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - 40 ms that --json need not pay
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415 - cells are data, never markup

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    for column in columns:
        table.add_column(column.removesuffix("#"), justify="right" if column.endswith("#") else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)  # a pipe has no edge to cut at
    console.print(table)


def _print_plainly(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """What takes Rich a minute, in a moment."""
    heading = [column.removesuffix("#") for column in columns]
    widths = [max(map(len, cells)) for cells in zip(heading, *rows, strict=True)]
    signs = [">" if column.endswith("#") else "<" for column in columns]
    for row in (heading, *rows):
        shown = (f"{cell:{sign}{width}}" for cell, sign, width in zip(row, signs, widths, strict=True))
        click.echo("   ".join(shown).rstrip())


def print_fields(fields: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        click.echo(f"{name:<{width}}  {'' if value is None else value}")


def instant_from(text: str) -> int:
    """An instant as people write it in Unix milliseconds: a day or time in UTC (2026-12-31, 2026-12-31T18:00), or 30d, 12h, 90m
    from now. Raises click's UsageError.
    """
    number, unit = text[:-1], text[-1:]
    if number.isascii() and number.isdecimal() and len(number) <= 6 and unit in _UNITS_MS:
        return time.time_ns() // 1_000_000 + int(number) * _UNITS_MS[unit]
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"{text!r} is no instant, such as 2026-12-31, 2026-12-31T18:00 or 30d") from error
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def future_from(text: str) -> int:
    """An instant that lies ahead, likewise. Raises click's UsageError."""
    found = instant_from(text)
    if found <= time.time_ns() // 1_000_000:
        raise click.UsageError(f"{text!r} is over already; say an instant in the future, such as 90d")
    return found


def past_from(text: str) -> int:
    """An instant that lies behind: a day or time as above, or 30d, 12h, 90m ago. Raises click's UsageError."""
    now_ms = time.time_ns() // 1_000_000
    return 2 * now_ms - instant_from(text) if text[-1:] in _UNITS_MS else instant_from(text)


@contextlib.contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Shows how far long work is: a bar where `total` is known, else a running count. On a terminal's standard error only."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody watches
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    console = Console(stderr=True)
    if total is None:
        with console.status(f"0 {what}") as status:
            yield lambda count: status.update(f"{count} {what}")
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as shown:
        task = shown.add_task(what, total=total)
        yield lambda count: shown.update(task, completed=count)


def when(at_ms: int) -> str:
    """An instant (Unix milliseconds) for people: UTC, to the second; the end of the year 9999 where it is later."""
    return datetime.fromtimestamp(min(at_ms, MAX_INSTANT_MS) // 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
