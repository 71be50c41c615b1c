"""Usage records and ledger entries as a Parquet file, by way of pyarrow (`pip install "farebox[parquet]"`), a row group at a time.

The columns are those of the CSV file (proxy/records/export.py). Integers are int64, `time` is a timestamp in UTC, `credits` an
exact decimal; `usage` and `tags` are JSON texts. Memory is that of one row group.
"""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

from proxy.core.errors import ConfigError
from proxy.records.export import Cell, Column, Kind, Record, cells

ROW_GROUP = 20_000


class ParquetFile:
    """A file that is written while the block runs; whole when the block ends well."""

    def __init__(self, path: Path, columns: tuple[Column, ...]) -> None:
        """Raises ConfigError where pyarrow is not installed."""
        self._arrow, parquet = _pyarrow()
        self._columns = columns
        self._schema = self._arrow.schema([(column.name, _type(self._arrow, column.kind)) for column in columns])
        names = [column.name for column in columns]
        # An instant is made of the integer that it comes from.
        self._places = [
            names.index(one.source) if one.kind == "instant" else place for place, one in enumerate(columns)
        ]
        self._waiting: list[list[Cell]] = []
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write()
        self._writer.close()

    def add(self, records: Iterable[Record]) -> None:
        """Adds rows; they are written when there are enough of them."""
        self._waiting += [cells(record, self._columns) for record in records]
        if len(self._waiting) >= ROW_GROUP:
            self._write()

    def _write(self) -> None:
        if not self._waiting:
            return
        rows, self._waiting = self._waiting, []
        arrays = [
            self._arrow.array([_value(row[place], column.kind) for row in rows], self._schema.field(column.name).type)
            for column, place in zip(self._columns, self._places, strict=True)
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


def _type(arrow: ModuleType, kind: Kind) -> Any:
    types = {
        "integer": arrow.int64(),
        "boolean": arrow.bool_(),
        "instant": arrow.timestamp("ms", tz="UTC"),
        "credits": arrow.decimal128(22, 6),
    }
    return types.get(kind, arrow.string())


def _value(cell: Cell, kind: Kind) -> object:
    return Decimal(str(cell)) if kind == "credits" else cell
