"""One call, tried on its candidates in turn: a second one only where the first has certainly not begun the work.

That is so before a byte was sent, and after an answer that says so: 429 (too many requests), 503 and 529 (overloaded),
401 and 402 (our key or our account with the provider). Any other answer, and every failure after a byte, is the call's own.
https://platform.openai.com/docs/guides/error-codes https://docs.anthropic.com/en/api/errors
https://ai.google.dev/gemini-api/docs/troubleshooting
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from proxy.core.errors import FareboxError, UpstreamFailed
from proxy.pipeline.exchange import ClientLeft
from proxy.pipeline.forward import open_upstream
from proxy.pipeline.parting import client_left
from proxy.pipeline.upstream.errors import PoolExhausted

if TYPE_CHECKING:
    from proxy.pipeline.call import Call
    from proxy.pipeline.route import Router
    from proxy.pipeline.upstream.exchange import Exchange as UpstreamExchange

NOT_PROCESSED = frozenset({401, 402, 429, 503, 529})
_REFUSED_US = frozenset({401, 402, 429})
_FIRST_SERVER_ERROR = 500
_MAX_RETRY_AFTER_S = 86_400


async def first_answer(call: Call, router: Router, retries: int) -> UpstreamExchange:
    """The exchange whose answer is the call's, its head received; `call` names the route that it came from.

    Raises what the last attempt met, with that attempt closed.
    """
    routes = call.candidates.order(monotonic())[: retries + 1]
    for number, route in enumerate(routes, 1):
        if call.exchange.left:
            raise ClientLeft
        call.attempts = number
        if route is not call.route or number > 1:
            call.route, call.tariff = route, router.tariff(route, call.caller.markup_ppm)
        last = number == len(routes)
        upstream = await _start(call, last=last)
        if upstream is not None:
            return upstream
    raise AssertionError("a call has at least one route")


async def _start(call: Call, *, last: bool) -> UpstreamExchange | None:
    """One attempt; None where another candidate may be tried."""
    condition = call.route.endpoint.condition
    try:
        upstream = await open_upstream(call)
    except UpstreamFailed:  # no credential to sign with
        condition.failed(monotonic())
        if last:
            raise
        return None
    call.exchange.on_left = lambda: client_left(call, upstream)
    condition.begin(monotonic())
    try:
        await upstream.start()
    except FareboxError as error:
        call.sent = upstream.sent
        if isinstance(error, PoolExhausted):
            condition.abandoned()  # every connection is ours: nothing is learnt of the provider
        else:
            condition.failed(monotonic())
        if last or upstream.sent:
            raise
        return None
    except BaseException:
        call.sent = upstream.sent
        condition.abandoned()
        raise
    call.sent = True
    status = upstream.status
    if status >= _FIRST_SERVER_ERROR or status in _REFUSED_US:
        condition.failed(monotonic(), _retry_after_s(upstream))
        if not last and status in NOT_PROCESSED:
            upstream.close()
            return None
    else:
        condition.answered()
    return upstream


def _retry_after_s(upstream: UpstreamExchange) -> float:
    """What the answer's Retry-After asks for, in seconds; 0 where it says nothing, or a date."""
    for name, value in upstream.headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) < 10:
            return min(float(value), _MAX_RETRY_AFTER_S)
    return 0.0
