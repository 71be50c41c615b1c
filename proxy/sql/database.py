"""What the rest of Farebox knows of SQL: named queries, rows as dicts, several changes in one commit.

Values are integers (money, counts and instants in ms are bigint), text (JSON is text) or None, so that every query means
the same to SQLite and to PostgreSQL. Names and parameters are those of `proxy/sql/queries/*.sql`.

Guarantees: a change that returned is committed and on disk (see the backend for what "on disk" survives); one that raised
`RowRefused` changed nothing; one that raised `DatabaseUnavailable`, or whose await was cancelled, may or may not have been
applied: repeat it only where the query is idempotent, which those of the recorder are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from proxy.core.errors import ConfigError, FareboxError, Unavailable

Value = int | str | None
Row = dict[str, Value]
Params = Mapping[str, Value]
Step = tuple[str, Sequence[Params]]


class DatabaseUnavailable(Unavailable):
    """503: the database is away, locked for too long, full or broken; the same call may work later."""

    code = "database_unavailable"
    default_message = "Farebox's database is not available at the moment. Try again shortly."


class RowRefused(FareboxError):
    """The database refuses this very row (a constraint, NUL in text, a number too large): repeating cannot help."""

    code = "row_refused"
    default_message = "The database refused a row."


class Database(Protocol):
    """One database, used by any number of processes. All methods raise DatabaseUnavailable; writing ones RowRefused too."""

    async def fetch(self, query: str, /, **params: Value) -> list[Row]:
        """All rows of a named query; queries over unbounded tables carry a LIMIT."""
        ...

    async def fetch_one(self, query: str, /, **params: Value) -> Row | None:
        """The first row, or None."""
        ...

    async def execute(self, query: str, /, **params: Value) -> int:
        """One change, committed; returns how many rows it touched."""
        ...

    async def transaction(self, *steps: Step) -> list[int]:
        """All steps (a query and its rows) in one commit, or none; returns the rows touched by each step.

        A backend that cannot count the rows of a step with many of them gives -1 for it.
        """
        ...

    async def migrate(self) -> list[str]:
        """Brings the schema up to this version, safe against a concurrent start; returns what was applied."""
        ...

    async def close(self) -> None:
        """Lets running work finish and closes. Idempotent."""
        ...


def integer(row: Row, column: str) -> int:
    """An integer column of a row, for the type checker's sake; raises TypeError on anything else."""
    value = row[column]
    if not isinstance(value, int):
        raise TypeError(f"column {column} holds no integer")
    return value


def text(row: Row, column: str) -> str:
    """A text column of a row, for the type checker's sake; raises TypeError on anything else."""
    value = row[column]
    if not isinstance(value, str):
        raise TypeError(f"column {column} holds no text")
    return value


def optional_integer(row: Row, column: str) -> int | None:
    """An integer column that may be null."""
    return None if row[column] is None else integer(row, column)


def optional_text(row: Row, column: str) -> str | None:
    """A text column that may be null."""
    return None if row[column] is None else text(row, column)


def sqlite_path(url: str) -> Path:
    """The file of `sqlite:///relative.db` or `sqlite:////absolute.db`. Raises ConfigError."""
    scheme, separator, rest = url.partition(":///")
    if scheme != "sqlite" or not separator:
        raise ConfigError("database.url must be sqlite:///relative/path.db or sqlite:////absolute/path.db")
    if not rest or rest.startswith(":") or any(sign in rest for sign in "?#\0"):
        # An in-memory database would be another one for each connection, and gone with the process.
        raise ConfigError("database.url must name a file: sqlite:///farebox-data/farebox.db")
    return Path(rest)


def open_database(url: str, *, longest_read_s: float | None = None) -> Database:
    """The database behind `database.url`; nothing is opened before its first use. Raises ConfigError.

    A reading query that takes longer than `longest_read_s` is ended, with DatabaseUnavailable (`query_too_long`).
    """
    from proxy.sql.sqlite import SqliteDatabase  # noqa: PLC0415 - it implements what this file defines

    if url.startswith(("postgres:", "postgresql:")):
        raise ConfigError("database.url: PostgreSQL is not supported yet; use sqlite:///path.db")
    return SqliteDatabase(sqlite_path(url), longest_read_s=longest_read_s)
