"""Top-ups over real stores: applied once, ever (P6), whoever dies on the way."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proxy.accounts.journal import Journal, digest_of
from proxy.accounts.topups import Credit, Topups, amount_from
from proxy.core.errors import Conflict, InsufficientCredits, InvalidRequest, NotFound, Unavailable
from proxy.core.money import MAX_AMOUNT
from proxy.core.outcomes import Credited
from proxy.ledger.errors import RedisAmbiguous, RedisUnavailable
from proxy.records.rebuild import Rebuild
from proxy.sql.sqlite import SqliteDatabase
from proxy.sql.statements import load_migrations
from tests.support.stores import Build, House, build, house

__all__ = ["build", "house"]


class Cut:
    """A ledger that fails before or after the credit was given."""

    def __init__(self, house: House, *, applies: bool) -> None:
        self._ledger, self._applies = house.ledger, applies

    async def open_account(self, account_id: str, version: int) -> bool:
        return await self._ledger.open_account(account_id, version)

    async def set_version(self, account_id: str, version: int) -> int | None:
        return await self._ledger.set_version(account_id, version)

    async def credit(self, *args: Any) -> Credited:
        if not self._applies:
            raise RedisUnavailable
        await self._ledger.credit(*args)
        raise RedisAmbiguous


def cut(house: House, *, applies: bool) -> Topups:
    return Topups(Journal(house.database, Cut(house, applies=applies), house.credit_scripts, house.clock))


async def posted(house: House, account_id: str) -> int:
    balance = await house.ledger.balance(account_id)
    assert balance is not None
    return balance.posted_microcredits


async def test_a_repeat_gets_the_same_answer_and_changes_nothing(house: House) -> None:
    account_id = await house.account(0)
    first = await house.top_up(account_id, 7, "k")
    await house.top_up(account_id, 5, "another")
    assert await house.top_up(account_id, 7, "k") == first
    await house.record_all()
    assert await house.top_up(account_id, 7, "k") == first
    assert (first.seq, first.before_microcredits, first.after_microcredits, first.kind) == (1, 0, 7, "topup")
    assert await posted(house, account_id) == 12
    assert (await house.audit()).holds


@pytest.mark.parametrize("changes", [{"amount_microcredits": 8}, {"kind": "adjustment"}])
async def test_the_same_key_with_another_body_is_a_conflict(house: House, changes: dict[str, Any]) -> None:
    account_id = await house.account(0)
    asked = {"amount_microcredits": 7, "idempotency_key": "k"}
    await house.topups.top_up(account_id, Credit(**asked))
    with pytest.raises(Conflict):
        await house.topups.top_up(account_id, Credit(**(asked | changes)))
    assert await posted(house, account_id) == 7


async def test_keys_of_different_accounts_have_nothing_to_do_with_each_other(house: House) -> None:
    accounts = [await house.account(0), await house.account(0)]
    for account_id in accounts:
        await house.top_up(account_id, 7, "k")
    assert [await posted(house, account_id) for account_id in accounts] == [7, 7]


async def test_at_once_from_two_processes_it_is_applied_once(build: Build) -> None:
    first, second = await build(), await build()
    account_id = await first.account(0)
    asked = [house.top_up(account_id, 7, "k") for house in (first, second) * 8]
    answers = await asyncio.gather(*asked)
    assert len(set(answers)) == 1
    assert await posted(first, account_id) == 7


async def test_not_sent_it_is_finished_by_a_repeat(house: House) -> None:
    account_id = await house.account(0)
    with pytest.raises(Unavailable):
        await cut(house, applies=False).top_up(account_id, Credit(7, "k"))
    assert await posted(house, account_id) == 0
    assert (await house.top_up(account_id, 7, "k")).seq == 1
    assert await posted(house, account_id) == 7


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("remembered", [False, True])
async def test_killed_after_redis_said_yes_a_repeat_does_not_credit_again(
    house: House, *, recorded: bool, remembered: bool
) -> None:
    account_id = await house.account(0)
    with pytest.raises(Unavailable):
        await cut(house, applies=True).top_up(account_id, Credit(7, "k"))
    if recorded:
        await house.record_all()
        if not remembered:  # a day later
            operations = await house.redis.execute("KEYS", house.ledger.partition_of(account_id).prefix + b"op:*")
            await house.redis.execute("DEL", *operations)
    assert (await house.top_up(account_id, 7, "k")).seq == 1
    assert await posted(house, account_id) == 7
    await house.record_all()
    assert (await house.audit()).holds


@pytest.mark.parametrize("amount", [0, -1, MAX_AMOUNT + 1, 2**64, True, 1.0, "5"])
async def test_bad_amounts_are_refused_and_change_nothing(house: House, amount: Any) -> None:
    account_id = await house.account(0)
    with pytest.raises(InvalidRequest) as caught:
        await house.topups.top_up(account_id, Credit(amount, "k"))
    assert caught.value.param == "amount"
    assert await house.database.fetch_one("operation_by_key", account_id=account_id, idempotency_key="k") is None


@pytest.mark.parametrize("text", ["0.0000001", "9007199254.740992", "1e3", "NaN", "", "\u0661", "1,5", "0x10"])
def test_credits_that_cannot_be_stored_exactly_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        amount_from(text)


async def test_the_largest_amount_fits_once(house: House) -> None:
    account_id = await house.account(0)
    assert (await house.top_up(account_id, MAX_AMOUNT)).after_microcredits == MAX_AMOUNT
    with pytest.raises(InvalidRequest):
        await house.top_up(account_id, 1)
    assert await posted(house, account_id) == MAX_AMOUNT
    await house.record_all()
    assert (await house.audit()).holds


async def test_only_an_adjustment_takes(house: House) -> None:
    account_id = await house.account(1)
    with pytest.raises(InvalidRequest):
        await house.topups.top_up(account_id, Credit(-5, "k", "refund"))
    entry = await house.topups.top_up(account_id, Credit(-5, "k", "adjustment", "me", "a mistake"))
    assert (entry.amount_microcredits, entry.actor, entry.reason) == (-5, "me", "a mistake")
    await house.record_all()
    assert (await house.audit()).holds


@pytest.mark.parametrize(
    "changes",
    [{"kind": "charge"}, {"idempotency_key": ""}, {"idempotency_key": "x" * 256}, {"idempotency_key": "a\0"},
     {"actor": "a\nb"}, {"reason": "x" * 501}],
)  # fmt: skip
async def test_bad_words_are_refused(house: House, changes: dict[str, Any]) -> None:
    account_id = await house.account(0)
    with pytest.raises(InvalidRequest):
        await house.topups.top_up(account_id, Credit(**({"amount_microcredits": 1, "idempotency_key": "k"} | changes)))


async def test_an_unknown_account_is_named(house: House) -> None:
    with pytest.raises(NotFound):
        await house.top_up("acct_0", 1)


async def test_an_account_that_the_ledger_never_heard_of_is_opened(house: House) -> None:
    account_id = await house.account(0)
    await house.redis.execute("DEL", house.ledger.partition_of(account_id).account(account_id))
    assert (await house.top_up(account_id, 7)).seq == 1


async def test_an_account_whose_balance_was_lost_is_not_begun_anew(house: House) -> None:
    account_id = await house.account()
    await house.record_all()
    await house.redis.execute("DEL", house.ledger.partition_of(account_id).account(account_id))
    with pytest.raises(Unavailable, match="rebuild"):
        await house.top_up(account_id, 7)
    assert [difference.kind for difference in (await house.audit()).differences] == ["lost"]


async def test_a_deduction_takes_only_what_is_available_whoever_asks_at_once(build: Build) -> None:
    houses = [await build(), await build()]
    account_id = await houses[0].account(0)
    await houses[0].top_up(account_id, 100)
    await houses[0].hold(account_id, 30)
    asked = [
        houses[number % 2].topups.top_up(account_id, Credit(-20, f"k{number}", "adjustment", covered=True))
        for number in range(8)
    ]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    taken = [answer for answer in answers if not isinstance(answer, BaseException)]
    refused = [answer for answer in answers if isinstance(answer, InsufficientCredits)]
    assert (len(taken), len(refused)) == (3, 5)
    assert {answer.kind for answer in taken} == {"adjustment"}
    assert refused[0].metadata == {"limit_source": "balance", "required": 20, "available": 10, "unit": "microcredits"}
    assert await posted(houses[0], account_id) == 40
    again = await asyncio.gather(
        *(houses[0].topups.top_up(account_id, Credit(-20, f"k{n}", "adjustment", covered=True)) for n in range(8)),
        return_exceptions=True,
    )
    assert [type(answer) for answer in again] == [type(answer) for answer in answers]
    with pytest.raises(Conflict):
        await houses[0].topups.top_up(account_id, Credit(-20, "k0", "adjustment"))
    with pytest.raises(InvalidRequest):
        await houses[0].topups.top_up(account_id, Credit(20, "new", "adjustment", covered=True))
    await houses[0].redis.execute("FLUSHALL")
    await Rebuild(houses[0].redis, houses[0].scripts, houses[0].database, houses[0].partitions).run()
    again_house = await build()
    assert await posted(again_house, account_id) == 40
    assert {entry["kind"] for entry in await again_house.entries(account_id)} == {"topup", "adjustment"}
    assert (await again_house.audit()).holds


async def test_top_ups_from_before_the_journal_keep_their_answers(tmp_path: Path, house: House) -> None:
    old = SqliteDatabase(tmp_path / "old.db", migrations=load_migrations()[:1])
    await old.migrate()
    insert = "INSERT INTO accounts VALUES ('acct_1', 'one', 'active', 1, '{}', NULL, 1)"
    await old._writer.run(lambda connection: connection.execute(insert))
    digest = digest_of("acct_1", "topup", 7)
    for key, status, place in (("done", "'applied'", "1, 0, 7, 99"), ("left", "'pending'", "NULL, NULL, NULL, NULL")):
        row = f"INSERT INTO topups VALUES ('acct_1', '{key}', '{digest}', 'op_{key}', 'topup', 7, {status}, '', '', 5, {place})"
        await old._writer.run(lambda connection, row=row: connection.execute(row))
    await old.close()
    database = SqliteDatabase(tmp_path / "old.db")
    await database.migrate()
    topups = Topups(Journal(database, house.ledger, house.credit_scripts, house.clock))
    done = await topups.top_up("acct_1", Credit(7, "done"))
    assert (done.seq, done.after_microcredits, done.at, done.operation_id) == (1, 7, 99, "op_done")
    assert (await topups.top_up("acct_1", Credit(7, "left"))).operation_id == "op_left"
    with pytest.raises(Conflict):
        await topups.top_up("acct_1", Credit(8, "done"))
    await database.close()
