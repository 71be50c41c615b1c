"""Balances from a CSV file: each row adds credits to an account (or takes them), once for ever.

A row is known by its idempotency key: that of the column `key`, else the name of the batch, the account, and which of the batch's rows
for this account it is. A row that was imported before is kept; one that was imported with another amount is a mistake.
"""

from collections import Counter

from proxy.accounts.journal import ADJUSTMENT, TOPUP, digest_of
from proxy.accounts.operations import APPLIED, REFUSED
from proxy.accounts.rows import CLOSED
from proxy.accounts.topups import Credit, amount_from, check
from proxy.cli.csv_rows import CsvRow, Plan, Planned, needed
from proxy.cli.stores import Stores, actor_here
from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.core.money import format_credits

COLUMNS = ("account", "credits", "key", "kind", "reason")
REQUIRED = ("account", "credits")


class BalanceImport:
    """Plans the rows of one file. `batch` is 1 to 100 printable characters."""

    def __init__(self, stores: Stores, batch: str) -> None:
        self._stores = stores
        self._batch = batch
        self._rows_of: Counter[str] = Counter()
        self._seen: dict[tuple[str, str], int] = {}
        self.total_microcredits = 0

    async def plan(self, rows: list[CsvRow], plan: Plan) -> None:
        """Reads every row; nothing is changed."""
        for row in rows:
            await plan.add(row, self._planned)

    async def _planned(self, row: CsvRow) -> Planned:
        reference = needed(row, "account")
        try:
            account = await self._stores.directory.account(reference)
        except NotFound as error:
            raise NotFound(f"there is no account {reference!r}: import accounts first") from error
        credit = self._credit(row, account.id)
        if (before := self._seen.setdefault((account.id, credit.idempotency_key), row.line)) != row.line:
            raise InvalidRequest(f"this key stands in line {before} already, for the same account")
        shown = f"{format_credits(credit.amount_microcredits)} credits ({credit.kind})"
        if await self._is_done(account.id, credit):
            return Planned(row.line, "keep", account.name, shown)
        if account.status == CLOSED:
            raise Conflict(f"the account {account.name!r} is closed")
        self.total_microcredits += credit.amount_microcredits

        async def add() -> None:
            await self._stores.topups.top_up(account.id, credit)

        return Planned(row.line, "create", account.name, shown, add)

    def _credit(self, row: CsvRow, account_id: str) -> Credit:
        amount = amount_from(needed(row, "credits"))
        kind = row.cells.get("kind", TOPUP if amount > 0 else ADJUSTMENT)
        self._rows_of[account_id] += 1
        number = self._rows_of[account_id]
        named = f"import:{self._batch}:{account_id}" + (f":{number}" if number > 1 else "")
        reason = row.cells.get("reason", f"import {self._batch}")
        credit = Credit(amount, row.cells.get("key", named), kind, actor_here(), reason)
        check(credit)
        return credit

    async def _is_done(self, account_id: str, credit: Credit) -> bool:
        """Whether the row was imported before. Raises Conflict where that was with another amount, or was refused."""
        known = await self._stores.journal.row(account_id, credit.idempotency_key)
        if known is None:
            return False
        if known["digest"] != digest_of(account_id, credit.kind, credit.amount_microcredits):
            raise Conflict(
                f"its key {credit.idempotency_key!r} was used before with another amount: give the row a key of its own"
            )
        if known["status"] == REFUSED:
            raise Conflict("it was refused before: give the row a key of its own to try again")
        return known["status"] == APPLIED
