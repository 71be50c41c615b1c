"""What remains of an account's grants by its ledger entries alone: the other side of what Redis keeps.

The audit compares the two and the rebuild restores the one from the other. The entries are followed in the order of their
numbers, from the first one on (proxy/core/grants.py has the rules); an entry's operation id leads to its grant.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from proxy.core.grants import Burning, LiveGrant
from proxy.ledger.credit_scripts import GrantsNow, live_grant
from proxy.records.checks import GRANT, Difference, Entry
from proxy.sql.database import Database, Row, integer, optional_integer, optional_text, text

_ROWS = 2000


@dataclass(slots=True)
class GrantsOf:
    """The grants of one account while its entries are followed. `by_operation`: of grants and of expiries."""

    account_id: str
    rows: Mapping[str, Row]
    by_operation: Mapping[str, str]
    burning: Burning = field(default_factory=Burning)
    begun: list[str] = field(default_factory=list)

    @classmethod
    async def read(cls, database: Database, account_id: str) -> Self:
        """The grants that SQL knows of, whatever has become of them."""
        found = await database.fetch("grants_of_account", account_id=account_id)
        rows = {text(row, "id"): row for row in found}
        by_operation = {text(row, "operation_id"): text(row, "id") for row in found}
        if rows:
            expiries = await database.fetch("expiries_of_account", account_id=account_id)
            by_operation |= {text(row, "operation_id"): text(row, "grant_id") for row in expiries}
        return cls(account_id, rows, by_operation)

    async def entries(self, database: Database, to_seq: int) -> AsyncIterator[Entry]:
        """The account's entries in SQL up to a number, in their order."""
        after = 0
        while True:
            page = await database.fetch(
                "ledger_entries_after", account_id=self.account_id, after_seq=after, to_seq=to_seq, row_limit=_ROWS
            )
            for row in page:
                yield _entry(row)
            if len(page) < _ROWS:
                return
            after = integer(page[-1], "seq")

    def follow(self, entry: Entry) -> None:
        """The next entry of the account."""
        grant_id = self.by_operation.get(entry.operation_id or "")
        grant = None if grant_id is None else self._live(grant_id, entry.amount)
        if grant is not None and entry.kind == "grant":
            self.begun.append(grant.id)
        self.burning.follow(entry.kind, entry.amount, grant)

    def _live(self, grant_id: str, amount: int) -> LiveGrant:
        row = self.rows[grant_id]
        return live_grant(grant_id, integer(row, "priority"), optional_integer(row, "expires_at"), amount)


def _entry(row: Row) -> Entry:
    return Entry(
        integer(row, "seq"),
        text(row, "kind"),
        integer(row, "amount_microcredits"),
        integer(row, "before_microcredits"),
        integer(row, "after_microcredits"),
        optional_text(row, "operation_id"),
    )


async def compare_grants(
    database: Database, now: GrantsNow, grants: GrantsOf, streamed: Mapping[int, Entry]
) -> AsyncIterator[Difference]:
    """What Redis keeps of an account's grants against its entries up to the same number; `streamed` are those not yet in SQL.

    A gap in the entries is said by the chain of the balance, and nothing here then.
    """
    followed = 0
    async for entry in grants.entries(database, now.seq):
        if entry.seq != followed + 1:
            break
        grants.follow(entry)
        followed = entry.seq
    for seq in range(followed + 1, now.seq + 1):
        if seq not in streamed:
            return
        grants.follow(streamed[seq])
    found = grants.burning.remaining()
    kept = {grant_id: left for grant_id, left in now.remaining.items() if left}
    for grant_id in sorted(found.keys() | kept.keys()):
        by_entries, in_redis = found.get(grant_id, 0), kept.get(grant_id, 0)
        if by_entries != in_redis:
            detail = f"grant {grant_id} has {in_redis} left in Redis, and {by_entries} by its entries"
            yield Difference(grants.account_id, GRANT, detail, in_redis - by_entries)


async def over_refunded(database: Database, account_id: str) -> list[str]:
    """Calls of which SQL has more refunds than charge, or no record: they may only wait for the rest of their events."""
    suspects, after = [], ""
    while True:
        page = await database.fetch("refunds_of_account", account_id=account_id, after_call_id=after, row_limit=_ROWS)
        suspects += [text(row, "call_id") for row in page if row["is_suspect"]]
        if len(page) < _ROWS:
            return suspects
        after = text(page[-1], "call_id")
