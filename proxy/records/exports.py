"""Usage records and ledger entries as lines of CSV or JSON, for spreadsheets and programs: the one place for what leaves as a file.

Amounts are integers in the unit of their name, beside `credits` as an exact decimal; `at` is Unix milliseconds, `time` the same in
UTC. JSON lines have one object each, its texts as they are. CSV is RFC 4180 in UTF-8 with a heading: numbers are bare, every text is
between quotation marks, and one that a spreadsheet would take for a formula begins with an apostrophe instead. No NUL leaves here.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from proxy.core.money import format_credits
from proxy.records.search import SLICE, USAGE, Shelf, Wanted, slices
from proxy.sql.database import Database, Row, integer, text

CSV, JSONL = "csv", "jsonl"
USAGE_COLUMNS = (
    *("call_id", "time", "at", "account_id", "key_id", "provider", "model", "dialect", "path", "status", "outcome"),
    *("stream", "input_tokens", "output_tokens", "cached_tokens", "usage", "cost_nano_usd", "charge_microcredits"),
    *("credits", "hold_microcredits", "price_version", "settlement_basis", "attempts", "duration_ms"),
    *("time_to_first_byte_ms", "trace_id", "tags"),
)
ENTRY_COLUMNS = (
    *("account_id", "seq", "time", "at", "kind", "amount_microcredits", "credits", "before_microcredits"),
    *("after_microcredits", "call_id", "operation_id", "actor", "reason", "idempotency_key"),
)
# What spreadsheets begin a formula with, also in the wide forms of East Asian keyboards, and what some skip before it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_SKIPPED = " \u00a0\u3000\ufeff"
_NUMBERS = frozenset({"credits"})  # texts that are exact decimals of our own making


async def lines(
    database: Database, shelf: Shelf, wanted: Wanted, form: str, *, size: int = SLICE
) -> AsyncIterator[bytes]:
    """The whole file in pieces, oldest row first; a piece is empty where a slice of the table held nothing that is wanted.

    `form` is CSV or JSONL. Raises DatabaseUnavailable.
    """
    columns, shown = (USAGE_COLUMNS, shown_usage) if shelf is USAGE else (ENTRY_COLUMNS, shown_entry)
    head = csv_line(columns) if form == CSV else b""
    async for rows in slices(database, shelf, wanted, size=size):
        if form == CSV:
            found = (csv_line(shown(row).values(), columns) for row in rows)
        else:
            found = (msgspec.json.encode(shown(row)) + b"\n" for row in rows)
        yield head + b"".join(found)
        head = b""


def shown_usage(row: Row) -> dict[str, object]:
    """A usage record as people and programs are shown it, in the order of the columns; `credits` is its charge."""
    made: dict[str, object] = {
        "time": time_of(integer(row, "at")),
        "credits": format_credits(integer(row, "charge_microcredits")),
        "stream": bool(row["stream"]),
        "usage": json.loads(text(row, "usage")),
        "tags": json.loads(text(row, "tags")),
    }
    return {name: made[name] if name in made else row[name] for name in USAGE_COLUMNS}


def shown_entry(row: Row) -> dict[str, object]:
    """A ledger entry as people and programs are shown it, in the order of the columns; `credits` is its amount."""
    made = {"time": time_of(integer(row, "at")), "credits": format_credits(integer(row, "amount_microcredits"))}
    return {name: made[name] if name in made else row[name] for name in ENTRY_COLUMNS}


def time_of(at_ms: int) -> str:
    """An instant as ISO 8601 in UTC, to the millisecond; empty where no calendar has it."""
    try:
        moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def csv_line(values: Iterable[object], columns: tuple[str, ...] = ()) -> bytes:
    """One line with its end. In a column of exact decimals text is a number; what else is text is made safe."""
    named = zip(values, columns, strict=True) if columns else ((value, "") for value in values)
    return (",".join(_cell(value, is_number=name in _NUMBERS) for value, name in named) + "\r\n").encode()


def neutral(said: str) -> str:
    """A text that no spreadsheet takes for a formula, and without NUL."""
    clean = said.replace("\0", "\ufffd")
    return "'" + clean if clean.lstrip(_SKIPPED).startswith(_FORMULA) else clean


def _cell(value: object, *, is_number: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or is_number:
        return str(value)
    said = msgspec.json.encode(value).decode() if isinstance(value, Mapping) else str(value)
    return '"' + neutral(said).replace('"', '""') + '"'
