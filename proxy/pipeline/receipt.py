"""The usage record of a call: its draft when it is held, its checkpoints while it runs, and its last word.

Amounts are microcredits and nano-USD, instants Unix milliseconds. The draft is what the reaper records when this process dies.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from proxy.core import records
from proxy.core.errors import Unavailable
from proxy.core.money import MAX_AMOUNT
from proxy.core.pricing import Tariff, Unpriced
from proxy.core.settlement import Facts, counted_usage, settlement_basis
from proxy.pipeline.alternatives import settled_tariff
from proxy.pipeline.parting import FREE as FREE_WHEN_LEFT
from proxy.pipeline.parting import policy_of
from proxy.providers.dialect import FREE
from proxy.providers.estimates import count_input, count_output
from proxy.providers.tally import BYTES_PER_TOKEN
from proxy.records.row import CallRecord

if TYPE_CHECKING:
    from proxy.core.records import UsageRecord
    from proxy.core.usage import Usage
    from proxy.pipeline.call import Call
    from proxy.providers.dialect import Meter
    from proxy.providers.tokens import TokenCounter

# Where what the provider reported goes on the record; a flag's charge is the hold all the same.
_WITH_FIGURES = frozenset((records.REPORTED, records.HOLD))
_FIRST_ERROR_STATUS = 400


def draft_record(call: Call, hold_microcredits: int) -> CallRecord:
    """What is known when the call is held: abandoned, and free until a checkpoint says otherwise."""
    ask = call.ask
    return CallRecord(
        call.at_ms,
        call.caller.key_id,
        call.route.endpoint.provider,
        ask.model,
        call.operation.dialect,
        call.exchange.path,
        ask.stream,
        call.status,
        call.attempts,
        hold_microcredits,
        call.tariff.price.version,
        call.trace_id,
        call.tags,
    )


def checkpoint_record(call: Call, hold_microcredits: int) -> CallRecord:
    """What would stand on the record if this process died now: from the moment of sending on, the prompt at least."""
    record = draft_record(call, hold_microcredits)
    if not call.forwarded_at or call.operation.billing == FREE or (call.status or 0) >= _FIRST_ERROR_STATUS:
        return record
    meter = call.meter
    reported = None if meter is None else meter.usage
    try:
        _price(record, call, reported or _estimated(call))
    except Unpriced:
        record.charge_microcredits = hold_microcredits
    return record


def basis_of(call: Call) -> str:
    """What the charge of a call rests on that has ended with `call.outcome`; where that is a count, `counted` makes it."""
    outcome, meter = call.outcome or records.UPSTREAM_FAILED, call.meter
    reported = None if meter is None else _reported(meter)
    if (
        outcome == records.COMPLETED
        and reported is not None
        and meter is not None
        and meter.flag is None
        and call.operation.billing != FREE
    ):
        return records.REPORTED  # nearly every call; what `settlement_basis` says to these facts
    return settlement_basis(_facts(call, outcome, reported))


def final_record(
    record: CallRecord, call: Call, hold_microcredits: int, basis: str, count: Usage | None = None
) -> CallRecord:
    """The record of a call that has ended with `call.outcome`, its charge included: `record` is its draft, filled in.

    `basis` is that of `basis_of`, `count` what was counted where it says so; or both are what `counted` made of them.
    """
    meter = call.meter
    record.status, record.attempts, record.hold_microcredits = call.status, call.attempts, hold_microcredits
    if call.ask.others:
        call.tariff = settled_tariff(call)
    # The provider that answered, which another may have been tried before.
    record.provider, record.price_version = call.route.endpoint.provider, call.tariff.price.version
    record.outcome = call.outcome or records.UPSTREAM_FAILED
    record.settlement_basis = basis
    try:
        if count is not None:
            if count.total_tokens:
                _price(record, call, count)
            else:  # sounds, images: nothing in them can be counted, and they are not free for that
                basis = records.HOLD
        elif basis in _WITH_FIGURES and meter is not None and (reported := _reported(meter)) is not None:
            price_usage(record, call.tariff, reported, call.ask.service_tier, meter.service_tier)
    except Unpriced as error:  # never at nothing: the hold is what the call may cost
        basis = records.HOLD
        if meter is not None:
            meter.flag = f"used, and not priced: {', '.join(error.names)}"
    if record.charge_microcredits > MAX_AMOUNT:  # no account can pay that: the figures are not believed
        basis, record.charge_microcredits = records.HOLD, 0
    if basis == records.HOLD:
        # Figures beside a flag do not say all that is billed, but no less than they say.
        charge = max(hold_microcredits, record.charge_microcredits)
        record.settlement_basis, record.charge_microcredits = basis, charge
    record.duration_ms = round((monotonic() - call.started) * 1000)
    if call.first_byte_at is not None:
        record.time_to_first_byte_ms = round((call.first_byte_at - call.started) * 1000)
    return record


async def counted(call: Call, counter: TokenCounter) -> tuple[str, Usage]:
    """The prompt and the relayed output counted by tiktoken, off the event loop; one side may be reported.

    The basis comes with it: where there is no time to count, since the process ends, it is that of the last checkpoint.
    """
    meter, model = call.meter, call.route.own_model or call.ask.model
    partial = meter.partial if meter else None
    input_tokens = output_tokens = 0
    try:
        if partial is None or not partial.input_tokens:
            input_tokens = await count_input(counter, call.operation, call.body, model)
        if meter is not None and (meter.output_bytes or meter.output_calls):
            output_tokens = await count_output(counter, meter, model)
    except Unavailable:
        return records.CHECKPOINT, _estimated(call)
    return records.COUNTED, counted_usage(partial, input_tokens, output_tokens)


def _estimated(call: Call) -> Usage:
    """What the call has used so far, from lengths."""
    meter = call.meter
    output, partial = (0, None) if meter is None else (meter.output_so_far, meter.partial)
    return counted_usage(partial, len(call.body) // BYTES_PER_TOKEN, output)


def price_usage(
    record: CallRecord | UsageRecord, tariff: Tariff, usage: Usage, asked_tier: str | None, served_tier: str | None
) -> None:
    """Fills in a usage and what it costs in its service tier. Raises Unpriced, and leaves the charge as it is."""
    record.usage = usage.counters
    record.input_tokens, record.output_tokens = usage.sides()
    tier = None
    if tariff.price.service_tiers or served_tier is not None:
        tier = tariff.billed_tier(asked_tier, served_tier)
    record.cost_nano_usd, record.charge_microcredits = tariff.bill(usage, tier)


def _price(record: CallRecord, call: Call, usage: Usage) -> None:
    meter = call.meter
    price_usage(record, call.tariff, usage, call.ask.service_tier, None if meter is None else meter.service_tier)


def _facts(call: Call, outcome: str, reported: Usage | None) -> Facts:
    meter, parting = call.meter, call.route.endpoint.parting
    return Facts(
        sent=call.sent,
        status=call.status,
        outcome=outcome,
        reported=reported,
        flagged=bool(meter and meter.flag),
        error_event=bool(meter and meter.error),
        free=call.operation.billing == FREE,
        waived=outcome == records.CLIENT_LEFT and policy_of(call) == FREE_WHEN_LEFT,
        counts_late=parting.counts_late,
    )


def _reported(meter: Meter) -> Usage | None:
    """The provider's usage; of a stream that ended in its error event, what it had reported until then."""
    return meter.usage or (meter.partial if meter.error else None)
