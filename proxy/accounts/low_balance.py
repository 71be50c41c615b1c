"""Watches balances that have a threshold: finds each fall to it in the ledger entries, and puts an event into the outbox.

Found in SQL and not where balances change: the scripts in Redis and the recorder learn nothing of thresholds. Every entry of a watched
account is looked at once, in its order, so a fall is found even if the balance has risen again since, and one that came while nothing
ran is found after the next start. The event, its deliveries and how far was looked are one commit, and an event's id follows from its
entry: two hosts that look at once make one event. The balance is the posted one (credited - spent); a second or two pass between an
entry and its event, and a new threshold is watched from then on.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from proxy.core.clock import Clock
from proxy.core.ids import new_id
from proxy.core.money import format_credits
from proxy.core.webhooks import Crossing, Entry, Watched, crossings
from proxy.sql.database import Database, Params, Row, integer, text

KIND = "account.balance_low"
PAGE = 1000
# An entry that SQL refused for good (it is in the dead-letter stream) is not waited for any longer.
GAP_PATIENCE_MS = 10 * 60_000


@dataclass(frozen=True, slots=True)
class Receiver:
    """Somebody who is told of events: the digest of the URL and its host, which may be stored and shown."""

    id: str
    host: str


def receiver_of(url: str, host: str) -> Receiver:
    """The receiver behind a URL; the same URL is the same receiver, whoever asks."""
    return Receiver(f"rcv_{hashlib.sha256(url.encode()).hexdigest()[:20]}", host)


class LowBalances:
    """Looks at what is new; all methods raise Unavailable where SQL is away, and lose nothing by it."""

    def __init__(self, database: Database, clock: Clock, receivers: Sequence[Receiver]) -> None:
        self._database = database
        self._clock = clock
        self._receivers = receivers

    async def sweep(self) -> int:
        """One look at everything that is new; returns how many events it made."""
        if await self._database.fetch_one("unwatched") is not None:
            await self._database.execute("end_watches")
        made, after_id = 0, ""
        while rows := await self._database.fetch("watches_behind", after_id=after_id, row_limit=PAGE):
            for row in rows:
                made += await self._look(row)
            after_id = text(rows[-1], "account_id")
        return made

    async def _look(self, row: Row) -> int:
        if row["watched_microcredits"] != row["threshold_microcredits"]:
            await self._database.execute("begin_watch", account_id=row["account_id"])
            return 0  # the next sweep looks
        before, made = Watched(integer(row, "seen_seq"), bool(row["armed"])), 0
        while True:
            entries = await self._entries(row, before)
            start = self._start(before, entries)
            after, found = crossings(start, entries, integer(row, "threshold_microcredits"))
            if after == before:
                return made
            await self._commit(row, before, after, found)
            made, before = made + len(found), after

    async def _entries(self, row: Row, seen: Watched) -> list[Entry]:
        rows = await self._database.fetch(
            "entries_to_watch", account_id=row["account_id"], seen_seq=seen.seen_seq, row_limit=PAGE
        )
        return [Entry(integer(one, "seq"), integer(one, "after_microcredits"), integer(one, "at")) for one in rows]

    def _start(self, before: Watched, entries: Sequence[Entry]) -> Watched:
        """Where to look on: an entry that is missing for long will not come."""
        if not entries or entries[0].seq == before.seen_seq + 1:
            return before
        is_lost = self._clock.now_ms() - entries[0].at > GAP_PATIENCE_MS
        return Watched(entries[0].seq - 1, before.armed) if is_lost else before

    async def _commit(self, row: Row, before: Watched, after: Watched, found: Sequence[Crossing]) -> None:
        now_ms = self._clock.now_ms()
        place: Params = {
            "account_id": row["account_id"],
            "seen_seq": before.seen_seq,
            "threshold_microcredits": row["threshold_microcredits"],
        }
        events: list[Params] = [{**place, **event_of(row, crossing), "created_at": now_ms} for crossing in found]
        deliveries: list[Params] = [
            {"id": new_id("dlv"), "event_id": event["id"], "receiver": one.id, "host": one.host, "now": now_ms}
            for event in events
            for one in self._receivers
        ]
        await self._database.transaction(
            ("insert_event_of_watch", events),
            ("insert_delivery", deliveries),
            ("move_watch", [{**place, "to_seq": after.seen_seq, "armed": int(after.armed)}]),
        )


def event_of(row: Row, crossing: Crossing) -> dict[str, str]:
    """An event: its id, which nothing but the account, the threshold and the entry decide, and what is sent."""
    account_id, threshold = text(row, "account_id"), integer(row, "threshold_microcredits")
    digest = hashlib.sha256(f"{account_id} {threshold} {crossing.seq}".encode()).hexdigest()
    body = {
        "type": KIND,
        "timestamp": datetime.fromtimestamp(crossing.at / 1000, UTC).isoformat(timespec="milliseconds"),
        "data": {
            "account_id": account_id,
            "account_name": text(row, "name"),
            "balance_microcredits": crossing.balance_microcredits,
            "balance_credits": format_credits(crossing.balance_microcredits),
            "low_balance_microcredits": threshold,
            "low_balance_credits": format_credits(threshold),
            "ledger_seq": crossing.seq,
            "at": crossing.at,
        },
    }
    return {"id": f"evt_{digest[:24]}", "kind": KIND, "body": json.dumps(body, separators=(",", ":"))}
