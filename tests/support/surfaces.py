"""Asking the query surfaces of a running Farebox: plain requests as other people's tools send them, numbers read exactly.

A JSON integer arrives as `int`, any other JSON number as `Decimal`: a surface that put money through a float is found out.
"""

import asyncio
import http.client
import itertools
import json
import re
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from proxy.accounts.directory import KeySettings
from proxy.accounts.maintenance import switch
from proxy.accounts.topups import Credit
from proxy.records.sums import steps
from proxy.sql.statements import load_queries
from tests.support.books import is_quiet, stores_of
from tests.support.installation import MODEL, Installation

# A second provider whose model has a price for cached input; nothing listens there.
OTHER = """
[providers.other]
dialect = "openai"
base_url = "http://127.0.0.1:9/v1"
api_key = "other-key"
models = ["cached-model"]
[prices."cached-model"]
input = "1.00"
cache_read = "0.50"
output = "2.00"
"""
MICRO = 1_000_000
UTC_MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
HOSTILE_TEXTS = (
    *("' OR '1'='1", "1; DROP TABLE usage_records; --", '"; SELECT 1', "%", "_", "%%%", "a\\", "\u202eexe.txt", "\0"),
    *("{{7*7}}", "=1+1", "../../etc/passwd", "🙂" * 50, "x" * 5000),
)
"""What no filter may be broken, widened or read by."""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    """`headers` by name in lower case; `text` as it came."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body; fails where it is no JSON."""
        assert self.headers.get("content-type", "").startswith("application/json"), (self.status, self.text[:300])
        return json.loads(self.text, parse_float=Decimal)

    def data(self, status: int = 200) -> Any:
        """The body of an answer that has this status."""
        assert self.status == status, (self.status, self.text[:500])
        return self.json


@dataclass(frozen=True)
class Holder:
    """An account for one test: its id, name and a key."""

    id: str
    name: str
    key: str


def ask(
    farebox: Installation,
    method: str,
    path: str,
    *,
    bearer: str = "",
    x_api_key: str = "",
    query: dict[str, Any] | list[tuple[str, Any]] | None = None,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request. `query` is percent-encoded whatever is in it; `body` bytes as they are, anything else as JSON."""
    sent = dict(headers or {})
    if bearer:
        sent["Authorization"] = f"Bearer {bearer}"
    if x_api_key:
        sent["X-API-Key"] = x_api_key
    data = None
    if body is not None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent.setdefault("Content-Type", "application/json")
    pairs = query.items() if isinstance(query, dict) else query or ()
    if pairs:
        path += "?" + "&".join(f"{quote(name, safe='[]')}={quote(str(value), safe='')}" for name, value in pairs)
    with closing(http.client.HTTPConnection("127.0.0.1", farebox.port, timeout=30)) as connection:
        connection.request(method, path, data, sent)
        answer = connection.getresponse()
        received = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, received, answer.read().decode())


def holder(farebox: Installation, microcredits: int = 100 * MICRO, name: str = "", **settings: Any) -> Holder:
    """A new account with a balance and a key; `settings` are those of the key."""
    name = name or f"holder-{next(_numbers)}"

    async def make() -> Holder:
        async with stores_of(farebox) as stores:
            account = await stores.directory.create_account(name)
            if microcredits:
                await stores.topups.top_up(account.id, Credit(microcredits, f"first-{name}", actor="test"))
            made = await stores.directory.create_key(account.id, KeySettings(**settings))
            return Holder(account.id, name, made.key)

    return asyncio.run(make())


def another_key(farebox: Installation, owner: Holder, **settings: Any) -> tuple[str, str]:
    """One more key of an account: its id and the key."""

    async def make() -> tuple[str, str]:
        async with stores_of(farebox) as stores:
            made = await stores.directory.create_key(owner.id, KeySettings(**settings))
            return made.api_key.id, made.key

    return asyncio.run(make())


def call(farebox: Installation, key: str, output: int = 5, **more: Any) -> str:
    """A chat call of the test model that costs 7 input tokens and `output` ones; returns its call id."""
    body = {"model": MODEL, "max_tokens": 500, "messages": [{"role": "user", "content": "hello"}], **more}
    body["mock"] = {"chunks": output}
    answer = ask(farebox, "POST", "/v1/chat/completions", bearer=key, body=body)
    assert answer.status == 200, answer.text
    return answer.headers["x-farebox-call-id"]


def settled(farebox: Installation) -> None:
    """Returns when no call is open and every event is in SQL."""

    async def wait() -> None:
        deadline = time.monotonic() + 20
        async with stores_of(farebox) as stores:
            while not await is_quiet(stores):
                assert time.monotonic() < deadline, "holds stay open or events stay out of SQL"
                await asyncio.sleep(0.02)

    asyncio.run(wait())


def maintenance(farebox: Installation, *, on: bool) -> None:
    """Switches maintenance mode; workers look at the switch once a second."""

    async def turn() -> None:
        async with stores_of(farebox) as stores:
            await switch(stores.database, on=on, actor="test", now_ms=time.time_ns() // 1_000_000)

    asyncio.run(turn())


def remember(farebox: Installation, account_id: str, key_id: str = "key_past", **columns: Any) -> str:
    """Writes a usage record of the past straight into SQL, without a charge in the ledger; returns its call id."""
    number = next(_numbers)
    row = {
        "call_id": f"00000000-0000-7000-8000-{number:012x}",
        "revision": 0,
        "at": 1_700_000_000_000,
        "account_id": account_id,
        "key_id": key_id,
        "provider": "local",
        "model": MODEL,
        "dialect": "openai",
        "path": "/v1/chat/completions",
        "status": 200,
        "outcome": "completed",
        "stream": 0,
        "usage": json.dumps({"input": columns.get("input_tokens", 0), "output": columns.get("output_tokens", 0)}),
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_nano_usd": 0,
        "charge_microcredits": 0,
        "hold_microcredits": 0,
        "price_version": "test",
        "settlement_basis": "reported",
        "attempts": 1,
        "duration_ms": 1,
        "time_to_first_byte_ms": 1,
        "trace_id": f"{number:032x}",
        "tags": "{}",
        **columns,
    }
    queries = load_queries()
    with closing(sqlite3.connect(farebox.directory / "state" / "farebox.db", timeout=10)) as database, database:
        for query, rows in steps([{"cached_tokens": None} | row]):
            database.executemany(queries[query], rows)
    return str(row["call_id"])


def decimal(microcredits: int, per: int = MICRO) -> Decimal:
    """Microcredits as credits, or with `per` = 10^6 x credits per dollar as dollars; exact."""
    return Decimal(microcredits) / per


def same_shape(value: Any, shape: Any, where: str = "$") -> None:
    """Fails unless `value` has exactly the members and types of `shape`: types, tuples of types, {name: shape}, [shape]."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        assert set(value) == set(shape), f"{where}: {set(value) ^ set(shape)}"
        for name, inner in shape.items():
            same_shape(value[name], inner, f"{where}.{name}")
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        for number, one in enumerate(value):
            same_shape(one, shape[0], f"{where}[{number}]")
    else:
        types = shape if isinstance(shape, tuple) else (shape,)
        # bool is an int to Python, and not to JSON.
        assert type(value) in types, f"{where}: {value!r} is a {type(value).__name__}"


NUMBER = (int, Decimal)
"""Any JSON number."""
NULL = type(None)
