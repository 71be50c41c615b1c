"""The reconciliation: what a crash left between two steps of a credit operation is brought to its end.

Every operation is a pending row in SQL before the ledger hears of it (proxy/accounts/journal.py), so nothing else needs to be
searched. The sweep finishes each row that has been pending for a few seconds as a repeat of its request would: what the
ledger or the entries in SQL already have becomes the row's answer, what it never heard of is applied, what it refuses is
closed with the reason. Reports of usage and reservations are closed likewise. Any number of sweeps may run at once.
"""

import logging
from dataclasses import dataclass

from proxy.accounts.journal import Journal
from proxy.accounts.operations import PENDING
from proxy.accounts.recorded_usage import RecordedUsage
from proxy.accounts.reservations import Reservations
from proxy.core.errors import FareboxError, Unavailable

log = logging.getLogger("farebox.reconcile")

OLDER_THAN_MS = 5_000  # younger ones are still being worked on, most likely


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Rows that were finished, that were refused, and that are left for the next sweep."""

    finished: int
    refused: int
    waiting: int


class Reconciler:
    """See the module's page."""

    def __init__(self, journal: Journal, recorded: RecordedUsage, reservations: Reservations) -> None:
        self._journal = journal
        self._recorded = recorded
        self._reservations = reservations

    async def sweep(self, older_than_ms: int = OLDER_THAN_MS) -> Reconciled:
        """One round over everything that is pending. Raises Unavailable when SQL is away."""
        finished = refused = waiting = 0
        created_by = self._journal.clock.now_ms() - older_than_ms
        async for row in self._journal.pending(created_by):
            try:
                done = await self._journal.finish(row)
            except Unavailable as error:
                log.warning("operation %s is not finished now: %s", row["operation_id"], error.message)
                waiting += 1
            except FareboxError as error:
                log.warning("operation %s was refused: %s", row["operation_id"], error.message)
                refused += 1
            else:
                waiting += done["status"] == PENDING
                finished += done["status"] != PENDING
        reported, reports_refused = await self._recorded.sweep(created_by)
        closed = await self._reservations.sweep()
        if finished or reported:
            log.info("finished %d credit operations and %d reports that were left pending", finished, reported)
        return Reconciled(finished + reported + closed, refused + reports_refused, waiting)
