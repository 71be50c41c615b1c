"""The audit: proves for every account that Redis, the streams and SQL tell the same story (P1), under live traffic too.

Order makes it exact without stopping anything: first an account's balance (one atomic script, with its open holds), then its
partition's stream, then SQL. An event leaves the stream only after its commit, so what the balance counts is found in the
stream or in SQL; what came later has a higher number and is left out. Memory is bounded by a page of accounts, a page of
entries, and the events that are not yet recorded.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from proxy.core.outcomes import Balance
from proxy.ledger.connection import RedisConnection
from proxy.ledger.credit_scripts import CreditScripts
from proxy.ledger.keys import Partition
from proxy.ledger.ledger import Ledger
from proxy.ledger.scripts import RedisScripts
from proxy.records import checks
from proxy.records.checks import ChainCheck, Difference, Entry, merged
from proxy.records.events import BadEvent, Event, read_event
from proxy.records.grants import GrantsOf, compare_grants, over_refunded
from proxy.records.streams import depth_of_dead
from proxy.records.sums import days_of, differing
from proxy.sql.database import Database, Row, integer, optional_text, text

_ACCOUNTS = 500
_ROWS = 2000
_EVENTS = 1000
MAX_LISTED = 1000


@dataclass(slots=True)
class AuditReport:
    """What was compared, and every difference (the first 1000 in full; `difference_count` counts all)."""

    accounts: int = 0
    entries: int = 0
    calls: int = 0
    open_holds: int = 0
    grants: int = 0
    credited_microcredits: int = 0
    spent_microcredits: int = 0
    held_microcredits: int = 0
    dead_events: int = 0
    difference_count: int = 0
    difference_microcredits: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def posted_microcredits(self) -> int:
        """The sum of all balances."""
        return self.credited_microcredits - self.spent_microcredits

    @property
    def holds(self) -> bool:
        """Whether P1 holds."""
        return self.difference_count == 0

    def note(self, difference: Difference) -> None:
        """Counts a difference, and lists it while there is room."""
        self.difference_count += 1
        self.difference_microcredits += abs(difference.microcredits)
        if len(self.differences) < MAX_LISTED:
            self.differences.append(difference)


@dataclass(slots=True)
class _Unrecorded:
    """What a partition's stream says of some accounts and calls."""

    entries: dict[str, dict[int, Entry]] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)


