"""Closing an account: refused while something is left, finished by a repeat, wherever it was interrupted."""

import pytest

from proxy.accounts.closing import close
from proxy.accounts.rows import ACTIVE, CLOSED
from proxy.accounts.topups import Credit
from proxy.core.errors import Conflict, Unavailable
from proxy.core.records import LedgerEntry
from tests.support.stores import CREDIT, House, build, house

__all__ = ["build", "house"]


class Cut:
    """Top-ups that are never answered: `applies` says whether they happen all the same."""

    def __init__(self, house: House, *, applies: bool) -> None:
        self.house = house
        self.applies = applies

    async def top_up(self, account_id: str, credit: Credit) -> LedgerEntry:
        if self.applies:
            await self.house.topups.top_up(account_id, credit)
        raise Unavailable


async def test_what_is_left_has_to_be_forfeit(house: House) -> None:
    account = await house.account(5)
    with pytest.raises(Conflict) as refused:
        await close(house.directory, house.topups, house.ledger, account, actor="root", forfeit=False)
    assert refused.value.code == "balance_not_zero"
    assert (await house.directory.account(account)).status == ACTIVE
    closed = await close(house.directory, house.topups, house.ledger, account, actor="root", forfeit=True)
    assert closed.status == CLOSED
    assert (await house.ledger.balance(account)).posted_microcredits == 0
    again = await close(house.directory, house.topups, house.ledger, account, actor="root", forfeit=True)
    assert again == closed


async def test_an_open_call_has_to_end_first_and_none_begins_afterwards(house: House) -> None:
    account = await house.account(5)
    call_id = await house.hold(account)
    with pytest.raises(Conflict) as refused:
        await close(house.directory, house.topups, house.ledger, account, actor="root", forfeit=True)
    assert (refused.value.code, refused.value.retry_after_ms) == ("calls_in_progress", 5000)
    await house.settle(account, call_id)
    await close(house.directory, house.topups, house.ledger, account, actor="root", forfeit=True)
    with pytest.raises(AssertionError, match="Stale"):  # who read the account before reads it again, and is refused
        await house.hold(account)


async def test_a_balance_below_zero_is_written_off(house: House) -> None:
    account = await house.account(0)
    call_id = await house.hold(account, 0)
    await house.settle(account, call_id, 3 * CREDIT)
    assert (await house.ledger.balance(account)).posted_microcredits == -3 * CREDIT
    with pytest.raises(Conflict):
        await close(house.directory, house.topups, house.ledger, account, actor="root", forfeit=False)
    await close(house.directory, house.topups, house.ledger, account, actor="root", forfeit=True)
    assert (await house.ledger.balance(account)).posted_microcredits == 0


@pytest.mark.parametrize("applies", [False, True])
async def test_what_was_interrupted_is_finished_by_a_repeat(house: House, *, applies: bool) -> None:
    account = await house.account(5)
    with pytest.raises(Unavailable):
        await close(house.directory, Cut(house, applies=applies), house.ledger, account, actor="root", forfeit=True)
    assert (await house.directory.account(account)).status == CLOSED
    await close(house.directory, house.topups, house.ledger, account, actor="root", forfeit=True)
    balance = await house.ledger.balance(account)
    assert (balance.posted_microcredits, balance.seq) == (0, 2)
