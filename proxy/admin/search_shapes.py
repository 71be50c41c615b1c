"""What searches, exports and sums of calls and ledger entries are asked with."""

from dataclasses import replace
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from proxy.admin.call import Call
from proxy.admin.shapes import Instant
from proxy.core.errors import InvalidRequest
from proxy.core.money import MAX_AMOUNT
from proxy.records.search import FOREVER_MS, CallFilter, Wanted

Text = Annotated[str, Meta(min_length=1, max_length=300)]
Microcredits = Annotated[int, Meta(ge=0, le=MAX_AMOUNT)]
Signed = Annotated[int, Meta(ge=-MAX_AMOUNT, le=MAX_AMOUNT)]
Outcome = Literal["completed", "client_left", "upstream_failed", "timed_out", "refused", "cut", "abandoned"]
Basis = Literal["reported", "counted", "checkpoint", "hold", "none"]
Kind = Literal["topup", "charge", "correction", "refund", "grant", "expiry", "adjustment"]
Status = Annotated[int, Meta(ge=100, le=599)]
TagText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=300,
        description="A tag's name, or its name and value as `name=value`.",
        examples=["team=search"],
    ),
]


class CallQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which calls. Everything that is given must hold; texts are compared as a whole. `from_at` is included, `to_at` is not.

    `account` is an id or a name, `key` an API key's id, `basis` what the charge rests on.
    """

    account: Text | None = None
    key: Text | None = None
    provider: Text | None = None
    model: Text | None = None
    outcome: Outcome | None = None
    status: Status | None = None
    basis: Basis | None = None
    tag: TagText | None = None
    trace_id: Text | None = None
    call_id: Text | None = None
    from_at: Instant | None = None
    to_at: Instant | None = None


class UsageFilters(CallQuery, kw_only=True, forbid_unknown_fields=True):
    """Which usage records; charges from `min_microcredits` to `max_microcredits`, both included."""

    min_microcredits: Microcredits | None = None
    max_microcredits: Microcredits | None = None


class EntryFilters(CallQuery, kw_only=True, forbid_unknown_fields=True):
    """Which ledger entries; signed amounts from `min_microcredits` to `max_microcredits`, both included.

    `key`, `provider`, `model`, `outcome`, `status`, `basis`, `tag` and `trace_id` are those of the call that an entry belongs to.
    """

    kind: Kind | None = None
    actor: Text | None = None
    operation_id: Text | None = None
    idempotency_key: Text | None = None
    min_microcredits: Signed | None = None
    max_microcredits: Signed | None = None


async def wanted_of(call: Call, query: UsageFilters | EntryFilters) -> Wanted:
    """The query as the search takes it. Raises NotFound (`account_not_found`, `key_not_found`), InvalidRequest."""
    from_at, to_at = instants(query)
    lowest = -MAX_AMOUNT if query.min_microcredits is None else query.min_microcredits
    highest = MAX_AMOUNT if query.max_microcredits is None else query.max_microcredits
    if lowest > highest:
        raise InvalidRequest("min_microcredits is above max_microcredits", param="min_microcredits")
    found = Wanted(
        account_id=await account_of(call, query.account, query.key),
        from_at=from_at,
        to_at=to_at,
        min_microcredits=lowest,
        max_microcredits=highest,
        call_id=query.call_id,
        call=CallFilter(
            key_id=query.key,
            provider=query.provider,
            model=query.model,
            outcome=query.outcome,
            status=query.status,
            settlement_basis=query.basis,
            trace_id=query.trace_id,
            tag=tag_of(query.tag),
        ),
    )
    if isinstance(query, UsageFilters):
        return found
    return replace(
        found,
        kind=query.kind,
        actor=query.actor,
        idempotency_key=query.idempotency_key,
        operation_id=query.operation_id,
    )


async def account_of(call: Call, reference: str | None, key_id: str | None) -> str | None:
    """The one account whose rows are meant, None for all: the account that is named, or the one that the key belongs to."""
    if reference is not None:
        return (await call.directory.account(reference)).id
    return None if key_id is None else (await call.directory.key(key_id)).account_id


def instants(query: CallQuery) -> tuple[int, int]:
    """From when (included) to when (not). Raises InvalidRequest where they are the wrong way round."""
    from_at = 0 if query.from_at is None else query.from_at
    to_at = FOREVER_MS if query.to_at is None else query.to_at
    if from_at > to_at:
        raise InvalidRequest("from_at is after to_at", param="from_at")
    return from_at, to_at


def tag_of(said: str | None) -> tuple[str, str | None] | None:
    """`name` or `name=value`. Raises InvalidRequest for a value without a name."""
    if said is None:
        return None
    name, equals, value = said.partition("=")
    if not name:
        raise InvalidRequest("tag is name or name=value", param="tag")
    return name, value if equals else None
