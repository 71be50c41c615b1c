"""Reports of usage as values: what applications say, and what it became. Amounts in microcredits and nano-USD."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from proxy.accounts.journal import MAX_KEY, SYSTEM_ACCOUNT, check_words, digest_of
from proxy.core.errors import InsufficientCredits, InvalidRequest
from proxy.core.limits import Limit
from proxy.core.records import UsageRecord
from proxy.core.usage import MAX_COUNT, Usage
from proxy.sql.database import Row, text

CUSTOMER, SYSTEM = "customer", "system"
_PREFIX = "usage_"
_MAX_WORDS = 200
_MAX_TAGS = 16
_UUID_PARTS = (8, 12, 16, 20, 32)


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What is reported. `transaction_id` is the application's name for the call, which is charged once whatever follows."""

    model: str
    usage_type: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    transaction_id: str | None = None
    idempotency_key: str | None = None
    key_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a report became. `account_id` None and nothing charged: context system. Unix milliseconds."""

    id: str
    call_id: str
    account_id: str | None
    context: str
    model: str
    provider: str
    usage_type: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_nano_usd: int
    charge_microcredits: int
    price_version: str
    created_at: int
    repeated: bool


def usage_id(call_id: str) -> str:
    """A usage record's id as applications are given it: `usage_` and the call id without dashes."""
    return _PREFIX + call_id.replace("-", "")


def call_id_of(usage_id_: str) -> str:
    """The call id behind such an id; what is none leads to no call."""
    letters, places = usage_id_.removeprefix(_PREFIX), (0, *_UUID_PARTS)
    parts = [letters[start:end] for start, end in zip(places, _UUID_PARTS, strict=False)]
    return "-".join(parts) + letters[32:]


def usage_of(report: UsageReport) -> Usage:
    """A report's tokens by disjoint counter."""
    counters = {"input": report.input_tokens - report.cached_tokens, "output": report.output_tokens}
    if report.cached_tokens:
        counters["cache_read"] = report.cached_tokens
    return Usage(counters)


def reference_of(report: UsageReport, call_id: str) -> str:
    """What a report is known by: its transaction, its key, or its own call."""
    if report.transaction_id is not None:
        return f"transaction:{report.transaction_id}"
    if report.idempotency_key is not None:
        return f"key:{report.idempotency_key}"
    return f"call:{call_id}"  # every report is another one


def report_digest(owner: str, report: UsageReport) -> str:
    """What makes two reports under one key the same."""
    tokens = (report.input_tokens, report.output_tokens, report.cached_tokens)
    return digest_of(owner, report.model, report.usage_type, *tokens)


def check_report(report: UsageReport) -> None:
    """Raises InvalidRequest (`param` names the member)."""
    for name, count in (
        ("inputTokens", report.input_tokens),
        ("outputTokens", report.output_tokens),
        ("cachedTokens", report.cached_tokens),
    ):
        if type(count) is not int or not 0 <= count <= MAX_COUNT:
            raise InvalidRequest(f"{name} must be a whole number from 0 to {MAX_COUNT}", param=name)
    if report.cached_tokens > report.input_tokens:
        raise InvalidRequest("cachedTokens are a part of inputTokens", param="cachedTokens")
    for name, value in (("modelId", report.model), ("usageType", report.usage_type)):
        if not 1 <= len(value) <= _MAX_WORDS or not value.isprintable():
            raise InvalidRequest(f"{name} must have 1 to {_MAX_WORDS} printable characters", param=name)
    for name, value in report.tags.items():
        if len(report.tags) > _MAX_TAGS or len(name) + len(value) > _MAX_WORDS or not (name + value).isprintable():
            raise InvalidRequest(f"at most {_MAX_TAGS} tags of {_MAX_WORDS} printable characters", param="tags")
    if report.transaction_id is not None and (
        not 1 <= len(report.transaction_id) <= MAX_KEY or not report.transaction_id.isprintable()
    ):
        raise InvalidRequest(f"transactionId must have 1 to {MAX_KEY} printable characters", param="transactionId")
    if report.idempotency_key is not None:
        check_words(report.idempotency_key)


def not_priced(model: str) -> InsufficientCredits:
    """The error for a model without a price."""
    return InsufficientCredits(
        f"The model {model[:_MAX_WORDS]!r} has no price here, so its usage cannot be charged.",
        code="model_not_priced",
        param="modelId",
    )


def recorded_of(row: Row, *, repeated: bool) -> Recorded:
    """A row as its report was answered."""
    record = msgspec.json.decode(text(row, "record"), type=UsageRecord)
    system = record.account_id == SYSTEM_ACCOUNT
    return Recorded(
        id=usage_id(record.call_id),
        call_id=record.call_id,
        account_id=None if system else record.account_id,
        context=SYSTEM if system else CUSTOMER,
        model=record.model,
        provider=record.provider,
        usage_type=record.tags.get("usage_type", ""),
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        cached_tokens=record.usage.get("cache_read", 0),
        cost_nano_usd=record.cost_nano_usd,
        charge_microcredits=record.charge_microcredits,
        price_version=record.price_version,
        created_at=record.at,
        repeated=repeated,
    )
