"""Usage: recorded by who metered it, listed newest first, and summed by model and by context.

`context` is customer for an account's usage and system for an operator's own, which no account pays. `estimatedCostUsd` is the
cost at the price book's rates, before any markup; cached tokens are a part of the input tokens.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from proxy.accounts.administrators import FINANCE, Administrator
from proxy.accounts.journal import SYSTEM_ACCOUNT
from proxy.accounts.recorded_usage import UsageReport, usage_id
from proxy.core.errors import InsufficientCredits, InvalidRequest, NotFound
from proxy.core.usage import MAX_COUNT
from proxy.records.sums import MODEL, Asked, usage_sums
from proxy.sql.database import integer, text
from proxy.surfaces.credits_dev.access import account_id_of, flag, page_of, said
from proxy.surfaces.credits_dev.dates import dates_of
from proxy.surfaces.fields import MAX_ID, count, identifier, line
from proxy.surfaces.numbers import instant, usd_number
from proxy.tasks import in_turns, used_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from proxy.accounts.recorded_usage import Recorded
    from proxy.sql.database import Row, Value
    from proxy.surfaces.credits_dev.access import Access
    from proxy.surfaces.house import House
    from proxy.surfaces.once import Once, Work
    from proxy.surfaces.vendor import Query

CUSTOMER, SYSTEM = "customer", "system"
MOST_MODELS = 10_000  # in one summary
_encode = msgspec.json.Encoder().encode


class UsageRecords:
    """Handlers under /v1/usage."""

    def __init__(self, house: House, access: Access, once: Once) -> None:
        self._house = house
        self._access = access
        self._once = once

    async def record(self, query: Query) -> object:
        """POST /v1/usage/record. The same `transactionId` again answers the first record and charges nothing."""

        async def prepare() -> Work:
            account_id, report = await self._recorded_for(query), _report(query)
            return partial(self._record, account_id, report)

        return await self._once.answer(query, "/v1/usage/record", prepare)

    async def _record(self, account_id: str | None, report: UsageReport, operation_id: str) -> object:
        recorded = await self._recorded(account_id, replace(report, idempotency_key=f"surface:{operation_id}"))
        return {
            "success": True,
            "usageRecord": {
                "id": recorded.id,
                "accountId": recorded.account_id,
                "modelId": recorded.model,
                "estimatedCostUsd": usd_number(recorded.cost_nano_usd),
            },
        }

    async def list(self, query: Query) -> object:
        """GET /v1/usage: a list, or with `summary=true` the sums of everything that the filters let through."""
        summed = flag(query, "summary")
        limit, offset = page_of(query)
        from_at, to_at = dates_of(query)
        scope = await self._scope(query)
        if scope is None:
            return await _summary([]) if summed else {"success": True, "usageRecords": []}
        which, where = scope
        where |= {
            "from_at": from_at,
            "to_at": to_at,
            "model": identifier({"modelId": query.param("modelId")}, "modelId") or "",
        }
        if summed:
            return await self._summed(where)
        rows = await self._house.database.fetch(f"{which}_usage_page", **where, row_limit=limit, row_offset=offset)
        return {"success": True, "usageRecords": await in_turns(_shown(row) for row in rows)}

    async def _scope(self, query: Query) -> tuple[str, dict[str, Value]] | None:
        """Whose usage is asked for: the queries' first word and their parameters; None for nobody's."""
        context = query.param("context")
        if context not in {None, CUSTOMER, SYSTEM}:
            raise InvalidRequest("context must be customer or system", param="context")
        account = await self._access.maybe_named(query, said(query))
        if account is not None:
            return None if context == SYSTEM else ("account", {"account_id": account_id_of(account)})
        if context == SYSTEM:
            return "account", {"account_id": SYSTEM_ACCOUNT}
        return "all", {"except_account": SYSTEM_ACCOUNT if context == CUSTOMER else ""}

    async def _summed(self, where: dict[str, Value]) -> object:
        """The system's own usage is summed by itself, and taken off where it is not to be seen."""
        database = self._house.database
        account, model = where.get("account_id", ""), where["model"]
        asked = Asked(
            from_at=integer(where, "from_at"),
            to_at=integer(where, "to_at") + 1,
            account_id=str(account),
            models=(str(model),) if model else (),
            by=frozenset({MODEL}),
            row_limit=MOST_MODELS + 1,
        )
        of_system = replace(asked, account_id=SYSTEM_ACCOUNT)
        system = [] if account else await usage_sums(database, of_system)
        rows = await usage_sums(database, asked)
        while not account and (now := await usage_sums(database, of_system)) != system:
            system, rows = now, await usage_sums(database, asked)  # some came in between
        if account == SYSTEM_ACCOUNT:
            system = rows
        if len(rows) > MOST_MODELS:
            raise InvalidRequest(f"This summary has more than {MOST_MODELS} models; filter by modelId or date.")
        if where.get("except_account") == SYSTEM_ACCOUNT:
            return await _summary(_without(rows, system))
        return await _summary(used_up(rows), sum(integer(row, "cost_nano_usd") for row in system))

    async def _recorded_for(self, query: Query) -> str | None:
        """The account that pays, None for the system's own usage. Raises NotFound, Forbidden, InvalidRequest."""
        context = identifier(query.body, "context")
        if context not in {None, CUSTOMER, SYSTEM}:
            raise InvalidRequest("context must be customer or system", param="context")
        if context != SYSTEM:
            return account_id_of(await self._access.named(query, query.body, FINANCE))
        query.administrator(FINANCE)
        if any(query.body.get(name) is not None for name in ("accountId", "externalId")):
            raise InvalidRequest("usage of the system has no account", param="accountId")
        return None

    async def _recorded(self, account_id: str | None, report: UsageReport) -> Recorded:
        try:
            return await self._house.desk.recorded.record(account_id, report)
        except InsufficientCredits as error:
            if error.code == "model_not_priced":
                raise NotFound("There is no price for this model.", code="model_not_found", param="modelId") from error
            raise


