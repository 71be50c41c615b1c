"""Usage records and ledger entries as lines of CSV (RFC 4180) and JSON: the one place for what leaves as a file.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, and model names and tags are the clients' words:
such a text gets an apostrophe in front. Numbers stay numbers. Money is there twice: the integer that is stored, under its own
name, and `credits`, an exact decimal (what a call cost, or what an entry added). `time` is `at` as ISO 8601 in UTC.
"""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from proxy.core.money import format_credits
from proxy.core.records import LedgerEntry, UsageRecord
from proxy.records.queries import usage_record
from proxy.sql.database import Row

Record = UsageRecord | LedgerEntry
Cell = str | int | bool | None
Kind = Literal["text", "integer", "boolean", "instant", "credits", "json"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - full-width signs count as well

_SKIPPED = " \u00a0\u3000\ufeff"


@dataclass(frozen=True, slots=True)
class Column:
    """`kind` is what its cells are; `source` the field that they are made of."""

    name: str
    kind: Kind
    source: str


def _columns(fields: str, *, money: str) -> tuple[Column, ...]:
    """`name` or `name:kind`, separated by spaces; integer where a name has no kind."""
    named = (one.partition(":") for one in fields.split())
    found = [Column(name, kind or "integer", name) for name, _, kind in named]  # type: ignore[arg-type]  # said below
    return (Column("time", "instant", "at"), *found, Column("credits", "credits", money))


USAGE_COLUMNS = _columns(
    "at call_id:text account_id:text key_id:text provider:text model:text dialect:text path:text status outcome:text "
    "stream:boolean usage:json input_tokens output_tokens cost_nano_usd charge_microcredits hold_microcredits "
    "price_version:text settlement_basis:text attempts duration_ms time_to_first_byte_ms trace_id:text tags:json",
    money="charge_microcredits",
)
ENTRY_COLUMNS = _columns(
    "at account_id:text seq kind:text amount_microcredits before_microcredits after_microcredits call_id:text "
    "operation_id:text actor:text reason:text idempotency_key:text",
    money="amount_microcredits",
)


def record_of(row: Row, columns: tuple[Column, ...]) -> Record:
    """A row of either table."""
    return usage_record(row) if columns is USAGE_COLUMNS else LedgerEntry(**row)  # type: ignore[arg-type]  # as in queries


def cells(record: Record, columns: Iterable[Column]) -> list[Cell]:
    """The cells of one row, JSON as text."""
    return [_cell(getattr(record, column.source), column.kind) for column in columns]


def csv_head(columns: Iterable[Column]) -> str:
    """The first line."""
    return csv_line([column.name for column in columns])


def csv_lines(records: Iterable[Record], columns: tuple[Column, ...]) -> str:
    """Several rows, each with its end."""
    kinds = [column.kind for column in columns]
    return _csv(
        [_written(value, kind) for value, kind in zip(cells(record, columns), kinds, strict=True)] for record in records
    )


def csv_line(values: Iterable[Cell]) -> str:
    """One line with its end; texts are made safe, None is empty, truth is `true` and `false`."""
    return _csv([[_written(value, "text") for value in values]])


def json_lines(records: Iterable[Record]) -> str:
    """One JSON object a line: the records as they are everywhere."""
    return "".join(json.dumps(asdict(one), ensure_ascii=False, separators=(", ", ": ")) + "\n" for one in records)


def safe_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula, also not behind spaces; without NUL."""
    clean = text.replace("\0", "\ufffd")
    return f"'{clean}" if clean.lstrip(_SKIPPED).startswith(_FORMULA) else clean


def _csv(rows: Iterable[Iterable[str | int]]) -> str:
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\r\n").writerows(rows)
    return lines.getvalue()


def _written(value: Cell, kind: Kind) -> str | int:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return safe_cell(value) if isinstance(value, str) and kind != "credits" else value  # -5.5 is a number


def _cell(value: object, kind: Kind) -> Cell:
    if kind == "json":
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    if kind == "instant":
        assert isinstance(value, int)
        return datetime.fromtimestamp(value / 1000, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if kind == "credits":
        assert isinstance(value, int)
        return format_credits(value)
    assert value is None or isinstance(value, str | int)
    return value
