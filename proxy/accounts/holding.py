"""A hold that is not a proxied call's: of a reservation, or of usage that an application reports. Amounts are microcredits."""

import asyncio
from typing import Protocol

from proxy.accounts.announce import AccountLedger, announce
from proxy.core.errors import InsufficientCredits, RateLimited, Unavailable
from proxy.core.limits import BUDGET_KINDS
from proxy.core.money import format_credits
from proxy.core.outcomes import Ended, Extended, Gone, Held, HoldRequest, Refused, Stale, UnknownAccount
from proxy.ledger.credit_scripts import CreditScripts
from proxy.sql.database import Database, Row, integer, text

_ROUNDS = 3
_LOOKS, _LOOK_S = 20, 0.1
_IN_FLIGHT_RETRY_MS = 1000


class HoldLedger(AccountLedger, Protocol):
    """The part of the ledger that holds credits; see `proxy.ledger.ledger.Ledger`."""

    async def hold(self, request: HoldRequest) -> Held | Refused | Stale | UnknownAccount:
        """Admits a call or says why not."""
        ...

    async def extend(  # noqa: PLR0917 - the ledger's own signature
        self,
        account_id: str,
        call_id: str,
        step: int,
        amount_microcredits: int,
        checkpoint_microcredits: int,
        lease_ms: int,
        draft: bytes,
    ) -> Extended | Gone:
        """Renews a hold and grows it where it can."""
        ...

    async def settle(
        self, account_id: str, call_id: str, charge_microcredits: int, tokens: int, record: bytes
    ) -> Ended:
        """Charges and ends a hold."""
        ...

    async def release(self, account_id: str, call_id: str, record: bytes) -> Ended:
        """Ends a hold that costs nothing."""
        ...


async def is_recorded(database: Database, scripts: CreditScripts, row: Row) -> bool:
    """Whether SQL can be asked how a call ended that Redis no longer knows of (`call_id` and `account_id` of `row`).

    It can once it has the call's record, or everything that Redis has charged the account until now. Waits a little for that.
    """
    account_id = text(row, "account_id")
    up_to = (await scripts.grants(account_id)).seq
    for _ in range(_LOOKS):
        if await database.fetch_one("usage_record", call_id=row["call_id"]) is not None:
            return True
        last = await database.fetch_one("last_ledger_entry", account_id=account_id)
        if last is not None and integer(last, "seq") >= up_to:
            return True
        await asyncio.sleep(_LOOK_S)
    return False


async def hold(database: Database, ledger: HoldLedger, request: HoldRequest) -> Held:
    """Sets credits aside; `request.version` is replaced by the account's own.

    Raises InsufficientCredits, RateLimited, Conflict (this call id has ended), Unavailable.
    """
    for _ in range(_ROUNDS):
        account = await database.fetch_one("account_by_id", id=request.account_id)
        if account is None:
            raise RuntimeError("a hold for an account that SQL does not have")
        version = integer(account, "version")
        answer = await ledger.hold(_with_version(request, version))
        if isinstance(answer, Held):
            return answer
        if isinstance(answer, Refused):
            raise refusal(answer)
        await announce(database, ledger, request.account_id, version)
    raise Unavailable("The account is being changed. Try again shortly.")


def refusal(refused: Refused) -> InsufficientCredits | RateLimited:
    """The error that a refused hold means: 402 for money, 429 for speed; metadata as a proxied call's has it."""
    limit = refused.limit
    if limit is not None and limit.kind not in BUDGET_KINDS:
        return RateLimited(
            f"Rate limit reached: {limit.ceiling} {limit.kind}.",
            metadata={"limit": limit.kind, "ceiling": limit.ceiling, "scope": limit.scope.partition(":")[0]},
            retry_after_ms=refused.retry_after_ms or _IN_FLIGHT_RETRY_MS,
        )
    source = "budget" if limit is not None else refused.source
    return insufficient(source, refused.required, refused.available)


def insufficient(source: str, required: int, available: int) -> InsufficientCredits:
    """402, with the figures in microcredits; `source` is balance, budget or in_flight."""
    return InsufficientCredits(
        f"It needs {format_credits(required)} credits, and {format_credits(available)} are available.",
        metadata={"limit_source": source, "required": required, "available": available, "unit": "microcredits"},
        retry_after_ms=_IN_FLIGHT_RETRY_MS if source == "in_flight" else None,
    )


def _with_version(request: HoldRequest, version: int) -> HoldRequest:
    return HoldRequest(
        request.account_id,
        request.call_id,
        request.amount_microcredits,
        request.tokens,
        request.lease_ms,
        request.limits,
        version,
        request.draft,
    )
