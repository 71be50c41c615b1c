"""Mode `strict`: no call can cost more than it holds, so that no balance goes below zero.

A request without a token limit gets the one that it is held for; one that the balance (or a budget) does not cover in full
gets the largest limit that it does cover. What is sent is what is held; `x-farebox-token-limit` tells the client. A limit
counts where the provider obeys it: one under another name is sent under one that it obeys, and a call to a provider that
obeys none is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.core.outcomes import BALANCE, BUDGET
from proxy.pipeline.admit import hold_bound_microcredits, output_bound
from proxy.pipeline.obeyed import obeys_none, surely_obeyed
from proxy.providers.clamping import Clamps

if TYPE_CHECKING:
    from proxy.core.outcomes import Refused
    from proxy.pipeline.call import Call

# Less than this is no answer, and below what OpenAI's Responses API takes as `max_output_tokens`.
LEAST_TOKENS = 16


def limit_output(call: Call) -> int | None:
    """Gives a request without a token limit its price's assumed one; the limit, or None where it has one.

    Its own is sent under a name that the provider obeys. Raises InvalidRequest where there is no limit to set.
    """
    limit = call.ask.output_limit
    if limit is None:
        return _set_limit(call, call.tariff.price.assumed_output_tokens)
    if not surely_obeyed(call):
        _set_limit(call, limit)
    return None


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
    if any(obeys_none(call.operation, route) for route in call.candidates.routes):
        msg = "A provider of this model bounds no answer by a token limit, so this call could cost more than any limit allows."
        raise InvalidRequest(msg, code="token_limit_not_obeyed", param="model")
    asked = call.body if call.limited is None else call.limited[0]
    send_limit(call, asked, limit)
    call.limited = asked, limit
    call.ask = msgspec.structs.replace(call.ask, output_limit=limit)
    return limit


def send_limit(call: Call, asked: bytes, limit: int) -> None:
    """Puts a limit into the body that was asked for, under a name that the provider of the call's route obeys."""
    operation = call.operation
    if not isinstance(operation, Clamps):
        raise InvalidRequest("This request needs a limit for the tokens of its answer.", code="token_limit_required")
    call.body = operation.clamp(asked, limit, call.route.endpoint.token_limits)
