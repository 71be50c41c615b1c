"""The usage record of a call: its draft when it is held, its checkpoints while it runs, and its last word.

Amounts are microcredits and nano-USD, instants Unix milliseconds. The draft is what the reaper records when this process dies.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from proxy.core import records
from proxy.core.money import MAX_AMOUNT
from proxy.core.records import UsageRecord
from proxy.core.settlement import Facts, counted_usage, settlement_basis

if TYPE_CHECKING:
    from proxy.core.usage import Usage
    from proxy.pipeline.call import Call
    from proxy.providers.dialect import Meter
    from proxy.providers.tokens import TokenCounter

# Prose averages four bytes a token; estimates while a call runs rest on it, never a final charge.
_BYTES_PER_TOKEN = 4


def draft_record(call: Call, hold_microcredits: int) -> UsageRecord:
    """What is known when the call is held: abandoned, and free until a checkpoint says otherwise."""
    return UsageRecord(
        call_id=call.call_id,
        at=call.at_ms,
        account_id=call.caller.account_id,
        key_id=call.caller.key_id,
        provider=call.route.endpoint.provider,
        model=call.ask.model,
        dialect=call.operation.dialect,
        path=call.exchange.path,
        stream=call.ask.stream,
        status=call.status,
        hold_microcredits=hold_microcredits,
        price_version=call.tariff.price.version,
        attempts=call.attempts,
        trace_id=call.trace_id,
        tags=call.tags,
    )


def checkpoint_record(call: Call, hold_microcredits: int) -> UsageRecord:
    """What would stand on the record if this process died now."""
    record = draft_record(call, hold_microcredits)
    meter = call.meter
    if meter is not None:
        # An event is about a token; the bytes guard against providers that put many tokens into one event.
        output = max(meter.output_events, meter.output_bytes // _BYTES_PER_TOKEN)
        usage = meter.usage or counted_usage(meter.partial, len(call.body) // _BYTES_PER_TOKEN, output)
        _price(record, call, usage)
    return record


async def final_record(record: UsageRecord, call: Call, hold_microcredits: int, counter: TokenCounter) -> UsageRecord:
    """The record of a call that has ended with `call.outcome`, its charge included: `record` is its draft, filled in."""
    record.status, record.attempts, record.hold_microcredits = call.status, call.attempts, hold_microcredits
    meter = call.meter
    record.outcome = call.outcome or records.UPSTREAM_FAILED
    facts = Facts(
        sent=call.sent,
        status=call.status,
        outcome=record.outcome,
        reported=_reported(meter),
        flagged=bool(meter and meter.flag),
        error_event=bool(meter and meter.error),
    )
    record.settlement_basis = settlement_basis(facts)
    if record.settlement_basis == records.HOLD:
        record.charge_microcredits = hold_microcredits
    elif record.settlement_basis == records.REPORTED and facts.reported is not None:
        _price(record, call, facts.reported)
    elif record.settlement_basis == records.COUNTED:
        _price(record, call, await _counted(call, counter))
    if record.charge_microcredits > MAX_AMOUNT:  # no account can pay that: the figures are not believed
        record.settlement_basis, record.charge_microcredits = records.HOLD, hold_microcredits
    record.duration_ms = round((monotonic() - call.started) * 1000)
    if call.first_byte_at is not None:
        record.time_to_first_byte_ms = round((call.first_byte_at - call.started) * 1000)
    return record


def _reported(meter: Meter | None) -> Usage | None:
    """The provider's usage; of a stream that ended in its error event, what it had reported until then."""
    if meter is None:
        return None
    return meter.usage or (meter.partial if meter.error else None)


async def _counted(call: Call, counter: TokenCounter) -> Usage:
    """The prompt and the relayed output counted by tiktoken, off the event loop; one side may be reported."""
    meter = call.meter
    partial = meter.partial if meter else None
    input_tokens = output_tokens = 0
    if partial is None:
        input_tokens = await counter.count(call.operation.prompt_text(call.body), call.ask.model)
    if meter is not None and meter.output_bytes:
        text = meter.output_text
        output_tokens = await counter.count(text, call.ask.model)
        kept = len(text.encode("utf-8", "replace"))
        if 0 < kept < meter.output_bytes:  # the tally is bounded: what it dropped is counted at the same density
            output_tokens = -(-output_tokens * meter.output_bytes // kept)
    return counted_usage(partial, input_tokens, output_tokens)


def _price(record: UsageRecord, call: Call, usage: Usage) -> None:
    record.usage = usage.counters
    record.input_tokens = usage.input_tokens
    record.output_tokens = usage.output_tokens
    record.cost_nano_usd = call.tariff.cost_nano_usd(usage)
    record.charge_microcredits = call.tariff.charge_microcredits(usage)
