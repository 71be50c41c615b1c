"""`farebox rebuild`: Redis from SQL, after Redis was lost. Nothing is served meanwhile, for Redis has no epoch.

Every account gets credited, spent and the number of its last entry from its ledger entries, and what is left of its grants
from following the entries in their order. A top-up, grant, refund or adjustment that was answered but whose entry was lost
with Redis is entered again from its row, and usage that an application reported is charged again by the reconciliation.
What cannot come back is what only Redis knew: events that were not recorded yet, open holds (their late results are answered
as unknown), and how much of a budget is used up.
At the end both stores get a new epoch; running processes take it up when they next look.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from proxy.core.clock import SystemClock
from proxy.core.errors import Conflict
from proxy.ledger.credit_scripts import grants_key
from proxy.ledger.keys import Partition, partition_number
from proxy.ledger.scripts import ScriptRunner, load
from proxy.records import epoch
from proxy.records.grants import GrantsOf
from proxy.records.streams import RedisCommands
from proxy.sql.database import Database, Params, Row, integer, optional_text, text

log = logging.getLogger("farebox.rebuild")

_PAGE = 500
_REPORTS_LOST_WITHIN_MS = (
    24 * 60 * 60 * 1000
)  # usage that applications reported; its records are written within seconds
_COPIED = (
    "account_id",
    "amount_microcredits",
    "at",
    "call_id",
    "operation_id",
    "actor",
    "reason",
    "idempotency_key",
)


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild did. `gaps` are accounts whose entries in SQL are not complete: look at them with `farebox audit`."""

    epoch: str = ""
    accounts: int = 0
    entries: int = 0
    credited_microcredits: int = 0
    spent_microcredits: int = 0
    topups_entered_again: int = 0
    grants: int = 0
    reports_reopened: int = 0
    keys_dropped: int = 0
    gaps: list[str] = field(default_factory=list)


