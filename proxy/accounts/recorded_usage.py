"""Usage that applications report of calls that did not go through the proxy: priced from the same book, charged by the same
scripts, and recorded like a call (dialect `recorded`), once for a transaction.

The charge is known beforehand, so the hold is exact: what the balance does not cover is refused. A row is written before the
hold and closed after the settlement; killed in between, a repeat or the reconciliation finishes it under the same call id.
Usage without an account (context `system`) belongs to a reserved account that has no credits and pays nothing: its records
carry what the provider bills, and are stored, streamed and summed like everybody's. Cached tokens are a part of the input.
"""

import logging
from dataclasses import replace

import msgspec

from proxy.accounts.holding import HoldLedger, hold, is_recorded
from proxy.accounts.journal import SYSTEM_ACCOUNT, check_account
from proxy.accounts.model_prices import ModelPrices
from proxy.accounts.usage_reports import (
    Recorded,
    UsageReport,
    call_id_of,
    check_report,
    not_priced,
    recorded_of,
    reference_of,
    report_digest,
    usage_id,
    usage_of,
)
from proxy.core import records
from proxy.core.clock import Clock
from proxy.core.errors import KEY_USED, Conflict, FareboxError, InvalidRequest, NotFound, Unavailable
from proxy.core.ids import new_call_id
from proxy.core.limits import Limit
from proxy.core.money import MAX_AMOUNT
from proxy.core.outcomes import UNKNOWN, HoldRequest
from proxy.core.pricing import Unpriced
from proxy.core.records import UsageRecord
from proxy.ledger.credit_scripts import CreditScripts
from proxy.sql.database import Database, Params, Row, integer, optional_integer, text

log = logging.getLogger("farebox.recorded_usage")

__all__ = ["Recorded", "RecordedUsage", "UsageReport", "call_id_of", "usage_id"]

DIALECT, PATH = "recorded", "/v1/usage/record"
_LEASE_MS = 60_000
_REMEMBERED_MS = 9 * 60 * 1000  # Redis knows for 10 minutes how a call ended
_PAGE = 500


