"""Stores that go away and come back under a running Farebox: what callers see, what is charged, and that nobody must restart it."""

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.tasks import Tasks
from tests.support.books import Books, balances, is_quiet, open_accounts, stores_of
from tests.support.hammer import wait_until
from tests.support.installation import MODEL, Installation, charge_of
from tests.support.mock_provider import INPUT_TOKENS, MockProvider
from tests.support.processes import until
from tests.support.redis_server import RedisServer, start_redis

PATHS = ("/v1/chat/completions", "/v1/messages")
BALANCE = 1_000_000_000
COMMAND_TIMEOUT_S = 0.8
REFUSED_WITHIN_S = 1.0 + 0.2  # a second, and what a busy machine adds to the measurement
BACK_WITHIN_S = 10.0
LEASE_S = 4
# Small steps of output: a stream without a limit soon needs more.
_SETTINGS = {
    "credits": f"lease_s = {LEASE_S}\nsweep_s = 0.5\ncheckpoint_s = 1",
    "recorder": "claim_after_s = 2",
    "extra": "assumed_output_tokens = 16",
}


@dataclass
class House:
    """A Farebox with one worker, on a Redis of its own that tests may stop, kill and empty."""

    farebox: Installation
    provider: MockProvider
    redis: RedisServer
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def spool(self) -> Path:
        """Where the worker keeps settlements that Redis could not take."""
        return self.farebox.directory / "state" / "spool" / "worker-0.jsonl"

    async def account(self, name: str) -> str:
        """A new account's key."""
        self.keys |= await open_accounts(self.farebox, {name: BALANCE})
        return self.keys[name]

    async def settled(self, name: str) -> tuple[list[dict[str, Any]], int]:
        """The account's records and what it has paid, once nothing is spooled or open and everything is recorded."""
        until(lambda: not self.spool.read_bytes() if self.spool.exists() else True)
        async with stores_of(self.farebox) as stores:
            await wait_until(lambda: is_quiet(stores), 20)
            account_id = (await stores.directory.account(name)).id
            spent = (await balances(stores))[account_id].spent_microcredits
        books = Books.read(self.farebox)
        books.check_entries()
        return [record for record in books.records if record["account_id"] == account_id], spent

    async def serves_again(self, key: str) -> None:
        """Waits for a call of each dialect to be answered, and fails when that takes long."""
        for path in PATHS:

            async def answered(path: str = path) -> bool:
                return (await post(self, key, path)).status == 200

            await wait_until(answered, BACK_WITHIN_S)


@pytest.fixture(scope="module")
def provider() -> Iterator[MockProvider]:
    with MockProvider() as running:
        yield running


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    directory = Path(tempfile.mkdtemp(prefix="fb-", dir="/tmp"))
    server = start_redis(directory)
    yield server
    server.kill()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, provider: MockProvider, redis: RedisServer) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("outage")
    with Installation(directory, provider, redis=redis.url, **_SETTINGS) as farebox:
        yield House(farebox, provider, redis)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float
    longest_gap_s: float = 0.0


def chat(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}], **more}


async def post(
    house: House, key: str, path: str = PATHS[0], *, after_first: Callable[[], None] = lambda: None, **more: Any
) -> Answer:
    """One call. `after_first` runs when the first piece is here; `longest_gap_s` is the longest wait between two pieces."""
    began = last = time.monotonic()
    gap, pieces = 0.0, []
    auth = {"authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(house.farebox.url + path, json=chat(**more), headers=auth) as answer,
    ):
        async for piece in answer.content.iter_any():
            if not pieces:
                after_first()
            now = time.monotonic()
            gap, last = max(gap, now - last), now
            pieces.append(piece)
        now = time.monotonic()
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, headers, b"".join(pieces), now - began, max(gap, now - last))


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_without_redis_paid_calls_are_refused_at_once_and_served_again_when_it_is_back(
    house: House, how: str
) -> None:
    key = await house.account(f"outage-{how}")
    await house.serves_again(key)
    workers, forwarded = house.farebox.pids("worker"), len(house.provider.received)
    if how == "stopped":
        house.redis.signal(signal.SIGSTOP)
    else:
        house.redis.kill()
    try:
        for stream in (False, True, False):
            for answer, path in zip(
                await asyncio.gather(*(post(house, key, path, stream=stream) for path in PATHS)), PATHS, strict=True
            ):
                _check_unavailable(answer, path)
        assert await _readiness(house) == 503
    finally:
        _bring_back(house, how)
    assert len(house.provider.received) == forwarded
    await house.serves_again(key)
    assert house.farebox.pids("worker") == workers
    records, spent = await house.settled(f"outage-{how}")
    assert spent == sum(record["charge_microcredits"] for record in records)
    # A hold whose reply was lost may have been applied: then it ends by its lease, free of charge.
    assert spent == charge_of((INPUT_TOKENS, 5)) * (len(house.provider.received) - forwarded + len(PATHS))
    house.farebox.audit()


