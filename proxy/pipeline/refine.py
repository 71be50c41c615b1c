"""A second look at a call that the credits do not cover by its bytes: its tokens are counted, and if that fits, it goes on.

The first bound takes a token for every byte, four times what prose has. Here tiktoken decides, off the event loop, with the
margins of `providers.estimates`; where its count is no bound (sounds, documents, context that the provider keeps) the call
stays refused. Mode `strict` never comes here: another provider's tokenizer is only estimated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.core.outcomes import BALANCE, BUDGET, IN_FLIGHT
from proxy.pipeline.admit import hold_bound_microcredits
from proxy.providers.estimates import refined_input_bound

if TYPE_CHECKING:
    from proxy.core.outcomes import Refused
    from proxy.pipeline.call import Call
    from proxy.providers.dialect import Ask
    from proxy.providers.estimates import Counter

_MONEY = (BALANCE, BUDGET, IN_FLIGHT)


async def refine(call: Call, refused: Refused, counter: Counter) -> bool:
    """Put a counted bound into `call.ask` where the call fits what is available with it; say whether it does."""
    ask = call.ask
    if refused.source not in _MONEY or ask.input_bound is not None:
        return False
    # An account that could not pay for an empty prompt has nothing counted for it.
    if _cost(call, 0) > refused.available:
        return False
    bounds = [await refined_input_bound(counter, call.body, model) for model in _models(call)]
    known = [bound for bound in bounds if bound is not None]
    if not known or len(known) < len(bounds) or _cost(call, max(known)) > refused.available:
        return False
    call.ask = _bounded(call, max(known))
    return True


def _models(call: Call) -> set[str]:
    """What the providers that may serve the call name its model, and the models that may answer in its place."""
    own = {route.own_model or call.ask.model for route in call.candidates.routes}
    return own.union(call.ask.others)


def _cost(call: Call, bound: int) -> int:
    return hold_bound_microcredits(_bounded(call, bound), len(call.body), call.tariff)


def _bounded(call: Call, bound: int) -> Ask:
    """Images are inside the bound, so none has an allowance of its own any more."""
    return msgspec.structs.replace(call.ask, input_bound=bound, media_parts=0)
