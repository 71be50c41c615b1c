"""Closing an account for ever: its keys end, its calls are refused, and nothing is left on it.

An account is closed when it has nothing: no open holds and a balance of zero, or the caller says that what is left is forfeit. Order:
what can be refused is refused first; then SQL (closed, keys revoked, one commit) and the ledger's version, so that no call is
admitted any more; then what is left leaves by an adjustment, which is written off likewise where the balance is below zero. A call
that was admitted in that very moment ends as it would; closing again with `forfeit` takes what it gave back, and finishes what a
crash interrupted: the adjustment's key names the entry that it follows.
"""

from typing import Protocol

from proxy.accounts.directory import Directory
from proxy.accounts.journal import ADJUSTMENT
from proxy.accounts.rows import CLOSED, Account
from proxy.accounts.topups import Credit
from proxy.core.errors import Conflict
from proxy.core.money import format_credits
from proxy.core.outcomes import Balance
from proxy.core.records import LedgerEntry


class Credits(Protocol):
    """What gives and takes credits; see `proxy.accounts.topups.Topups`."""

    async def top_up(self, account_id: str, credit: Credit) -> LedgerEntry:
        """The ledger entry of this credit."""
        ...


class Balances(Protocol):
    """What knows balances; see `proxy.ledger.ledger.Ledger`."""

    async def balance(self, account_id: str) -> Balance | None:
        """The account with its open holds, None where it is unknown."""
        ...


async def close(
    directory: Directory, topups: Credits, ledger: Balances, reference: str, *, actor: str, forfeit: bool
) -> Account:
    """The closed account. Raises NotFound, Conflict (`calls_in_progress`, `balance_not_zero`: nothing was changed)."""
    account = await directory.account(reference)
    balance = await ledger.balance(account.id)
    if account.status != CLOSED:
        _check(balance, forfeit=forfeit)
    ended = await directory.end(account.id)
    balance = await ledger.balance(account.id)
    if forfeit and balance is not None and balance.available_microcredits:
        rest = Credit(
            -balance.available_microcredits,
            f"close-{account.id}-{balance.seq}",
            kind=ADJUSTMENT,
            actor=actor,
            reason="forfeit when the account was closed",
        )
        await topups.top_up(account.id, rest)
    return ended


def _check(balance: Balance | None, *, forfeit: bool) -> None:
    if balance is None:
        return
    if balance.open_holds:
        raise Conflict(
            f"{balance.open_holds} of the account's calls are in progress; suspend it and wait for their end.",
            code="calls_in_progress",
            retry_after_ms=5000,
        )
    if balance.posted_microcredits and not forfeit:
        raise Conflict(
            f"The account has {format_credits(balance.posted_microcredits)} credits. Refund them, or say `forfeit`.",
            code="balance_not_zero",
        )
