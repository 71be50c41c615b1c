"""Refunds: what a call was charged is returned, in whole or in part, and never more than that in all.

The limit is kept by the script: what was refunded of a call stands in Redis beside it, so that refunds under different keys
at once cannot pass the charge. A refund is bought credit: it does not go back into the grant that the call burned.
"""

from dataclasses import dataclass

from proxy.accounts.journal import (
    REFUND,
    Journal,
    Wanted,
    check_account,
    check_amount_asked,
    check_words,
    digest_of,
)
from proxy.accounts.operations import entry_of
from proxy.core.errors import NotFound
from proxy.core.records import LedgerEntry
from proxy.ledger.keys import check_id
from proxy.sql.database import integer, text


@dataclass(frozen=True, slots=True)
class Refund:
    """What is asked for; `amount_microcredits` None: all that is left of the call's charge."""

    call_id: str
    idempotency_key: str
    amount_microcredits: int | None = None
    actor: str = ""
    reason: str = ""


class Refunds:
    """See the module's page."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def refund(self, account_id: str, refund: Refund) -> LedgerEntry:
        """The ledger entry of this refund (with the call's id), the same at every repeat.

        Raises NotFound (`account_not_found`; `call_not_found`: unknown, or another account's), Conflict (`call_open`,
        `refund_exceeds_charge`, `idempotency_conflict`), InvalidRequest, Unavailable (repeat it with the same key).
        """
        amount = refund.amount_microcredits
        if amount is not None:
            check_amount_asked(amount)
        check_words(refund.idempotency_key, refund.actor, refund.reason)
        await check_account(self._journal.database, account_id)
        wanted = Wanted(
            account_id,
            refund.idempotency_key,
            REFUND,
            amount or 0,
            digest_of(account_id, REFUND, refund.call_id, "all" if amount is None else amount),
            refund.actor,
            refund.reason,
            call_id=refund.call_id,
        )
        if await self._journal.row(account_id, refund.idempotency_key) is None:
            await self._check_call(account_id, refund.call_id)
        return entry_of(await self._journal.finish(await self._journal.agree(wanted)))

    async def refunded(self, call_id: str) -> int:
        """Microcredits returned of a call so far, as SQL has it; 0 for a call that SQL does not know."""
        record = await self._journal.database.fetch_one("usage_record", call_id=call_id)
        if record is None:
            return 0
        row = await self._journal.database.fetch_one(
            "refunded_of_call", account_id=text(record, "account_id"), call_id=call_id
        )
        return 0 if row is None else integer(row, "refunded_microcredits")

    async def _check_call(self, account_id: str, call_id: str) -> None:
        """A typing error leaves no row behind. Redis knows a call that SQL does not have yet."""
        try:
            check_id(call_id, "call_id")
        except ValueError as error:
            raise NotFound("There is no such call.", code="call_not_found") from error
        record = await self._journal.database.fetch_one("usage_record", call_id=call_id)
        if record is None:
            known = (await self._journal.scripts.standing(account_id, [call_id]))[0] is not None
        else:
            known = record["account_id"] == account_id
        if not known:
            raise NotFound("There is no such call.", code="call_not_found")
