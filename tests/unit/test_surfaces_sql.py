"""The surfaces' queries run on indexes: none walks the usage records or the ledger entries, and no page sorts what it does not show."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import proxy.sql
from proxy.providers.registry import OPERATIONS
from proxy.sql.statements import load_migrations, load_queries
from proxy.surfaces.services import SERVICES

FOLDER = Path(proxy.sql.__file__).parent / "queries"
NAMES = [
    name for file in sorted(FOLDER.glob("surface*.sql")) for name in re.findall(r"-- name: (\w+)", file.read_text())
]
LARGE = {"usage_records", "ledger_entries", "u", "e"}  # and what the queries call them


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in load_migrations():
            for statement in migration.statements:
                connection.execute(statement)
        yield connection


@pytest.mark.parametrize("name", NAMES)
def test_no_query_walks_a_large_table(database: sqlite3.Connection, name: str) -> None:
    query = load_queries()[name]
    params = dict.fromkeys(re.findall(r":([a-z_]+)", query), 1)
    plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {query}", params)]
    walked = [step for step in plan if (found := re.match(r"SCAN (\w+)", step)) and found[1] in LARGE]
    assert not walked, walked
    if "OFFSET" in query and "GROUP BY" not in query:
        assert not [step for step in plan if "TEMP B-TREE" in step], plan


def service_of(database: sqlite3.Connection, path: str) -> str:
    row = (
        "'c', 0, 0, 'a', 'k', 'p', 'm', 'd', ?, 200, 'completed', 0, '{}', 0, 0, 0, 0, 0, 'v', 'b', 1, 1, 1, 't', '{}'"
    )
    columns = (
        "call_id, revision, at, account_id, key_id, provider, model, dialect, path, status, outcome, stream, usage, input_tokens, "
        "output_tokens, cost_nano_usd, charge_microcredits, hold_microcredits, price_version, settlement_basis, attempts, "
        "duration_ms, time_to_first_byte_ms, trace_id, tags"
    )
    database.execute(f"INSERT INTO usage_records ({columns}) VALUES ({row})", [path])
    try:
        return str(database.execute("SELECT service FROM served_calls").fetchone()[0])
    finally:
        database.execute("DELETE FROM usage_records")


def test_every_path_of_every_dialect_has_a_service(database: sqlite3.Connection) -> None:
    found = {}
    for operation in OPERATIONS:
        for path in operation.paths:
            found[path.suffix] = service_of(database, f"/provider{path.suffix}")
    assert set(found.values()) <= set(SERVICES) - {"other"}, [path for path in found if found[path] == "other"]


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/v1/chat/completions", "chat"),
        ("/chat/v1/responses", "chat"),
        ("/anthropic/v1/messages", "chat"),
        ("/v1beta/models/gemini-2.5-flash-image:generateContent", "chat"),
        ("/v1beta/models/x:batchEmbedContents", "embeddings"),
        ("/model/amazon.titan-embed-text-v2:0/invoke", "embeddings"),
        ("/model/x/converse-stream", "chat"),
        ("/v1/images/edits", "images"),
        ("/v1/publishers/google/models/imagen-4:predict", "images"),
        ("/v1/publishers/anthropic/models/x:rawPredict", "chat"),
        ("/v1/audio/speech", "audio"),
        ("/v2/rerank", "rerank"),
        ("/v1/moderations", "moderations"),
        ("/local/v1/files", "other"),
    ],
)
def test_services(database: sqlite3.Connection, path: str, service: str) -> None:
    assert service_of(database, path) == service
