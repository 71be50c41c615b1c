"""Relaying: the provider's bytes to the client, in order and undelayed, past the meter.

Answers that are not streams are held until they are whole, so that their head can say what they cost. An upstream that
breaks off looks broken off to the client: a clean end is only ever the provider's.
"""

from __future__ import annotations

import contextlib
import logging
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from proxy.core.errors import FareboxError
from proxy.core.money import format_credits
from proxy.pipeline.admit import rate_limit_lines
from proxy.pipeline.ended import CreditsExhausted
from proxy.pipeline.exchange import ClientLeft
from proxy.pipeline.parting import DRAIN, policy_of
from proxy.providers.decoding import Unpacking, unpacked
from proxy.providers.dialect import JSON, SSE
from proxy.providers.errors import scrub_error, stream_error
from proxy.providers.quirks import as_metered
from proxy.providers.registry import drop_response_header

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.pipeline.call import Call
    from proxy.pipeline.exchange import RawHeaders
    from proxy.pipeline.hold import Hold
    from proxy.pipeline.upstream.exchange import Exchange as UpstreamExchange

log = logging.getLogger("farebox.relay")

# A plain answer above this is relayed as it comes, without the charge in its head.
_WHOLE_ANSWER_BYTES = 16 * 1024 * 1024
_MAX_ERROR_BYTES = 1024 * 1024  # unpacked
_FIRST_ERROR_STATUS = 400
_MAX_PLACES = 1024  # names of headers are kept; each is bounded as heads are
_BOM = b"\xef\xbb\xbf"
_SSE_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")


class Passage(Protocol):
    """What an answer passes on its way to the client: its meter, or one that reads a compressed answer for it."""

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes; return what to relay."""

    def finish(self) -> bytes:
        """The answer ended: return what was held back."""

    def farewell(self, event: bytes) -> bytes | None:
        """Farebox ends the answer here; see `dialect.Meter`."""


async def relay(call: Call, answer: UpstreamExchange, hold: Hold) -> None:
    """Passes the answer on and meters it; settles before the client sees its end."""
    call.status = answer.status
    call.first_byte_at = monotonic()
    headers, content_type, coding = _read_head(answer)
    first = b""
    passage: Passage | None = None
    if answer.status < _FIRST_ERROR_STATUS:
        if not content_type and not coding:
            first = await answer.read()
            content_type = _guessed(first)
        meter = call.meter = call.operation.meter(as_metered(call.ask, call.route.endpoint.provider), content_type)
        meter.read_head(headers)
        passage = meter if not coding or coding == b"identity" else Unpacking(meter, coding)
        if first:
            first = passage.feed(first)
        if meter.streams:
            await _relay_stream(call, answer, hold, passage, (headers, first))
            return
    rest = answer.whole()  # most plain answers came in one read, head and all
    if rest is None:
        whole, rest_follows = await _collect(answer, passage, first)
        if rest_follows:
            await _relay_stream(call, answer, hold, passage, (headers, whole))
            return
    else:
        whole = rest if passage is None else passage.feed(rest)
        if first:
            whole = first + whole
    if passage is None:
        headers, whole = _scrubbed(headers, whole, call.route.endpoint.secrets)
    elif tail := passage.finish():
        whole += tail
    await hold.settle()
    call.exchange.answer(answer.status, headers, whole, _own_lines(call, hold) + _charge_lines(hold))


async def _collect(answer: UpstreamExchange, passage: Passage | None, first: bytes) -> tuple[bytes, bool]:
    """The body, or its beginning and True where it is too large to be held."""
    pieces = [first] if first else []
    size = len(first)
    while piece := await answer.read():
        pieces.append(piece if passage is None else passage.feed(piece))
        size += len(piece)
        if size > _WHOLE_ANSWER_BYTES:
            return b"".join(pieces), True
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), False


async def _relay_stream(
    call: Call, answer: UpstreamExchange, hold: Hold, passage: Passage | None, begun: tuple[RawHeaders, bytes]
) -> None:
    exchange = call.exchange
    headers, first = begun
    try:
        exchange.begin(answer.status, headers, _own_lines(call, hold))
        if first:
            await exchange.send(first)
        await _pass_on(call, answer, hold, passage)
        if passage is not None:
            tail, passage = passage.finish(), None
            await exchange.send(tail)
    except CreditsExhausted:
        await _cut(call, passage)
        raise
    except ClientLeft:
        await _read_on(call, answer, hold, passage)
        raise
    except Exception:
        # Ours or the provider's: what was held back of a torn event goes out, then the connection ends without a clean end.
        if passage is not None:
            with contextlib.suppress(ClientLeft):  # the provider failed first, and that is how the call ended
                await exchange.send(passage.finish())
        exchange.cut()
        raise
    await hold.settle()
    exchange.end()


async def _pass_on(call: Call, answer: UpstreamExchange, hold: Hold, passage: Passage | None) -> None:
    """Every piece to the client, in the callback that brings it; this task wakes up for what has to be waited for."""
    exchange, meter = call.exchange, call.meter
    client = exchange.connection
    withheld = b""

    def each(piece: bytes) -> bool:
        nonlocal withheld
        if passage is not None:
            piece = passage.feed(piece)
            if meter is not None and meter.resource is not None and not hold.kept:
                withheld = piece
                return False
        exchange.write(piece)
        return client.paused_since is None and not hold.needs_more()

    while await answer.read_each(each):
        if meter is not None and meter.resource is not None:
            await hold.keep(meter.resource)
            withheld, piece = b"", withheld
            exchange.write(piece)
        await exchange.drained()
        if hold.needs_more():
            await hold.grow()


async def _cut(call: Call, passage: Passage | None) -> None:
    """Ends a stream whose credits ran out: a final error event in the caller's dialect, where one can be read."""
    message = "The account's credits do not last for the rest of this answer, so it was cut here."
    event = stream_error(call.dialect, "insufficient_credits", message)
    words = None if passage is None else passage.farewell(event)
    if words is None:
        call.exchange.cut()
        return
    await call.exchange.send(words)
    call.exchange.end()


