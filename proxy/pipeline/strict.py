"""Mode `strict`: no call can cost more than it holds, so that no balance goes below zero.

A request without a token limit gets the one that it is held for; one that the balance (or a budget) does not cover in full
gets the largest limit that it does cover. What is sent is what is held; `x-farebox-token-limit` tells the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.core.outcomes import BALANCE, BUDGET
from proxy.pipeline.admit import hold_bound_microcredits, output_bound
from proxy.providers.clamping import Clamps

if TYPE_CHECKING:
    from proxy.core.outcomes import Refused
    from proxy.pipeline.call import Call

# Less than this is no answer, and below what OpenAI's Responses API takes as `max_output_tokens`.
LEAST_TOKENS = 16


def limit_output(call: Call) -> int | None:
    """Gives a request without a token limit its price's assumed one; the limit, or None where it has one.

    Raises InvalidRequest where the operation has no such limit to set.
    """
    if call.ask.output_limit is not None:
        return None
    return _set_limit(call, call.tariff.price.assumed_output_tokens)


def afford(call: Call, refused: Refused) -> int | None:
    """Lowers the token limit to what is available; the new limit, or None where even a short answer cannot be afforded.

    Credits that other calls hold are not divided: there waiting helps, and the refusal says so.
    """
    if refused.source not in {BALANCE, BUDGET} or not isinstance(call.operation, Clamps):
        return None
    low, high = LEAST_TOKENS, output_bound(call.ask, call.tariff) // call.ask.choices
    if high <= low or _cost(call, low) > refused.available:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _cost(call, middle) <= refused.available:
            low = middle
        else:
            high = middle
    return _set_limit(call, low)


def _cost(call: Call, limit: int) -> int:
    ask = msgspec.structs.replace(call.ask, output_limit=limit)
    return hold_bound_microcredits(ask, len(call.body), call.tariff)


def _set_limit(call: Call, limit: int) -> int:
    operation = call.operation
    if not isinstance(operation, Clamps):
        raise InvalidRequest("This request needs a limit for the tokens of its answer.", code="token_limit_required")
    call.body = operation.clamp(call.body, limit, call.route.endpoint.provider)
    call.ask = msgspec.structs.replace(call.ask, output_limit=limit)
    return limit
