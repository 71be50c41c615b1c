"""Answers fed to meters: whole, as events, in pieces; and figures that no provider could mean."""

import json
from itertools import pairwise
from typing import Any

from proxy.providers.dialect import JSON, SSE, Ask, Meter, Operation

HOSTILE = [
    *("-1", str(2**53), str(2**64), "1000000001", "1.5", "2.0", "1e3", '"5"', "true", "[5]", "{}"),
    *("9" * 5000, "1e999", "NaN", "-Infinity"),
]
"""JSON texts, and what some servers write instead of JSON, that are no whole number from 0 to what is believed."""


def event(kind: str | None = None, **members: Any) -> bytes:
    """One server-sent event, as OpenAI writes them."""
    body = {"type": kind, **members} if kind else members
    name = f"event: {kind}\n" if kind else ""
    return f"{name}data: {json.dumps(body)}\n\n".encode()


ODDMENTS = [event("error", error={}), b"data: [DONE]\n\n", b"\r", b": x\n\n", b"data: {"]
"""What may stand between the events of a stream, whole or torn."""


def play(meter: Meter, *pieces: bytes) -> bytes:
    """Feed an answer; what was relayed."""
    return b"".join([*[meter.feed(piece) for piece in pieces], meter.finish()])


def plain(operation: Operation, document: Any, ask: Ask | None = None, content_type: bytes = JSON) -> Meter:
    """A meter that has read a document, and gave it back as it came."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    meter = operation.meter(ask or Ask(model="m"), content_type)
    assert play(meter, body) == body
    return meter


def streamed(operation: Operation, *events: bytes, ask: Ask | None = None, by: int | None = None) -> Meter:
    """A meter that has read a stream, whole or in pieces of so many bytes, and gave it back as it came."""
    whole = b"".join(events)
    meter = operation.meter(ask or Ask(model="m", stream=True, usage_asked=True), SSE)
    pieces = [whole] if by is None else [whole[at : at + by] for at in range(0, len(whole), by)]
    assert play(meter, *pieces) == whole
    return meter


def cuts_change_nothing(operation: Operation, whole: bytes, at: list[int]) -> None:
    """A stream that is cut at these places is relayed as it came and read as it is in one piece."""
    places = [0, *sorted({place for place in at if place < len(whole)}), len(whole)]
    cut = operation.meter(Ask(model="m", stream=True), SSE)
    assert play(cut, *[whole[start:end] for start, end in pairwise(places)]) == whole
    assert state(cut) == state(streamed(operation, whole))


def state(meter: Meter) -> tuple[Any, ...]:
    """Everything that a meter says."""
    usage = None if meter.usage is None else dict(meter.usage.counters)
    partial = None if meter.partial is None else dict(meter.partial.counters)
    return (
        *(usage, partial, meter.flag, meter.error, meter.complete, meter.unread_events, meter.service_tier),
        *(meter.resource, meter.pending, meter.output_events, meter.output_bytes, meter.output_text),
    )
