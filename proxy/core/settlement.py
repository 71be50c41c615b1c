"""What the charge of a call rests on, decided in one place from plain facts.

The rules are the fault table's: nothing is charged for what the provider did not do, its own figures come first, a count
comes second, and figures that cannot be believed cost the whole hold. Nothing here is silently free.
"""

from dataclasses import dataclass

from proxy.core import records
from proxy.core.usage import Usage

_FIRST_ERROR_STATUS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """How a call ended. `status` is the provider's (None: no head came), `reported` its usage where it can be believed.

    `free`: the provider bills nothing for calls of this kind. `waived`: the policy is to charge nothing for a call that
    its client left. `counts_late`: the policy is to charge the prompt of a call that the provider did not begin to answer.
    """

    sent: bool
    status: int | None
    outcome: str
    reported: Usage | None = None
    flagged: bool = False
    error_event: bool = False
    free: bool = False
    waived: bool = False
    counts_late: bool = False


def settlement_basis(facts: Facts) -> str:
    """One of `records.NONE`, `REPORTED`, `COUNTED`, `HOLD`."""
    if not facts.sent or facts.free:
        return records.NONE
    left = facts.outcome == records.CLIENT_LEFT
    if left and facts.waived:
        return records.NONE
    if facts.status is None:
        # Asked, but no head came. A client that left is counted (its prompt was processed); a broken provider is not, and a
        # late one by policy.
        late = facts.outcome == records.TIMED_OUT and facts.counts_late
        return records.COUNTED if left or late else records.NONE
    if facts.status >= _FIRST_ERROR_STATUS:
        return records.NONE
    if facts.flagged:
        return records.HOLD
    if facts.reported is not None:
        return records.REPORTED
    # An error inside the stream: what was reported before it is charged, and nothing where nothing was.
    return records.NONE if facts.error_event else records.COUNTED


def counted_usage(partial: Usage | None, input_tokens: int, output_tokens: int) -> Usage:
    """A count, with what the provider did report: its input where it told one, and its output, which is never lowered.

    Only text is counted: sounds and images that it reported stand beside that.
    """
    if partial is None:
        return Usage({"input": input_tokens, "output": output_tokens})
    counters = dict(partial.counters)
    if not partial.input_tokens:
        counters["input"] = input_tokens
    counters["output"] = max(counters.get("output", 0) + counters.pop("reasoning", 0), output_tokens)
    return Usage(counters)