def _check_unavailable(answer: Answer, path: str) -> None:
    assert answer.status == 503
    assert answer.seconds < REFUSED_WITHIN_S
    assert int(answer.headers["retry-after"]) >= 1
    body = json.loads(answer.body)
    if path == PATHS[0]:
        assert set(body["error"]) >= {"message", "type", "param", "code"}
    else:
        assert body["type"] == "error"
        assert set(body["error"]) >= {"type", "message"}


@pytest.mark.parametrize(("path", "how"), [(PATHS[0], "stopped"), (PATHS[1], "stopped"), (PATHS[0], "killed")])
async def test_stream_goes_on_when_redis_dies_and_is_charged_when_it_is_back(house: House, path: str, how: str) -> None:
    name = f"midstream-{how}-{path.rsplit('/', 1)[1]}"
    key = await house.account(name)
    tokens, limit = 60, None if path == PATHS[0] else 100  # without a limit a stream asks Redis for more while it runs
    die = house.redis.kill if how == "killed" else lambda: house.redis.signal(signal.SIGSTOP)
    try:
        mock = {"chunks": tokens, "pace_ms": 20}
        answer = await post(house, key, path, after_first=die, stream=True, max_tokens=limit, mock=mock)
    finally:
        _bring_back(house, how)
    assert answer.status == 200
    assert answer.body.count(b'"word "') == tokens
    assert answer.body.rstrip().endswith(b"[DONE]" if path == PATHS[0] else b'"message_stop"}')
    assert answer.longest_gap_s < COMMAND_TIMEOUT_S + 0.4
    [record], spent = await house.settled(name)
    assert (record["input_tokens"], record["output_tokens"]) == (INPUT_TOKENS, tokens)
    assert (record["outcome"], record["settlement_basis"]) == ("completed", "reported")
    assert spent == record["charge_microcredits"] == charge_of((INPUT_TOKENS, tokens))
    await house.serves_again(key)
    house.farebox.audit()


def _bring_back(house: House, how: str) -> None:
    if how == "killed":
        house.redis.start()
    else:
        house.redis.signal(signal.SIGCONT)


async def test_successor_of_a_killed_worker_settles_what_its_spool_holds(house: House) -> None:
    key = await house.account("spooled")
    answers = await asyncio.gather(
        *(post(house, key, path, stream=True, mock={"chunks": 20, "pace_ms": 20}) for path in PATHS * 3),
        _after(0.2, house.redis.kill),
    )
    try:
        assert [answer.status for answer in answers[:-1]] == [200] * 6
        assert len(house.spool.read_bytes().splitlines()) == 6
        [worker] = house.farebox.pids("worker")
        os.kill(worker, signal.SIGKILL)
        with house.spool.open("ab") as file:
            file.write(b'{"account_id":"acct_torn')  # as a kill in the middle of a write leaves it
    finally:
        house.redis.start()
    await house.serves_again(key)
    records, spent = await house.settled("spooled")
    in_streams = [record for record in records if record["stream"]]
    assert [(record["output_tokens"], record["settlement_basis"]) for record in in_streams] == [(20, "reported")] * 6
    assert spent == sum(record["charge_microcredits"] for record in records)
    house.farebox.audit()