class Audit:
    """Reads only. `progress` hears the number of accounts audited so far, then `on_day` that of days whose sums were."""

    def __init__(
        self,
        ledger: Ledger,
        redis: RedisConnection,
        database: Database,
        *,
        progress: Callable[[int], None] = lambda _: None,
        on_day: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._on_day = on_day
        self._ledger = ledger
        self._scripts = CreditScripts(ledger, RedisScripts(redis))
        self._redis = redis
        self._database = database
        self._progress = progress

    async def run(self) -> AuditReport:
        """Every account that either store knows. Raises Unavailable."""
        report = AuditReport()
        for partition in self._ledger.partitions:
            async for balances in self._pages(partition):
                await self._audit_page(partition, balances, report)
                self._progress(report.accounts)
        await self._find_lost(report)
        await self._check_sums(report)
        report.dead_events = await depth_of_dead(self._redis, self._ledger.partitions)
        return report

    async def account(self, account_id: str) -> AuditReport:
        """One account."""
        report = AuditReport()
        balance = await self._ledger.balance(account_id)
        if balance is None:
            await self._check_lost(account_id, report)
        else:
            await self._audit_page(self._ledger.partition_of(account_id), [balance], report)
        return report

    async def _pages(self, partition: Partition) -> AsyncIterator[list[Balance]]:
        page: list[Balance] = []
        async for balance in self._ledger.balances(partition):
            page.append(balance)
            if len(page) == _ACCOUNTS:
                yield page
                page = []
        if page:
            yield page

    async def _audit_page(self, partition: Partition, balances: Sequence[Balance], report: AuditReport) -> None:
        # Entries that SQL already has, without a gap, need not be kept from the stream.
        recorded = {balance.account_id: await self._recorded_up_to(balance.account_id) for balance in balances}
        unrecorded = await self._read_stream(partition, recorded)
        suspects: dict[str, str] = {}
        for balance in balances:
            await self._audit_account(balance, unrecorded.entries.get(balance.account_id, {}), report, suspects)
            await self._audit_records(balance.account_id, report, suspects)
            suspects |= dict.fromkeys(await over_refunded(self._database, balance.account_id), balance.account_id)
        if suspects:
            await self._judge(partition, suspects, report)
        await self._audit_grants(partition, balances, report)

    async def _audit_account(
        self, balance: Balance, streamed: dict[int, Entry], report: AuditReport, suspects: dict[str, str]
    ) -> None:
        account_id = balance.account_id
        if await self._database.fetch_one("account_by_id", id=account_id) is None:
            report.note(
                Difference(account_id, checks.STRANGER, "SQL does not know this account", balance.posted_microcredits)
            )
        chain = ChainCheck(account_id)
        streamed = {seq: entry for seq, entry in streamed.items() if seq <= balance.seq}
        async for page in self._entries(balance):
            last = balance.seq if len(page) < _ROWS else integer(page[-1], "seq")
            suspects |= {text(row, "call_id"): account_id for row in page if row["has_record"] == 0}
            for found in merged(account_id, map(_entry_of, page), streamed, last):
                for difference in [found] if isinstance(found, Difference) else chain.feed(found):
                    report.note(difference)
        for difference in chain.end(balance):
            report.note(difference)
        if balance.held_microcredits != balance.open_holds_microcredits:
            detail = (
                f"Redis has held {balance.held_microcredits}, open holds sum up to {balance.open_holds_microcredits}"
            )
            gap = balance.held_microcredits - balance.open_holds_microcredits
            report.note(Difference(account_id, checks.HELD, detail, gap))
        await self._check_ahead(balance, report)
        report.accounts += 1
        report.entries += chain.entries
        report.open_holds += balance.open_holds
        report.credited_microcredits += balance.credited_microcredits
        report.spent_microcredits += balance.spent_microcredits
        report.held_microcredits += balance.held_microcredits

    async def _audit_grants(self, partition: Partition, balances: Sequence[Balance], report: AuditReport) -> None:
        """Redis first, then the stream, then SQL, as for balances: entries up to the number that Redis gave decide."""
        kept = await asyncio.gather(*(self._scripts.grants(balance.account_id) for balance in balances))
        stores = [await GrantsOf.read(self._database, balance.account_id) for balance in balances]
        concerned = [(now, grants) for now, grants in zip(kept, stores, strict=True) if grants.rows or now.stored]
        if not concerned:
            return
        recorded = {grants.account_id: await self._recorded_up_to(grants.account_id) for _, grants in concerned}
        unrecorded = await self._read_stream(partition, recorded)
        for now, grants in concerned:
            async for difference in compare_grants(
                self._database, now, grants, unrecorded.entries.get(grants.account_id, {})
            ):
                report.note(difference)
            report.grants += len(now.stored)

    async def _entries(self, balance: Balance) -> AsyncIterator[list[Row]]:
        """SQL's entries up to the balance's number, in pages; the last one is not full and may be empty."""
        after = 0
        while True:
            page = await self._database.fetch(
                "audit_entries", account_id=balance.account_id, after_seq=after, to_seq=balance.seq, row_limit=_ROWS
            )
            yield page
            if len(page) < _ROWS:
                return
            after = integer(page[-1], "seq")

    async def _check_ahead(self, balance: Balance, report: AuditReport) -> None:
        """SQL first, then Redis again: while nothing is lost, Redis is never behind."""
        recorded = await self._highest(balance.account_id)
        if recorded <= balance.seq:
            return
        now = await self._ledger.balance(balance.account_id)
        if now is not None and recorded > now.seq:
            detail = f"SQL has entries up to {recorded}, Redis only up to {now.seq}: Redis has lost the newest ones"
            report.note(Difference(balance.account_id, checks.AHEAD, detail))

    async def _audit_records(self, account_id: str, report: AuditReport, suspects: dict[str, str]) -> None:
        after_at, after_call_id = -1, ""
        while True:
            page = await self._database.fetch(
                "audit_records", account_id=account_id, after_at=after_at, after_call_id=after_call_id, row_limit=_ROWS
            )
            report.calls += len(page)
            suspects |= {
                text(row, "call_id"): account_id
                for row in page
                if row["charge_microcredits"] != row["entries_microcredits"]
            }
            if len(page) < _ROWS:
                return
            after_at, after_call_id = integer(page[-1], "at"), text(page[-1], "call_id")

    async def _judge(self, partition: Partition, suspects: dict[str, str], report: AuditReport) -> None:
        """Calls whose record and entries differ in SQL may only wait for the rest of their events: the stream is asked."""
        unrecorded = await self._read_stream(partition, {}, set(suspects))
        for call_id, account_id in suspects.items():
            difference = await self._judge_call(call_id, account_id, unrecorded.events.get(call_id, []))
            if difference is not None:
                report.note(difference)

    async def _judge_call(self, call_id: str, account_id: str, events: Sequence[Event]) -> Difference | None:
        moved = {
            integer(row, "seq"): (text(row, "kind"), integer(row, "amount_microcredits"))
            for row in await self._database.fetch("ledger_entries_of_call", call_id=call_id)
        }
        moved |= {
            event.entry.seq: (event.entry.kind, event.entry.amount_microcredits)
            for event in events
            if event.entry is not None
        }
        row = await self._database.fetch_one("usage_record", call_id=call_id)
        charges = [] if row is None else [(integer(row, "revision"), integer(row, "charge_microcredits"))]
        charges += [(event.revision, event.record.charge_microcredits) for event in events if event.record is not None]
        return checks.check_call(account_id, call_id, moved.values(), max(charges)[1] if charges else None)

    async def _find_lost(self, report: AuditReport) -> None:
        after = ""
        while page := await self._database.fetch("accounts_after", after_id=after, row_limit=_ACCOUNTS):
            for row in page:
                await self._check_lost(text(row, "id"), report)
            after = text(page[-1], "id")

    async def _check_lost(self, account_id: str, report: AuditReport) -> None:
        """An account with entries in SQL that Redis does not have."""
        key = self._ledger.partition_of(account_id).account(account_id)
        if await self._highest(account_id) and not await self._redis.execute("EXISTS", key):
            detail = "SQL has entries of this account, Redis does not know it: run `farebox rebuild`"
            report.note(Difference(account_id, checks.LOST, detail))

    async def _check_sums(self, report: AuditReport) -> None:
        """The sums of usage against the records, day by day."""
        for number, day_at in enumerate(await days_of(self._database)):
            for row in await differing(self._database, day_at):
                report.note(_wrong_sum(row))
            self._on_day(number + 1)

    async def _recorded_up_to(self, account_id: str) -> int:
        """The number up to which SQL has every entry, or 0 where some are missing below its highest."""
        row = await self._database.fetch_one("ledger_totals", account_id=account_id)
        return integer(row, "seq") if row is not None and row["entries"] == row["seq"] else 0

    async def _highest(self, account_id: str) -> int:
        row = await self._database.fetch_one("ledger_totals", account_id=account_id)
        return 0 if row is None else integer(row, "seq")

    async def _buried(self, partition: Partition) -> set[bytes]:
        """The ids of events that lie in the dead-letter stream, although the stream may still hold them."""
        found: set[bytes] = set()
        start = b"-"
        while page := await self._redis.execute("XRANGE", partition.dead, start, "+", "COUNT", _EVENTS):
            found |= {dict(zip(fields[::2], fields[1::2], strict=True)).get(b"event", b"") for _, fields in page}
            start = b"(" + page[-1][0]
        return found

    async def _read_stream(
        self, partition: Partition, recorded: dict[str, int], call_ids: Iterable[str] = ()
    ) -> _Unrecorded:
        """The entries above `recorded` of the accounts in it, and the events of the given calls."""
        found, wanted = _Unrecorded(), frozenset(call_ids)
        buried = await self._buried(partition)
        start = b"-"
        while True:
            page = await self._redis.execute("XRANGE", partition.stream, start, "+", "COUNT", _EVENTS)
            for event in _events(page, buried):
                entry, account_id = event.entry, event.account_id
                if entry is not None and entry.seq > recorded.get(account_id, entry.seq):
                    found.entries.setdefault(account_id, {})[entry.seq] = Entry(
                        entry.seq,
                        entry.kind,
                        entry.amount_microcredits,
                        entry.before_microcredits,
                        entry.after_microcredits,
                        entry.operation_id,
                    )
                if event.call_id is not None and event.call_id in wanted:
                    found.events.setdefault(event.call_id, []).append(event)
            if len(page) < _EVENTS:
                return found
            start = b"(" + page[-1][0]


def _wrong_sum(row: Row) -> Difference:
    detail = (
        f"the sums of usage ({row['grain']} {row['start_at']} {row['model']}) have {row['calls']} call(s) more than the records, "
        "or other figures: run `farebox rebuild --sums`"
    )
    return Difference(text(row, "account_id"), checks.SUM, detail, integer(row, "charge_microcredits"))


def _events(page: Iterable[tuple[bytes, Sequence[bytes]]], buried: Container[bytes]) -> Iterator[Event]:
    """What the recorder has written or will write; what it puts aside shows as a difference."""
    for entry_id, fields in page:
        if entry_id not in buried:
            with contextlib.suppress(BadEvent):
                yield read_event(fields)


def _entry_of(row: Row) -> Entry:
    return Entry(
        integer(row, "seq"),
        text(row, "kind"),
        integer(row, "amount_microcredits"),
        integer(row, "before_microcredits"),
        integer(row, "after_microcredits"),
        optional_text(row, "operation_id"),
    )
