"""Telling the ledger what SQL has decided, so that every worker hears of it on its next paid call.

The ledger keeps a version for each account and refuses a hold that was asked for with another one. A change is committed in
SQL with a higher version, then announced here. Announcing is idempotent (the ledger keeps the highest version), so whoever
finds the two apart may repeat it: the command that was interrupted, or the authenticator after a refused hold.
"""

from typing import Protocol

from proxy.core.errors import Unavailable
from proxy.sql.database import Database


class AccountLedger(Protocol):
    """The part of the ledger that knows of accounts; see `proxy.ledger.ledger.Ledger`."""

    async def open_account(self, account_id: str, version: int) -> object:
        """Makes the account at zero where it is unknown; changes nothing else."""
        ...

    async def set_version(self, account_id: str, version: int) -> object:
        """Raises the account's version; a lower one changes nothing."""
        ...


async def announce(database: Database, ledger: AccountLedger, account_id: str, version: int) -> None:
    """Brings the ledger up to `version`, opening the account where it never was. Raises Unavailable.

    An account with entries in SQL is never opened again: if the ledger does not know it, its balance was lost, and
    beginning anew at zero would number new entries like old ones. That is what `farebox rebuild` is for.
    """
    last = await database.fetch_one("last_ledger_entry", account_id=account_id)
    if last is None or last["seq"] == 0:
        await ledger.open_account(account_id, version)
    await ledger.set_version(account_id, version)


async def announce_saved(database: Database, ledger: AccountLedger, account_id: str, version: int) -> None:
    """Announces a change that is already committed; an unreachable ledger is reported as such, with what happens now."""
    try:
        await announce(database, ledger, account_id, version)
    except Unavailable as error:
        raise Unavailable(
            "The change is saved, but Redis could not be told: it takes effect within 30 seconds of Redis' return. "
            "Repeating the command takes effect at once.",
            code="saved_not_announced",
        ) from error