class RecordedUsage:
    """See the module's page. Methods raise Unavailable when a store is away: repeat the request."""

    def __init__(
        self, database: Database, ledger: HoldLedger, scripts: CreditScripts, clock: Clock, prices: ModelPrices
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._scripts = scripts
        self._clock = clock
        self.prices = prices

    def use_prices(self, prices: ModelPrices) -> None:
        """New prices, after a reload."""
        self.prices = prices

    async def record(self, account_id: str | None, report: UsageReport) -> Recorded:
        """Charges and records one call; `account_id` None is the context system.

        A repeated transaction id is answered with the first record, whatever the body; a repeated idempotency key with
        another body is a Conflict (`idempotency_conflict`). Raises InsufficientCredits (402, also `model_not_priced`),
        RateLimited, NotFound, InvalidRequest (`param` names the member).
        """
        check_report(report)
        account = await self._account(account_id)
        owner = text(account, "id")
        row = await self._database.fetch_one("recorded_usage", account_id=owner, reference=reference_of(report, ""))
        if row is None:
            wanted = self._wanted(owner, report, optional_integer(account, "markup_ppm"))
            await self._database.execute("insert_recorded_usage", **wanted)
            row = await self._database.fetch_one("recorded_usage", account_id=owner, reference=wanted["reference"])
        if row is None:
            raise Unavailable("Another report of this transaction was just refused. Try again.")
        if report.transaction_id is None and row["digest"] != report_digest(owner, report):
            raise Conflict(KEY_USED, code="idempotency_conflict")
        repeated = row["status"] == "applied"
        if not repeated:
            await self._finish(row, report.limits)
        return recorded_of(row, repeated=repeated)

    async def sweep(self, created_by: int) -> tuple[int, int]:
        """Finishes reports that have been pending since `created_by`; how many were, and how many were refused."""
        finished = refused = 0
        after_at, after_id = -1, ""
        while True:
            page = await self._database.fetch(
                "pending_recorded_usage",
                created_by=created_by,
                after_created_at=after_at,
                after_call_id=after_id,
                row_limit=_PAGE,
            )
            for row in page:
                try:
                    await self._finish(row, ())
                    finished += 1
                except Unavailable as error:
                    log.warning("reported usage %s is not finished now: %s", row["call_id"], error.message)
                except FareboxError as error:
                    log.warning("reported usage %s was refused: %s", row["call_id"], error.message)
                    refused += 1
            if len(page) < _PAGE:
                return finished, refused
            after_at, after_id = integer(page[-1], "created_at"), text(page[-1], "call_id")

    async def _finish(self, row: Row, limits: tuple[Limit, ...]) -> None:
        """Holds, settles and closes a row, whatever of that has happened before."""
        call_id, account_id, encoded = text(row, "call_id"), text(row, "account_id"), text(row, "record").encode()
        record = msgspec.json.decode(encoded, type=UsageRecord)
        if not await self._is_settled(row):
            charge, tokens = record.charge_microcredits, record.input_tokens + record.output_tokens
            request = HoldRequest(account_id, call_id, charge, tokens, _LEASE_MS, limits, 0, _draft(record))
            try:
                await hold(self._database, self._ledger, request)
            except Conflict:
                pass  # it was held before and has ended: settling corrects an expiry, and repeats a settlement
            except Unavailable:
                raise
            except FareboxError:
                await self._database.execute("drop_recorded_usage", call_id=call_id)
                raise
            ended = await self._ledger.settle(account_id, call_id, charge, tokens, encoded)
            if ended.state == UNKNOWN:
                raise Unavailable("The hold of this report is gone. Try again.")
        await self._database.execute("apply_recorded_usage", call_id=call_id)

    async def _is_settled(self, row: Row) -> bool:
        """Whether an earlier attempt got as far as the usage record. One that nobody came back for is no settlement, as
        long as Redis knows of it and takes a correction.
        """
        record = await self._database.fetch_one("usage_record", call_id=row["call_id"])
        if record is not None and record["outcome"] == records.ABANDONED:
            standing = await self._scripts.standing(text(row, "account_id"), [text(row, "call_id")])
            return standing[0] is None
        if record is not None:
            return True
        if self._clock.now_ms() - integer(row, "created_at") < _REMEMBERED_MS:
            return False
        if not await is_recorded(self._database, self._scripts, row):
            raise Unavailable("The recorder is behind; this report is finished when it has caught up.")
        return await self._database.fetch_one("usage_record", call_id=row["call_id"]) is not None

    async def _account(self, account_id: str | None) -> Row:
        if account_id is not None:
            return await check_account(self._database, account_id)
        row = await self._database.fetch_one("account_by_id", id=SYSTEM_ACCOUNT)
        if row is None:
            await self._database.execute("insert_system_account", id=SYSTEM_ACCOUNT, created_at=self._clock.now_ms())
            row = await self._database.fetch_one("account_by_id", id=SYSTEM_ACCOUNT)
        if row is None:
            raise NotFound("There is no account for usage without an owner.", code="account_not_found")
        return row

    def _wanted(self, owner: str, report: UsageReport, markup_ppm: int | None) -> Params:
        """The row of a new report: its usage record is complete before anything is held."""
        now_ms, call_id = self._clock.now_ms(), new_call_id()
        found = self.prices.find(report.model, now_ms)
        if found is None:
            raise not_priced(report.model)
        usage = usage_of(report)
        try:
            cost, charge = self.prices.tariff(found, markup_ppm).bill(usage)
        except Unpriced as error:
            raise not_priced(report.model) from error
        if max(cost, charge) > MAX_AMOUNT:
            raise InvalidRequest("so many tokens cost more than any account can hold", param="inputTokens")
        record = UsageRecord(
            call_id=call_id,
            at=now_ms,
            account_id=owner,
            key_id=report.key_id,
            provider=found.provider,
            model=report.model,
            dialect=DIALECT,
            path=PATH,
            status=200,
            outcome=records.COMPLETED,
            usage=usage.counters,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost_nano_usd=cost,
            charge_microcredits=0 if owner == SYSTEM_ACCOUNT else charge,
            hold_microcredits=0 if owner == SYSTEM_ACCOUNT else charge,
            price_version=found.price.version,
            settlement_basis=records.REPORTED,
            tags={"usage_type": report.usage_type, **report.tags},
        )
        return {
            "account_id": owner,
            "reference": reference_of(report, call_id),
            "digest": report_digest(owner, report),
            "call_id": call_id,
            "record": msgspec.json.encode(record).decode(),
            "created_at": now_ms,
        }


def _draft(record: UsageRecord) -> bytes:
    """What is recorded should this process die before it settles: nothing was charged yet."""
    return msgspec.json.encode(
        replace(record, outcome=records.ABANDONED, settlement_basis=records.CHECKPOINT, charge_microcredits=0)
    )