class Rebuild:
    """One rebuild; `progress` hears the number of accounts restored so far."""

    def __init__(
        self,
        redis: RedisCommands,
        scripts: ScriptRunner,
        database: Database,
        partitions: Sequence[Partition],
        *,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._redis = redis
        self._scripts = scripts
        self._database = database
        self._partitions = partitions
        self._progress = progress

    async def run(self, *, force: bool = False) -> Rebuilt:
        """Restores every account. Raises Conflict where Redis holds accounts, holds or events and `force` is not said.

        Stop every other process of Farebox first. Killed on the way, it is run again with `force`.
        """
        result = Rebuilt()
        leftovers = await epoch.count_leftovers(self._redis, self._partitions)
        if leftovers and not force:
            raise Conflict(
                f"Redis is not empty: it holds {leftovers} accounts, holds and events of Farebox, which a rebuild would "
                "drop. If they are worthless (an interrupted rebuild, a wrong restore), run `farebox rebuild --force`.",
                code="redis_not_empty",
            )
        result.keys_dropped = await self._clear()
        after = ""
        while page := await self._database.fetch("accounts_after", after_id=after, row_limit=_PAGE):
            for account in page:
                await self._restore(account, result)
            after = text(page[-1], "id")
            self._progress(result.accounts)
        since = SystemClock().now_ms() - _REPORTS_LOST_WITHIN_MS
        result.reports_reopened = await self._database.execute("reopen_recorded_usage", since=since)
        result.epoch = await epoch.replace(self._redis, self._database, self._partitions)
        log.info("rebuilt %d accounts from %d ledger entries", result.accounts, result.entries)
        return result

    async def _clear(self) -> int:
        """Drops what is left of Farebox in Redis: the epochs first, so that nobody writes meanwhile."""
        dropped = 0
        for partition in self._partitions:
            await self._redis.execute("DEL", partition.epoch)
        cursor = b"0"
        while True:
            # All partitions that ever were, not only those of the present configuration.
            cursor, keys = await self._redis.execute("SCAN", cursor, "MATCH", "fb:{p*", "COUNT", 1000)
            if keys:
                dropped += await self._redis.execute("UNLINK", *keys)
            if cursor == b"0":
                return dropped

    async def _restore(self, account: Row, result: Rebuilt) -> None:
        account_id = text(account, "id")
        totals = await self._totals(account_id)
        if totals["entries"] != totals["seq"]:
            result.gaps.append(account_id)
        lost = await self._database.fetch("operations_without_entry", account_id=account_id)
        if lost:
            result.topups_entered_again += await self._enter_again(lost, totals)
            totals = await self._totals(account_id)
        partition = self._partitions[partition_number(account_id, len(self._partitions))]
        await self._scripts.run(
            load("restore"),
            [partition.epoch, partition.account(account_id), partition.accounts],
            [account_id, totals["credited"], totals["spent"], totals["seq"], integer(account, "version")],
        )
        result.grants += await self._restore_grants(account_id, partition)
        result.accounts += 1
        result.entries += totals["entries"]
        result.credited_microcredits += totals["credited"]
        result.spent_microcredits += totals["spent"]

    async def _totals(self, account_id: str) -> dict[str, int]:
        row = await self._database.fetch_one("ledger_totals", account_id=account_id)
        assert row is not None  # an aggregate always has a row
        return {
            "entries": integer(row, "entries"),
            "seq": integer(row, "seq"),
            "credited": integer(row, "credited_microcredits"),
            "spent": integer(row, "spent_microcredits"),
        }

    async def _enter_again(self, operations: list[Row], totals: dict[str, int]) -> int:
        """Ledger entries for operations whose own were lost, after those that were not, in the order of the first time.

        Not for those whose ground was lost with them: a refund whose call is not in SQL, and an expiry, whose grant is there
        again as it was and expires again. Returns how many were entered.
        """
        seq, posted = totals["seq"], totals["credited"] - totals["spent"]
        entries: list[Params] = []
        answers: list[Params] = []
        undone: list[Params] = []
        for operation in operations:
            if await self._is_groundless(operation):
                undone.append({"operation_id": operation["operation_id"]})
                continue
            amount = integer(operation, "amount_microcredits")
            seq += 1
            place = {"seq": seq, "before_microcredits": posted, "after_microcredits": posted + amount}
            kind = "adjustment" if operation["kind"] == "deduction" else operation["kind"]
            entries.append({**{name: operation[name] for name in _COPIED}, "kind": kind, **place})
            answers.append({"operation_id": operation["operation_id"], **place})
            posted += amount
        await self._database.transaction(
            ("insert_ledger_entry", entries), ("renumber_operation", answers), ("undo_operation", undone)
        )
        return len(entries)

    async def _is_groundless(self, operation: Row) -> bool:
        if operation["kind"] == "expiry":
            return True
        call_id = optional_text(operation, "call_id")
        return call_id is not None and await self._database.fetch_one("usage_record", call_id=call_id) is None

    async def _restore_grants(self, account_id: str, partition: Partition) -> int:
        """The live grants as the account's entries have them; how many there are."""
        grants = await GrantsOf.read(self._database, account_id)
        if not grants.rows:
            return 0
        async for entry in grants.entries(self._database, 2**62):
            grants.follow(entry)
        burning = grants.burning
        if burning.mark is not None:
            words = [word for one in burning.live for word in (one.id, one.expires_at, one.priority, one.remaining)]
            await self._scripts.run(
                load("restore_grants"), [partition.epoch, grants_key(partition, account_id)], [burning.mark, *words]
            )
        left = burning.remaining()
        alive = {one.id for one in burning.live}
        await self._database.transaction(
            (
                "restore_grant",
                [
                    {
                        "id": grant_id,
                        "remaining_microcredits": left.get(grant_id, 0),
                        "status": "live" if grant_id in alive else "ended",
                    }
                    for grant_id in grants.begun
                ],
            )
        )
        return len(alive)