async def _read_on(call: Call, answer: UpstreamExchange, hold: Hold, passage: Passage | None) -> None:
    """The client has left: where the policy is to drain, reads to the provider's usage."""
    meter = call.meter
    if meter is None or passage is None or policy_of(call) != DRAIN:
        return
    call.exchange.part()  # noticed before the connection said so
    bound = meter.output_so_far + call.route.endpoint.parting.drain_tokens
    try:
        while piece := await answer.read():
            passage.feed(piece)
            if meter.output_so_far > bound:
                break
            if hold.needs_more():
                await hold.grow()
    except (ClientLeft, CreditsExhausted, FareboxError) as error:
        log.info("call %s: not drained to its end: %s", call.call_id, type(error).__name__)
    passage.finish()


def _own_lines(call: Call, hold: Hold) -> list[bytes]:
    """Our headers behind the provider's, written already."""
    lines = [b"x-farebox-call-id: " + call.call_id.encode()]
    if hold.token_limit is not None:
        lines.append(b"x-farebox-token-limit: %d" % hold.token_limit)
    if hold.standings:
        lines += rate_limit_lines(hold.standings, call.operation.dialect, call.at_ms)
    return lines


def _charge_lines(hold: Hold) -> list[bytes]:
    lines = []
    if hold.charge is not None:
        lines.append(b"x-farebox-charge: " + format_credits(hold.charge).encode())
    if hold.balance is not None:
        lines.append(b"x-farebox-balance: " + format_credits(hold.balance).encode())
    return lines


def _scrubbed(headers: RawHeaders, body: bytes, secrets: Iterable[str]) -> tuple[RawHeaders, bytes]:
    """A provider's error without what identifies our account with it; unpacked for that where it came compressed."""
    coding = next((value.lower() for name, value in headers if _PLACES[name] == b"content-encoding"), b"")
    if coding and (plain := unpacked(body, coding, _MAX_ERROR_BYTES)) is not None:
        headers = [pair for pair in headers if _PLACES[pair[0]] != b"content-encoding"]
        body = plain
    return headers, scrub_error(body, secrets)


def _read_head(answer: UpstreamExchange) -> tuple[RawHeaders, bytes, bytes]:
    """The headers without those of the provider's account, its limits and its framing; type and coding in lower case."""
    headers: RawHeaders = []
    content_type = coding = b""
    for pair in answer.headers:
        place = _PLACES[pair[0]]
        if place is None:
            continue
        headers.append(pair)
        if place:
            if place == b"content-type":
                content_type = pair[1].lower()
            else:
                coding = coding + b"," + pair[1].lower() if coding else pair[1].lower()
    return headers, content_type, coding


class _Places(dict[bytes, bytes | None]):
    """What a header is to us: its name where it is read here, empty where it is passed on, None where it is dropped.

    By the name as a provider spells it; a look-up for those that were met before.
    """

    def __missing__(self, name: bytes) -> bytes | None:
        lower = name.lower()
        place: bytes | None = lower if lower in {b"content-type", b"content-encoding"} else b""
        if drop_response_header(lower):
            place = None
        if len(self) < _MAX_PLACES:
            self[name] = place
        return place


_PLACES = _Places()


def _guessed(first: bytes) -> bytes:
    """The type of an answer that names none, by how it begins."""
    start = first.removeprefix(_BOM).lstrip()
    if start.startswith((b"{", b"[")):
        return JSON
    return SSE if start.startswith(_SSE_STARTS) else b""
