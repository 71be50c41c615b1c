"""Relaying: the provider's bytes to the client, in order and undelayed, past the meter.

Answers that are not streams are held until they are whole, so that their head can say what they cost. An upstream that
breaks off looks broken off to the client: a clean end is only ever the provider's.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from proxy.core.money import format_credits
from proxy.pipeline.admit import rate_limit_headers
from proxy.pipeline.exchange import ClientLeft
from proxy.pipeline.hold import CreditsExhausted
from proxy.providers.errors import scrub_error, stream_error
from proxy.providers.registry import drop_response_header

if TYPE_CHECKING:
    from proxy.pipeline.call import Call
    from proxy.pipeline.exchange import RawHeaders
    from proxy.pipeline.hold import Hold
    from proxy.pipeline.upstream.exchange import Exchange as UpstreamExchange

# A plain answer above this is relayed as it comes, without the charge in its head.
_WHOLE_ANSWER_BYTES = 16 * 1024 * 1024
_FIRST_ERROR_STATUS = 400


async def relay(call: Call, answer: UpstreamExchange, hold: Hold) -> None:
    """Passes the answer on and meters it; settles before the client sees its end."""
    call.status = answer.status
    call.first_byte_at = monotonic()
    if answer.status < _FIRST_ERROR_STATUS:
        call.meter = call.operation.meter(call.ask, _content_type(answer))
    if call.meter is not None and call.meter.streams:
        await _relay_stream(call, answer, hold, b"")
        return
    whole, rest_follows = await _collect(answer)
    if rest_follows:
        await _relay_stream(call, answer, hold, whole)
    else:
        await _relay_whole(call, answer, hold, whole)


async def _collect(answer: UpstreamExchange) -> tuple[bytes, bool]:
    """The body, or its beginning and True where it is too large to be held."""
    pieces: list[bytes] = []
    size = 0
    while piece := await answer.read():
        pieces.append(piece)
        size += len(piece)
        if size > _WHOLE_ANSWER_BYTES:
            return b"".join(pieces), True
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), False


async def _relay_whole(call: Call, answer: UpstreamExchange, hold: Hold, body: bytes) -> None:
    if call.meter is not None:
        body = call.meter.feed(body) + call.meter.finish()
    elif answer.status >= _FIRST_ERROR_STATUS:
        body = scrub_error(body, call.route.endpoint.api_key)
    await hold.settle()
    headers = answer_headers(call, answer, hold)
    if hold.charge is not None:
        headers.append((b"x-farebox-charge", format_credits(hold.charge).encode()))
    if hold.balance is not None:
        headers.append((b"x-farebox-balance", format_credits(hold.balance).encode()))
    call.exchange.answer(answer.status, headers, body)


async def _relay_stream(call: Call, answer: UpstreamExchange, hold: Hold, first: bytes) -> None:
    exchange, meter = call.exchange, call.meter
    exchange.begin(answer.status, answer_headers(call, answer, hold))
    try:
        piece = first or await answer.read()
        while piece:
            await exchange.send(piece if meter is None else meter.feed(piece))
            if hold.needs_more():
                await hold.grow()
            piece = await answer.read()
        if meter is not None:
            await exchange.send(meter.finish())
    except CreditsExhausted:
        await _cut(call)
        raise
    except ClientLeft:
        raise
    except Exception:
        # Ours or the provider's: what was held back of a torn event goes out, then the connection ends without a clean end.
        if meter is not None and not exchange.left:
            await exchange.send(meter.finish())
        exchange.cut()
        raise
    await hold.settle()
    exchange.end()


async def _cut(call: Call) -> None:
    """Ends a stream whose credits ran out: a final error event in the caller's dialect."""
    exchange, meter = call.exchange, call.meter
    assert meter is not None
    message = "The account's credits do not last for the rest of this answer, so it was cut here."
    await exchange.send(meter.cut() + stream_error(call.dialect, "insufficient_credits", message))
    exchange.end()


def answer_headers(call: Call, answer: UpstreamExchange, hold: Hold) -> RawHeaders:
    """The provider's headers without its account's, its limits and its framing, and ours."""
    headers = [pair for pair in answer.headers if not drop_response_header(pair[0])]
    headers.append((b"x-farebox-call-id", call.call_id.encode()))
    headers += rate_limit_headers(hold.standings, call.dialect, call.at_ms)
    return headers


def _content_type(answer: UpstreamExchange) -> bytes:
    for name, value in answer.headers:
        if name.lower() == b"content-type":
            return value.lower()
    return b""
