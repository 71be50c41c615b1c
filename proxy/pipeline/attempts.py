"""One call, tried on its candidates in turn: a second one only where the first has certainly not begun the work.

That is so before a byte was sent, and after an answer that says so: 429 (too many requests), 503 and 529 (overloaded),
401 and 402 (our key or our account with the provider). Any other answer, and every failure after a byte, is the call's own.
https://platform.openai.com/docs/guides/error-codes https://docs.anthropic.com/en/api/errors
https://ai.google.dev/gemini-api/docs/troubleshooting
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from proxy.core.errors import FareboxError, UpstreamFailed, UpstreamTimeout
from proxy.pipeline.exchange import ClientLeft
from proxy.pipeline.forward import open_signed, open_upstream
from proxy.pipeline.parting import client_left
from proxy.pipeline.strict import send_limit
from proxy.pipeline.upstream.errors import PoolExhausted

if TYPE_CHECKING:
    from proxy.pipeline.call import Call
    from proxy.pipeline.condition import Condition
    from proxy.pipeline.route import Router
    from proxy.pipeline.upstream.exchange import Exchange as UpstreamExchange

NOT_PROCESSED = frozenset({401, 402, 429, 503, 529})
# What another candidate may do better; PoolExhausted: every connection to this one is in use.
_NEXT_AFTER = (UpstreamFailed, UpstreamTimeout, PoolExhausted)
_REFUSED_US = frozenset({401, 402, 429})
_FIRST_SERVER_ERROR = 500
_MAX_RETRY_AFTER_S = 86_400


async def first_answer(call: Call, router: Router, retries: int) -> UpstreamExchange:
    """The exchange whose answer is the call's, its head received; `call` names the route that it came from.

    Raises what the last attempt met, with that attempt closed.
    """
    routes = call.candidates.order(call.forwarded_at)[: retries + 1]
    for number, route in enumerate(routes, 1):
        if call.exchange.left:
            raise ClientLeft
        call.attempts = number
        if route is not call.route:
            call.route, call.tariff = route, router.tariff(route, call.caller.markup_ppm)
            if call.limited is not None:
                send_limit(call, *call.limited)
        last = number == len(routes)
        condition = route.endpoint.condition
        if condition.until:
            condition.begin(monotonic())
        upstream: UpstreamExchange | None = None
        try:
            signer = route.endpoint.signer
            upstream = open_upstream(call) if signer is None else await open_signed(call, signer)
            call.exchange.on_left = partial(client_left, call, upstream)
            await upstream.start()
        except FareboxError as error:
            call.sent = upstream is not None and upstream.sent
            _note(error, condition)
            if last or call.sent or not isinstance(error, _NEXT_AFTER):
                raise
        except BaseException:
            # The client left, or we are cancelled: settlement must know what was sent.
            call.sent = upstream is not None and upstream.sent
            condition.abandoned()
            raise
        else:
            call.sent = _begun(upstream, condition) or last
            if call.sent:
                return upstream
            upstream.close()  # who leaves before the next attempt owes nothing for this one
    raise AssertionError("a call has at least one route")


def _begun(upstream: UpstreamExchange, condition: Condition) -> bool:
    """Notes what the head of an answer says of the provider; False where it says that the work was not begun."""
    status = upstream.status
    if status >= _FIRST_SERVER_ERROR or status in _REFUSED_US:
        condition.failed(monotonic(), _retry_after_s(upstream))
        return status not in NOT_PROCESSED
    if condition.until:
        condition.answered()
    return True


def _note(error: FareboxError, condition: Condition) -> None:
    """What a failed attempt says of the provider: nothing where the caller's request or our own bounds are to blame."""
    if isinstance(error, UpstreamFailed | UpstreamTimeout):
        condition.failed(monotonic())
    else:
        condition.abandoned()


def _retry_after_s(upstream: UpstreamExchange) -> float:
    """What the answer's Retry-After asks for, in seconds; 0 where it says nothing, or a date."""
    for name, value in upstream.headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) < 10:
            return min(float(value), _MAX_RETRY_AFTER_S)
    return 0.0
