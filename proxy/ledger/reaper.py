"""Ends holds that nobody came back for (a killed worker, a lost connection) at their checkpoint, by policy."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from proxy.core.errors import Unavailable
from proxy.core.outcomes import EXPIRED, Ended
from proxy.core.reservations import is_reservation
from proxy.ledger.keys import Partition
from proxy.ledger.ledger import Ledger

log = logging.getLogger("farebox.reaper")

BATCH = 100  # holds asked for at once


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one round found: holds ended, their charge, holds still open, and the oldest of those (its call began then)."""

    expired: int
    charged_microcredits: int
    open_holds: int
    oldest_hold_ms: int | None


class Reaper:
    """Sweeps all partitions; `policy` is what an abandoned call is charged: checkpoint, hold or free (reservations: always).

    `on_expired` is called for each hold that this reaper has ended. Any number of reapers may run: a hold ends once.
    """

    def __init__(
        self, ledger: Ledger, *, policy: str = "checkpoint", on_expired: Callable[[str, Ended], None] | None = None
    ) -> None:
        self._ledger = ledger
        self._policy = policy
        self._on_expired = on_expired

    async def sweep(self) -> Sweep:
        """One round. A partition that cannot be reached is logged and left for the next round."""
        expired = charged = open_holds = 0
        oldest_ms: int | None = None
        for partition in self._ledger.partitions:
            try:
                found = await self._sweep_partition(partition)
            except Unavailable as error:
                log.warning("partition %d was not swept: %s", partition.number, error)
                continue
            expired += found.expired
            charged += found.charged_microcredits
            open_holds += found.open_holds
            if found.oldest_hold_ms is not None:
                oldest_ms = max(oldest_ms or 0, found.oldest_hold_ms)
        return Sweep(expired, charged, open_holds, oldest_ms)

    async def _sweep_partition(self, partition: Partition) -> Sweep:
        expired = charged = 0
        while True:
            due = await self._ledger.due_holds(partition, BATCH)
            ended = [await self._expire(partition, call_id, account_id) for call_id, account_id in due.calls]
            new = [end for end in ended if end is not None]
            expired += len(new)
            charged += sum(end.charge_microcredits for end in new)
            if len(due.calls) < BATCH or not new:  # a round that ends nothing must not be repeated for ever
                break
        began_ms = call_began_ms(due.oldest_call_id)
        age_ms = None if began_ms is None else max(0, due.now_ms - began_ms)
        return Sweep(expired, charged, max(0, due.open_holds - len(new)), age_ms)

    async def _expire(self, partition: Partition, call_id: str, account_id: str) -> Ended | None:
        """The end of a hold, if it was this reaper that ended it."""
        if not account_id:
            await self._ledger.drop_stray(partition, call_id)
            return None
        policy = "free" if is_reservation(call_id) else self._policy
        outcome = await self._ledger.expire(account_id, call_id, policy)
        if not isinstance(outcome, Ended) or outcome.repeated or outcome.state != EXPIRED:
            return None
        if self._on_expired is not None:
            self._on_expired(call_id, outcome)
        return outcome


def call_began_ms(call_id: str | None) -> int | None:
    """The instant in a call id (its first 48 bits), in Unix milliseconds; None where it is not such an id."""
    try:
        return int((call_id or "").replace("-", "")[:12], 16)
    except ValueError:
        return None
