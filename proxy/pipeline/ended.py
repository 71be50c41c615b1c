"""How a call ended: its outcome in one word, and what the metrics learn of it. Amounts are microcredits."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from proxy.core import records
from proxy.core.errors import FareboxError, UpstreamTimeout
from proxy.pipeline.exchange import ClientLeft

if TYPE_CHECKING:
    from proxy.metrics import Metrics
    from proxy.pipeline.call import Call
    from proxy.records.row import CallRecord

log = logging.getLogger("farebox.hold")

_FIRST_ERROR_STATUS = 400


class CreditsExhausted(Exception):
    """The hold could not grow with the stream, and the policy is to cut."""


def outcome_of(call: Call, error: BaseException | None) -> str:
    """One of `records`' outcomes, from what ended the call (None: it ran to its end)."""
    if call.left_early:
        return records.CLIENT_LEFT  # whatever became of the provider's answer after that
    if error is None:
        failed = (call.status or 0) >= _FIRST_ERROR_STATUS or (call.meter is not None and call.meter.error)
        return records.UPSTREAM_FAILED if failed else records.COMPLETED
    if isinstance(error, ClientLeft):
        meter = call.meter
        if meter is None or not (meter.complete or meter.error):
            return records.CLIENT_LEFT
        return records.UPSTREAM_FAILED if meter.error else records.COMPLETED
    if isinstance(error, UpstreamTimeout):
        return records.TIMED_OUT
    if isinstance(error, CreditsExhausted):
        return records.CUT
    return records.UPSTREAM_FAILED


def forget_trace(error: BaseException) -> None:
    """Drops the frames of an error that is none of ours, and whose trace nobody prints.

    They hold all that the call was made of, some sixty objects, until the last settlement of thousands that end together; and
    the objects hold the error, a cycle for the collector.
    """
    if isinstance(error, (ClientLeft, CreditsExhausted, FareboxError)):
        error.__traceback__ = error.__context__ = None


def count_call(metrics: Metrics, call: Call, record: CallRecord, hold: int, error: BaseException | None) -> None:
    """Counts a call that was settled or released. `hold` is what it had held, `error` what ended it."""
    ended = metrics.ended(
        record.provider, call.route.metric_model, record.outcome, record.status or 0, record.settlement_basis
    )
    known = ended.tokens
    for kind, tokens in record.usage.items():
        if tokens:
            known[kind] += tokens
    charge = record.charge_microcredits
    ended.charge_microcredits += charge
    if charge > hold:
        ended.overrun_microcredits += charge - hold
    if error is not None and isinstance(error, FareboxError):
        # Which time limit it was, and which failure: the outcome alone does not say.
        log.info("call %s: %s: %s", call.call_id, record.provider, error.code)
        metrics.upstream_failures.add((record.provider, error.code))
    meter = call.meter
    if meter is not None and meter.flag:
        log.warning("call %s: usage from %s was not believed: %s", call.call_id, record.provider, meter.flag)
        metrics.flagged.add((record.provider,))