def _report(query: Query) -> UsageReport:
    """What a body reports. Raises InvalidRequest."""
    model = identifier(query.body, "modelId")
    if model is None:
        raise InvalidRequest("modelId is required", param="modelId")
    input_tokens, output_tokens, cached_tokens = tokens_of(query.body)
    return UsageReport(
        model=model,
        usage_type=line(query.body, "usageType", MAX_ID) or "text",
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        transaction_id=identifier(query.body, "transactionId"),
        key_id="" if isinstance(query.who, Administrator) else query.who.key_id,
    )


def tokens_of(body: Mapping[str, object]) -> tuple[int, int, int]:
    """Input, output and cached tokens, the last a part of the first. Raises InvalidRequest."""
    input_tokens = count(body, "inputTokens", most=MAX_COUNT)
    output_tokens = count(body, "outputTokens", most=MAX_COUNT)
    cached_tokens = count(body, "cachedTokens", most=MAX_COUNT, default=0)
    if cached_tokens > input_tokens:
        raise InvalidRequest("cachedTokens are a part of inputTokens, and cannot be more", param="cachedTokens")
    return input_tokens, output_tokens, cached_tokens


def _shown(row: Row) -> object:
    is_system = row["account_id"] == SYSTEM_ACCOUNT
    return {
        "id": usage_id(text(row, "call_id")),
        "context": SYSTEM if is_system else CUSTOMER,
        "accountId": None if is_system else row["account_id"],
        "modelId": row["model"],
        "inputTokens": row["input_tokens"],
        "outputTokens": row["output_tokens"],
        "estimatedCostUsd": usd_number(integer(row, "cost_nano_usd")),
        "createdAt": instant(integer(row, "at")),
    }


def _without(rows: list[Row], taken: Sequence[Row]) -> Iterator[Row]:
    """The sums less those of the same models in `taken`. `rows` are used up."""
    less = {row["model"]: row for row in taken}
    columns = ("calls", "input_tokens", "output_tokens", "cost_nano_usd")
    for row in used_up(rows):
        other = less.get(row["model"])
        left = row if other is None else row | {name: integer(row, name) - integer(other, name) for name in columns}
        if integer(left, "calls") > 0:
            yield left


async def _summary(rows: Iterable[Row], system: int = 0) -> object:
    """`system`: what of the cost is the system's, in nano-USD."""
    total = dict.fromkeys(("cost_nano_usd", "input_tokens", "output_tokens"), 0)

    def member(row: Row) -> bytes:
        for column in total:
            total[column] += integer(row, column)
        model = {"costUsd": usd_number(integer(row, "cost_nano_usd")), "count": row["calls"]}
        return b"%b:%b" % (_encode(text(row, "model")), _encode(model))

    by_model = b",".join(await in_turns(member(row) for row in rows))
    cost = total["cost_nano_usd"]
    return {
        "success": True,
        "summary": {
            "totalCostUsd": usd_number(cost),
            "totalInputTokens": total["input_tokens"],
            "totalOutputTokens": total["output_tokens"],
            "byContext": {CUSTOMER: usd_number(cost - system), SYSTEM: usd_number(system)},
            "byModel": Raw(b"{%b}" % by_model),
        },
    }
