"""A database of many usage records for `bench.queries`: the same rows each time, made once and kept in bench/.cache.

Accounts have Zipf sizes (the largest makes a ninth of all calls), models too; calls are spread evenly over the days before
`END_MS`, which lies within an hour, so that every summary has torn ends. Each call that was charged has its ledger entry, each
account a top-up before them. Rows are inserted without indexes, which are made afterwards; then the sums are.
"""

import hashlib
import itertools
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from proxy.records.sums import GRAINS
from proxy.sql.statements import load_migrations, load_queries

CACHE = Path(__file__).parent / ".cache"
END_MS = 1_793_460_461_234  # 2026-10-31 15:27:41.234 UTC
DAY_MS = 86_400_000
ACCOUNTS = 3000
_CHUNK = 20_000
_TOPUP = 10**12
_BATCHED = ("usage_records", "ledger_entries")
# (model, provider, path, dialect), the commonest first
_MODELS = (
    ("gpt-4o-mini", "openai", "/v1/chat/completions", "openai"),
    ("claude-sonnet-4-5", "anthropic", "/v1/messages", "anthropic"),
    ("gpt-4o", "openai", "/v1/chat/completions", "openai"),
    ("text-embedding-3-small", "openai", "/v1/embeddings", "openai"),
    ("gemini-2.5-flash", "gemini", "/v1beta/models/gemini-2.5-flash:generateContent", "gemini"),
    ("gpt-4.1", "azure", "/v1/chat/completions", "openai"),
    ("claude-haiku-4-5", "bedrock", "/model/claude-haiku-4-5/converse", "bedrock"),
    ("gpt-5", "openai", "/v1/responses", "openai"),
    ("deepseek-chat", "deepseek", "/v1/chat/completions", "openai"),
    ("mistral-large", "mistral", "/v1/chat/completions", "openai"),
    ("command-r", "cohere", "/v2/chat", "cohere"),
    ("gpt-image-1", "openai", "/v1/images/generations", "openai"),
)
_STATUSES = (
    (200, "completed", 975),
    (429, "upstream_failed", 10),
    (500, "upstream_failed", 10),
    (None, "abandoned", 5),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What is made: how many records, over how many days."""

    records: int
    days: int

    @property
    def path(self) -> Path:
        """Where it is kept: by what it holds and by the code that made it."""
        code = Path(__file__).read_bytes() + b"".join(one.checksum.encode() for one in load_migrations())
        return CACHE / f"queries-{self.records}-{self.days}-{hashlib.sha256(code).hexdigest()[:12]}.db"


def account_id(rank: int) -> str:
    """The account of a rank, 0 being the largest."""
    return f"acct_{hashlib.sha256(b'account %d' % rank).hexdigest()[:20]}"


def key_ids(rank: int) -> list[str]:
    """The account's keys: more for the larger ones, the busiest first."""
    count = 1 + min(5, ACCOUNTS // (200 * (rank + 1)) + (rank % 3 == 0))
    return [f"key_{hashlib.sha256(b'key %d %d' % (rank, one)).hexdigest()[:20]}" for one in range(count)]


def generate(shape: Shape, path: Path, progress: Callable[[str, int], None]) -> None:
    """Makes the file; it appears whole or not at all. `progress` hears the step and how many records it has come to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as database:
        for pragma in ("page_size=4096", "journal_mode=OFF", "synchronous=OFF", "cache_size=-1000000"):
            database.execute(f"PRAGMA {pragma}")
        _make_schema(database)
        indexes = _without_indexes(database)
        database.execute("BEGIN")
        _fill(database, shape, progress)
        database.execute("COMMIT")
        for number, index in enumerate(indexes):
            progress(f"index {number + 1} of {len(indexes)}", shape.records)
            database.execute(index)
        _sum(database, shape, progress)
        progress("statistics", shape.records)
        database.execute("PRAGMA journal_mode=WAL")
    unfinished.rename(path)


def _make_schema(database: sqlite3.Connection) -> None:
    database.execute(
        "CREATE TABLE schema_migrations "
        "(version BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)"
    )
    for migration in load_migrations():
        for statement in migration.statements:
            database.execute(statement)
        row = (migration.version, migration.name, migration.checksum, 0)
        database.execute("INSERT INTO schema_migrations VALUES (?, ?, ?, ?)", row)


def _without_indexes(database: sqlite3.Connection) -> list[str]:
    """Drops the indexes of the large tables and returns what makes them again."""
    found = database.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN (?, ?)", _BATCHED
    ).fetchall()
    for name, _ in found:
        database.execute(f"DROP INDEX {name}")
    return [sql for _, sql in found]


def _fill(database: sqlite3.Connection, shape: Shape, progress: Callable[[str, int], None]) -> None:
    begin = END_MS - shape.days * DAY_MS
    for rank in range(ACCOUNTS):
        database.execute(
            "INSERT INTO accounts (id, name, status, version, created_at) VALUES (?, ?, 'active', 1, ?)",
            (account_id(rank), f"account {rank}", begin),
        )
        for key in key_ids(rank):
            database.execute(
                "INSERT INTO api_keys (id, account_id, digest, prefix, kind, status, created_at) VALUES (?, ?, ?, ?, 'user', 'active', ?)",
                (key, account_id(rank), key, key[:9], begin),
            )
    usage = f"INSERT INTO usage_records ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
    ledger = (
        "INSERT INTO ledger_entries (account_id, seq, kind, amount_microcredits, before_microcredits, after_microcredits, at, call_id, "
        "operation_id, actor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    )
    books = _Books(begin)
    database.executemany(ledger, books.topups())
    done = 0
    for rows in _rows(shape, begin):
        database.executemany(usage, rows)
        database.executemany(ledger, books.charges(rows))
        done += len(rows)
        progress("records", done)


_COLUMNS = (
    "call_id", "revision", "at", "account_id", "key_id", "provider", "model", "dialect", "path", "status", "outcome", "stream",
    "usage", "input_tokens", "output_tokens", "cost_nano_usd", "charge_microcredits", "hold_microcredits", "price_version",
    "settlement_basis", "attempts", "duration_ms", "time_to_first_byte_ms", "trace_id", "tags", "cached_tokens",
)  # fmt: skip
_CALL_ID, _AT, _ACCOUNT_ID, _CHARGE = (
    _COLUMNS.index(name) for name in ("call_id", "at", "account_id", "charge_microcredits")
)


def _rows(shape: Shape, begin: int) -> Iterator[list[tuple[object, ...]]]:
    chance = random.Random(20261031)
    by_account = list(itertools.accumulate(1 / (rank + 1) for rank in range(ACCOUNTS)))
    by_model = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(_MODELS))))
    by_status = list(itertools.accumulate(weight for _, _, weight in _STATUSES))
    accounts = [(account_id(rank), key_ids(rank)) for rank in range(ACCOUNTS)]
    span = END_MS - begin
    for first in range(0, shape.records, _CHUNK):
        size = min(_CHUNK, shape.records - first)
        owners = chance.choices(accounts, cum_weights=by_account, k=size)
        models = chance.choices(_MODELS, cum_weights=by_model, k=size)
        statuses = chance.choices(_STATUSES, cum_weights=by_status, k=size)
        rows = []
        for number, owner, model, status in zip(range(first, first + size), owners, models, statuses, strict=True):
            rows.append(_row(begin + number * span // shape.records, chance.getrandbits(74), owner, model, status))
        yield rows


def _row(
    at: int, bits: int, owner: tuple[str, list[str]], model: tuple[str, ...], status: tuple[int | None, str, int]
) -> tuple[object, ...]:
    name, provider, path, dialect = model
    trace = f"{at << 80 | 7 << 76 | bits >> 62 << 64 | 2 << 62 | bits & (1 << 62) - 1:032x}"
    call_id = f"{trace[:8]}-{trace[8:12]}-{trace[12:16]}-{trace[16:20]}-{trace[20:]}"
    keys = owner[1]
    key = keys[min(bits & 7, len(keys) - 1)]
    good = status[0] == 200
    tokens_in = (bits >> 8 & 0xFFF) + 20 if good else 0
    tokens_out = (bits >> 20 & 0x3FF) + 1 if good else 0
    cached = tokens_in // 2 if bits >> 30 & 3 == 0 else 0
    cost = tokens_in * 150 + tokens_out * 600
    usage = f'{{"input":{tokens_in - cached},"cache_read":{cached},"output":{tokens_out}}}'
    tags = '{"team":"red"}' if bits & 1 else "{}"
    return (
        *(call_id, 0, at, owner[0], key, provider, name, dialect, path, status[0], status[1], bits >> 32 & 1, usage),
        *(tokens_in, tokens_out, cost, -(-cost // 1000), 8000, "0123456789abcdef", "reported" if good else "none", 1),
        *(bits >> 33 & 0xFFF, bits >> 33 & 0x1FF, trace, tags, cached),
    )


class _Books:
    """Every account's ledger entries in their order."""

    def __init__(self, begin: int) -> None:
        self._begin = begin
        self._state = {account_id(rank): [1, _TOPUP] for rank in range(ACCOUNTS)}

    def topups(self) -> list[tuple[object, ...]]:
        return [
            (account, 1, "topup", _TOPUP, 0, _TOPUP, self._begin, None, f"op {account}", "bench")
            for account in self._state
        ]

    def charges(self, rows: Sequence[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
        for row in rows:
            charge, account = row[_CHARGE], row[_ACCOUNT_ID]
            if charge and isinstance(charge, int) and isinstance(account, str):
                state = self._state[account]
                seq, before = state
                state[0], state[1] = seq + 1, before - charge
                yield account, seq + 1, "charge", -charge, before, before - charge, row[_AT], row[_CALL_ID], None, ""


def _sum(database: sqlite3.Connection, shape: Shape, progress: Callable[[str, int], None]) -> None:
    """The sums, a day at a time, by the query that makes them again."""
    queries = load_queries()
    first = (END_MS - shape.days * DAY_MS) // DAY_MS * DAY_MS
    for day, start in enumerate(range(first, END_MS, DAY_MS)):
        progress(f"sums of day {day + 1}", shape.records)
        for number, grain in enumerate(GRAINS):
            query = "remake_usage_sums_of_hours" if number else "remake_usage_sums"
            database.execute(queries[query], {**grain, "from_at": start, "to_at": start + DAY_MS})
