"""Rows of a CSV file with a heading, for imports: every mistake is told with its line, and unknown columns with their neighbour.

UTF-8, with or without a byte order mark; cells are taken without the spaces around them, an empty cell says nothing. Lines of
nothing but empty cells are skipped.
"""

import csv
import difflib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import click

from proxy.core.errors import FareboxError, InvalidRequest

MOST_ROWS = 1_000_000
_MOST_SHOWN = 50

Cells = Mapping[str, str]
Effect = Literal["create", "change", "keep"]


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row: the number of its (last) line, and its cells by column, without the empty ones."""

    line: int
    cells: Cells


@dataclass(frozen=True, slots=True)
class Planned:
    """What a row will do: `apply` does it, None where there is nothing to do."""

    line: int
    effect: Effect
    subject: str
    detail: str = ""
    apply: Callable[[], Awaitable[object]] | None = None


@dataclass(slots=True)
class Plan:
    """What a file will do, and why it cannot."""

    planned: list[Planned] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    async def add(self, row: CsvRow, read: Callable[[CsvRow], Awaitable[Planned]]) -> None:
        """Plans one row; a mistake in it is kept with its line."""
        try:
            self.planned.append(await read(row))
        except (InvalidRequest, click.UsageError) as error:
            self.mistakes.append(f"line {row.line}: {error.message}")
        except FareboxError as error:
            if error.status >= 500:  # a store that is away is nobody's mistake
                raise
            self.mistakes.append(f"line {row.line}: {error.message}")

    def count(self, effect: Effect) -> int:
        """How many rows do this."""
        return sum(one.effect == effect for one in self.planned)


def read_rows(path: Path, columns: Iterable[str], required: Iterable[str], *, prefix: str = "") -> list[CsvRow]:
    """The file's rows. Columns that begin with `prefix` are free. Raises InvalidRequest (file, heading, form)."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            heading = [name.strip() for name in next(reader, [])]
            _check_heading(heading, set(columns), list(required), prefix)
            return [row for cells in reader if (row := _row(reader.line_num, heading, cells)).cells]
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is not UTF-8: save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise InvalidRequest(f"{path}, line {reader.line_num}: {error}") from error


def shown_mistakes(mistakes: list[str]) -> str:
    """Several mistakes as one message."""
    more = len(mistakes) - _MOST_SHOWN
    return "\n".join([*mistakes[:_MOST_SHOWN], *([f"and {more} more"] if more > 0 else [])])


def _check_heading(heading: list[str], known: set[str], required: list[str], prefix: str) -> None:
    if not any(heading):
        raise InvalidRequest(f"the file has no heading; its columns are {', '.join(sorted(known))}")
    for name in heading:
        if heading.count(name) > 1:
            raise InvalidRequest(f"line 1: the column {name!r} stands there twice")
        if name in known or (prefix and name.startswith(prefix) and len(name) > len(prefix)):
            continue
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"columns are {', '.join(sorted(known))}"
        raise InvalidRequest(f"line 1: there is no column {name!r}; {hint}")
    for name in required:
        if name not in heading:
            raise InvalidRequest(f"line 1: the column {name!r} is missing")


def _row(line: int, heading: list[str], cells: list[str]) -> CsvRow:
    if line > MOST_ROWS:
        raise InvalidRequest(f"the file has more than {MOST_ROWS} lines; cut it in parts")
    if len(cells) > len(heading):
        raise InvalidRequest(f"line {line}: {len(cells)} cells, but {len(heading)} columns")
    found = {name: cell.strip() for name, cell in zip(heading, cells, strict=False) if cell.strip()}
    if any("\0" in cell for cell in found.values()):
        raise InvalidRequest(f"line {line}: a cell has a NUL in it")
    return CsvRow(line, found)


def needed(row: CsvRow, column: str) -> str:
    """A cell that must not be empty. Raises InvalidRequest."""
    if column not in row.cells:
        raise InvalidRequest(f"{column} is empty")
    return row.cells[column]
