"""SQL in files: every query has a name and parameters that SQLite and PostgreSQL both take; migrations never change."""

import re
import sqlite3

import pytest

from proxy.core.errors import ConfigError
from proxy.sql.database import sqlite_path
from proxy.sql.statements import Migration, load_migrations, load_queries, pending, split_queries, split_statements


def test_queries_are_split_by_name_and_lose_their_comments() -> None:
    source = "-- a page\n\n-- why\n-- name: one\nSELECT 1;\n\n-- name: two\n-- how\nSELECT :a\nFROM t;\n"
    assert split_queries(source) == [("one", "SELECT 1"), ("two", "SELECT :a\nFROM t")]


def test_sql_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="before the first name"):
        split_queries("SELECT 1;")


def test_statements_of_a_migration_end_at_a_semicolon_at_the_end_of_a_line() -> None:
    assert split_statements("-- a; b\nCREATE TABLE a (b TEXT DEFAULT ';x');\n\nCREATE TABLE c (d TEXT);\n") == (
        "CREATE TABLE a (b TEXT DEFAULT ';x')",
        "CREATE TABLE c (d TEXT)",
    )


def test_every_query_is_valid_against_the_migrated_schema() -> None:
    connection = sqlite3.connect(":memory:")
    for migration in load_migrations():
        for statement in migration.statements:
            connection.execute(statement)
    for sql in load_queries().values():
        names = set(re.findall(r":([a-z_]+)", sql))
        connection.execute(f"EXPLAIN {sql}", dict.fromkeys(names))
    connection.close()


def test_no_query_uses_what_only_one_database_understands() -> None:
    only_one = re.compile(
        r"\b(INSERT OR|REPLACE INTO|GLOB|IFNULL|ROWID|AUTOINCREMENT|JSON_EXTRACT|ILIKE)\b|::|\?", re.IGNORECASE
    )
    for name, sql in load_queries().items():
        assert not only_one.search(sql), name
    for migration in load_migrations():
        for statement in migration.statements:
            assert not only_one.search(statement), migration.name


def test_pending_migrations_are_those_that_are_not_applied() -> None:
    one, two = Migration(1, "0001_a", "x", ()), Migration(2, "0002_b", "y", ())
    assert pending({1: "x"}, [two, one]) == [two]
    assert pending({1: "x", 2: "y"}, [one, two]) == []


def test_a_changed_or_unknown_migration_stops_the_start() -> None:
    one = Migration(1, "0001_a", "x", ())
    with pytest.raises(ConfigError, match="must never change"):
        pending({1: "other"}, [one])
    with pytest.raises(ConfigError, match="newer version"):
        pending({1: "x", 2: "y"}, [one])


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///a.db?mode=ro", "mysql:///x"]
)
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        sqlite_path(url)


def test_a_url_names_a_relative_or_absolute_file() -> None:
    assert str(sqlite_path("sqlite:///farebox-data/farebox.db")) == "farebox-data/farebox.db"
    assert str(sqlite_path("sqlite:////var/lib/farebox.db")) == "/var/lib/farebox.db"