async def _after(seconds: float, action: Callable[[], None]) -> None:
    await asyncio.sleep(seconds)
    action()


async def test_settlement_that_comes_after_the_lease_corrects_the_charge_once(house: House) -> None:
    key = await house.account("late")
    [worker] = house.farebox.pids("worker")
    mock = {"chunks": 30, "pace_ms": 20}
    answer = await post(house, key, after_first=house.redis.kill, stream=True, mock=mock)
    assert answer.status == 200
    os.kill(worker, signal.SIGSTOP)  # so that the reaper is first
    try:
        await asyncio.sleep(LEASE_S)
        house.redis.start()
        async with stores_of(house.farebox) as stores:
            await wait_until(lambda: is_quiet(stores), 20)
            account_id = (await stores.directory.account("late")).id
        [record] = [one for one in Books.read(house.farebox).records if one["account_id"] == account_id]
        assert (record["settlement_basis"], record["charge_microcredits"]) == ("checkpoint", 0)
    finally:
        os.kill(worker, signal.SIGCONT)
    await house.serves_again(key)
    records, spent = await house.settled("late")
    [corrected] = [one for one in records if one["call_id"] == record["call_id"]]
    assert (corrected["settlement_basis"], corrected["revision"]) == ("reported", 1)
    assert corrected["charge_microcredits"] == charge_of((INPUT_TOKENS, 30))
    assert spent == sum(one["charge_microcredits"] for one in records)
    house.farebox.audit()


async def test_calls_go_on_while_the_database_is_locked_and_are_recorded_after_it(house: House) -> None:
    key = await house.account("locked")
    await house.serves_again(key)
    before = len(house.provider.received)
    seconds = 3.0
    with closing(sqlite3.connect(house.farebox.directory / "state" / "farebox.db", isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        locked_at = time.monotonic()
        lags = []
        while time.monotonic() - locked_at < seconds:
            answer = await post(house, key)
            assert answer.status == 200
            assert answer.seconds < 1.0
            lags.append(_lag(house))
            await asyncio.sleep(0.1)
        database.execute("ROLLBACK")
    assert lags[-1] > lags[0]
    assert lags[-1] >= len(lags)
    records, spent = await house.settled("locked")
    assert len(records) == len(house.provider.received) - before + len(PATHS)
    assert spent == sum(record["charge_microcredits"] for record in records)
    house.farebox.audit()


def _lag(house: House) -> float:
    [line] = [line for line in house.farebox.metrics().splitlines() if line.startswith("farebox_recorder_lag_records ")]
    return float(line.rsplit(" ", 1)[1])


async def test_emptied_redis_is_not_served_from_until_it_is_rebuilt(house: House) -> None:
    key = await house.account("flushed")
    await house.serves_again(key)
    _, spent = await house.settled("flushed")
    during = Tasks()
    answers: list[Answer] = []

    async def keep_streaming() -> None:
        answers.append(await post(house, key, stream=True, mock={"chunks": 200, "pace_ms": 20}))

    during.spawn("a call in progress", keep_streaming())
    await asyncio.sleep(0.3)
    forwarded = len(house.provider.received)
    house.redis.command("FLUSHALL")
    for path in PATHS:
        _check_unavailable(await post(house, key, path), path)
    assert len(house.provider.received) == forwarded
    assert await _readiness(house) == 503
    house.farebox.command("rebuild")
    await house.serves_again(key)
    assert await _readiness(house) == 200
    assert await during.wait(10)
    assert answers[0].body.count(b'"word "') == 200
    records, spent_now = await house.settled("flushed")
    assert spent_now == sum(record["charge_microcredits"] for record in records) > spent > 0
    # The hold of the call in progress went with Redis: what it cost is kept for a person, and is charged to nobody else.
    [line] = house.spool.with_suffix(".unresolved").read_text().splitlines()
    assert json.loads(line)["charge_microcredits"] == charge_of((INPUT_TOKENS, 200))
    house.farebox.audit()


async def _readiness(house: House) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{house.farebox.url}/readyz") as answer:
        return answer.status
