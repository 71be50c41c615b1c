"""Kept answers over a real database: the same request is done once and answered the same, whoever dies on the way."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from proxy.accounts.administrators import Administrator
from proxy.core.errors import Conflict, InsufficientCredits, InvalidRequest
from proxy.sql.sqlite import SqliteDatabase
from proxy.surfaces.once import Once, Work
from proxy.surfaces.vendor import Answer, Query

ROOT = Administrator("root", "root", ("root",))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    opened = SqliteDatabase(tmp_path / "once.db")
    await opened.migrate()
    yield opened
    await opened.close()


def query(key: str | None, who: Administrator = ROOT, **body: Any) -> Query:
    headers = {b"idempotency-key": None if key is None else key.encode("latin-1")}
    exchange: Any = SimpleNamespace(header=headers.get)
    return Query(exchange=exchange, call_id="c", at_ms=1, who=who, body=body)


class Counted:
    """Work that counts what it did, by operation id, as the stores below do: the same id changes nothing twice."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.asked = 0
        self.fails: Exception | None = None

    async def prepare(self) -> Work:
        return self.work

    async def work(self, operation_id: str) -> object:
        self.asked += 1
        number = self.done.setdefault(operation_id, len(self.done))
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        return {"number": number}


def text(answer: Answer) -> bytes:
    return msgspec.json.encode(answer.content)


async def test_a_key_is_answered_the_same_for_ever(database: SqliteDatabase) -> None:
    once, work = Once(database, "test"), Counted()
    answers = [text(await once.answer(query("k", a=1, b=2), "/x", work.prepare)) for _ in range(3)]
    answers.append(text(await once.answer(query("k", b=2, a=1), "/x", work.prepare)))  # the order of members is none
    assert set(answers) == {b'{"number":0}'}
    assert work.asked == 1


async def test_another_request_under_the_key_is_a_conflict(database: SqliteDatabase) -> None:
    once, work = Once(database, "test"), Counted()
    await once.answer(query("k", a=1), "/x", work.prepare)
    for other, path in ((query("k", a=2), "/x"), (query("k", a=1), "/y"), (query("k"), "/x")):
        with pytest.raises(Conflict) as caught:
            await once.answer(other, path, work.prepare)
        assert caught.value.code == "idempotency_conflict"
    somebody = Administrator("adm_1", "somebody", ("finance",))
    assert text(await once.answer(query("k", somebody, a=2), "/x", work.prepare)) == b'{"number":1}'


async def test_without_a_key_every_request_is_new(database: SqliteDatabase) -> None:
    once, work = Once(database, "test"), Counted()
    assert [text(await once.answer(query(None, a=1), "/x", work.prepare)) for _ in range(2)] == [
        b'{"number":0}',
        b'{"number":1}',
    ]


async def test_who_dies_before_the_answer_was_kept_does_the_same_operation_again(database: SqliteDatabase) -> None:
    once, work = Once(database, "test"), Counted()
    work.fails = RuntimeError("killed")
    with pytest.raises(RuntimeError):
        await once.answer(query("k", a=1), "/x", work.prepare)
    work.fails = None
    assert text(await once.answer(query("k", a=1), "/x", work.prepare)) == b'{"number":0}'
    assert (work.asked, len(work.done)) == (2, 1)


async def test_two_at_once_are_one_operation(database: SqliteDatabase) -> None:
    once, work = Once(database, "test"), Counted()
    answers = await asyncio.gather(*(once.answer(query("k", a=1), "/x", work.prepare) for _ in range(8)))
    assert {text(answer) for answer in answers} == {b'{"number":0}'}
    assert len(work.done) == 1


async def test_an_error_is_not_kept_and_a_bad_request_leaves_the_key_free(database: SqliteDatabase) -> None:
    once, work = Once(database, "test"), Counted()
    work.fails = InsufficientCredits()
    with pytest.raises(InsufficientCredits):
        await once.answer(query("k", a=1), "/x", work.prepare)
    work.fails = None
    assert text(await once.answer(query("k", a=1), "/x", work.prepare)) == b'{"number":0}'

    async def refuse() -> Work:
        raise InvalidRequest("no such thing")

    with pytest.raises(InvalidRequest):
        await once.answer(query("free", a=1), "/x", refuse)
    assert text(await once.answer(query("free", a=2), "/x", work.prepare)) == b'{"number":1}'


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "farebox:1", "a\x7fb", "\x00"])
async def test_keys_that_are_refused(database: SqliteDatabase, key: str) -> None:
    with pytest.raises(InvalidRequest):
        await Once(database, "test").answer(query(key), "/x", Counted().prepare)
