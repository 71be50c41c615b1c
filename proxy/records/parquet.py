"""Usage records and ledger entries as a Parquet file, by way of pyarrow (`pip install "farebox[parquet]"`), a row group at a time.

The columns are those of the CSV file (proxy/records/exports.py). Integers are int64, `time` is a timestamp in UTC, `credits` an
exact decimal; `usage` and `tags` are JSON texts. Memory is that of one row group.
"""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

from proxy.core.errors import ConfigError
from proxy.records.exports import ENTRY_COLUMNS, USAGE_COLUMNS, shown_entry, shown_usage
from proxy.records.search import USAGE, Shelf
from proxy.sql.database import Row

ROW_GROUP = 10_000
_INTEGERS = frozenset(
    {
        *("at", "status", "input_tokens", "output_tokens", "cached_tokens", "cost_nano_usd", "charge_microcredits"),
        *("hold_microcredits", "attempts", "duration_ms", "time_to_first_byte_ms", "seq", "amount_microcredits"),
        *("before_microcredits", "after_microcredits"),
    }
)


class ParquetFile:
    """A file of the rows of one shelf, written while the block runs; whole when the block ends well."""

    def __init__(self, path: Path, shelf: Shelf) -> None:
        """Raises ConfigError where pyarrow is not installed."""
        self._arrow, parquet = _pyarrow()
        self._shown = shown_usage if shelf is USAGE else shown_entry
        columns = USAGE_COLUMNS if shelf is USAGE else ENTRY_COLUMNS
        self._schema = self._arrow.schema([(name, _type(self._arrow, name)) for name in columns])
        self._waiting: list[Row] = []
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write()
        self._writer.close()

    def add(self, rows: Iterable[Row]) -> None:
        """Adds rows; they are written when there are enough of them."""
        self._waiting += rows
        if len(self._waiting) >= ROW_GROUP:
            self._write()

    def _write(self) -> None:
        if not self._waiting:
            return
        rows, self._waiting = self._waiting, []
        shown = [{**self._shown(row), "time": row["at"]} for row in rows]
        arrays = [
            self._arrow.array([_value(one[field.name], field.name) for one in shown], field.type)
            for field in self._schema
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))


def _pyarrow() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, and half a second
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            'Parquet needs pyarrow, which is not installed: pip install "farebox[parquet]", or take --format csv or jsonl.'
        ) from error
    return pa, parquet


def _type(arrow: ModuleType, name: str) -> Any:
    types = {"stream": arrow.bool_(), "time": arrow.timestamp("ms", tz="UTC"), "credits": arrow.decimal128(22, 6)}
    return arrow.int64() if name in _INTEGERS else types.get(name, arrow.string())


def _value(value: object, name: str) -> object:
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return Decimal(str(value)) if name == "credits" else value
