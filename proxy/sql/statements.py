"""SQL in files: named queries (`-- name: x` above each) and numbered migrations (`0001_what.sql`).

A migration is applied once, in order, and never edited afterwards: its SHA-256 is kept beside its number.
In a migration a statement ends with a semicolon at the end of a line, and comments stand on lines of their own.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

from proxy.core.errors import ConfigError

_NAME = re.compile(r"-- name: ([a-z][a-z0-9_]*)\s*")
_MIGRATION = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file: `name` without its suffix, `checksum` the SHA-256 of its bytes."""

    version: int
    name: str
    checksum: str
    statements: tuple[str, ...]


def load_queries(folder: str = "queries") -> dict[str, str]:
    """Every named query of the package, by name. Raises ValueError on a duplicate or a query without a name."""
    queries: dict[str, str] = {}
    for file in sorted(resources.files("proxy.sql").joinpath(folder).iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".sql"):
            continue
        for name, statement in split_queries(file.read_text(encoding="utf-8")):
            if name in queries:
                raise ValueError(f"the query {name} is defined twice")
            queries[name] = statement
    return queries


def split_queries(source: str) -> list[tuple[str, str]]:
    """(name, SQL) of each query in one file; comment lines are dropped."""
    found: list[tuple[str, list[str]]] = []
    for line in source.splitlines():
        heading = _NAME.fullmatch(line)
        if heading:
            found.append((heading[1], []))
        elif line.strip() and not line.lstrip().startswith("--"):
            if not found:
                raise ValueError(f"SQL before the first name: {line[:60]}")
            found[-1][1].append(line)
    return [(name, "\n".join(lines).rstrip().removesuffix(";")) for name, lines in found]


def load_migrations(folder: str = "migrations") -> list[Migration]:
    """The package's migrations in order. Raises ValueError where numbers repeat or leave a gap."""
    migrations = []
    for file in resources.files("proxy.sql").joinpath(folder).iterdir():
        number = _MIGRATION.fullmatch(file.name)
        if number:
            content = file.read_bytes()
            checksum = hashlib.sha256(content).hexdigest()
            statements = split_statements(content.decode())
            migrations.append(Migration(int(number[1]), file.name.removesuffix(".sql"), checksum, statements))
    migrations.sort(key=lambda migration: migration.version)
    if [migration.version for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise ValueError("migrations must be numbered 0001, 0002, ... without gaps")
    return migrations


def split_statements(source: str) -> tuple[str, ...]:
    """The statements of a migration."""
    lines = [line for line in source.splitlines() if line.strip() and not line.lstrip().startswith("--")]
    parts = re.split(r";[ \t]*$", "\n".join(lines), flags=re.MULTILINE)
    return tuple(part.strip() for part in parts if part.strip())


def pending(applied: Mapping[int, str], migrations: Iterable[Migration]) -> list[Migration]:
    """What is left to apply, given version -> checksum of what was. Raises ConfigError where the two do not fit."""
    known = {migration.version: migration for migration in migrations}
    for version, checksum in applied.items():
        if version not in known:
            raise ConfigError(
                f"the database has migration {version:04d}, which this version of Farebox does not know: "
                "start the newer version that made it"
            )
        if known[version].checksum != checksum:
            raise ConfigError(
                f"migration {known[version].name} is not the one that was applied to this database: "
                "an applied migration must never change"
            )
    return [migration for version, migration in sorted(known.items()) if version not in applied]
