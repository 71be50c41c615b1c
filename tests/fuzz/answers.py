"""Every dialect's meters, plain and streaming, compressed too: whatever a provider answers, at whatever cuts."""

import gzip
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial

import brotli

from proxy.providers import bedrock_meters, meters
from proxy.providers.bedrock_meters import EVENT_STREAM
from proxy.providers.decoding import Unpacking
from proxy.providers.dialect import JSON, SSE, Ask, Operation
from proxy.providers.errors import scrub_error, stream_error
from proxy.providers.event_stream import write_frame
from proxy.providers.registry import OPERATIONS
from tests.fuzz.control import Control, Cuts
from tests.fuzz.documents import ANSWERS
from tests.fuzz.expect import everything, sound, whole_events_only
from tests.fuzz.hostile import Template
from tests.fuzz.splitters import mended

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DIALECTS = ("openai", "anthropic", "gemini", "bedrock", "cohere")
# Whose meters are another dialect's, asked in other words.
_ALSO = {"openai": "azure", "gemini": "vertex"}
TYPES = (JSON, SSE, EVENT_STREAM, b"", b"text/plain", b"audio/mpeg", b"application/json; charset=utf-8")
_UNITS = {"input_characters": 3, "input_seconds": 2, "requests": 1, "output_images": 1}
ASKS = (
    Ask(model="m"),
    Ask(model="m", stream=True, usage_asked=True),
    Ask(model="m", stream=True),
    Ask(model="m", stream=True, choices=2, others=("n",)),
    Ask(model="m", units=_UNITS, choices=2, service_tier="flex"),
    Ask(model="m", stream=True, usage_asked=True, units=_UNITS, output_limit=7),
    Ask(model="gpt-image-1", units={"output_images": 2}, media_parts=1),
    Ask(model="anthropic.claude-3-haiku-20240307-v1:0", stream=True),
)
_HEADS = (
    [],
    [(b"X-Amzn-Bedrock-Input-Token-Count", b"12"), (b"x-amzn-bedrock-output-token-count", b"-1")],
    [(b"x-amzn-bedrock-input-token-count", b"9" * 400), (b"x-amzn-bedrock-output-token-count", b"3")],
)
_KINDS = 3  # bytes as they are, or, more often, a template


@cache
def operations(dialect: str) -> tuple[Operation, ...]:
    """The operations of a dialect and of those that share its meters."""
    return tuple(one for one in OPERATIONS if one.dialect in {dialect, _ALSO.get(dialect)})


@cache
def _templates(dialect: str) -> tuple[Template, ...]:
    return tuple(Template(text) for text in ANSWERS[dialect])


def _answer(dialect: str, data: bytes) -> None:
    control = Control(data)
    operation = control.pick(operations(dialect))
    ask = control.pick(ASKS)
    content_type = control.pick(TYPES)
    head = control.pick(_HEADS)
    kind, leave = control.byte(), control.byte()
    kind, small = kind % _KINDS, kind // _KINDS % 4 == 1
    cuts = Cuts(control)
    body = control.rest() if kind == 0 else control.pick(_templates(dialect)).changed(control)
    if content_type == EVENT_STREAM:
        body = mended(body) if kind == 0 else in_frames(body)
    with small_bounds() if small else nullcontext():
        whole = _play(operation, ask, content_type, head, [body])
        parts = _play(operation, ask, content_type, head, cuts.of(body))
    if small:  # in pieces, less can be held back, and what went on can no longer be taken out
        assert parts[1] == whole[1], (parts, whole)
        whole_events_only(body, parts[0])
    else:
        assert parts == whole, (parts, whole)
    if whole[0] != body:
        assert (ask.stream, ask.usage_asked) == (True, False), "only what Farebox asked for itself is taken out"
        assert content_type == SSE
        whole_events_only(body, whole[0])
    if leave:
        _left(operation, ask, content_type, cuts.of(body)[: leave % 16])


@contextmanager
def small_bounds() -> Iterator[None]:
    """What is held of an answer is bounded so tightly that short inputs reach the bounds."""
    usual = (meters.MAX_PLAIN_BYTES, meters.MAX_HELD_BYTES, bedrock_meters.MAX_HELD_BYTES)
    meters.MAX_PLAIN_BYTES, meters.MAX_HELD_BYTES, bedrock_meters.MAX_HELD_BYTES = 300, 40, 40
    try:
        yield
    finally:
        meters.MAX_PLAIN_BYTES, meters.MAX_HELD_BYTES, bedrock_meters.MAX_HELD_BYTES = usual


def _play(
    operation: Operation, ask: Ask, content_type: bytes, head: list[tuple[bytes, bytes]], pieces: Sequence[bytes]
) -> tuple[object, ...]:
    meter = operation.meter(ask, content_type)
    meter.read_head(head)
    relayed = []
    for piece in pieces:
        out = meter.feed(piece)
        assert out is piece or len(out) != len(piece) or meter.streams, "what is passed on whole is not copied"
        relayed.append(out)
    relayed.append(meter.finish())
    if len(pieces) <= 1:  # what the answer in pieces says is compared with this
        sound(meter)
    return b"".join(relayed), everything(meter)


def _left(operation: Operation, ask: Ask, content_type: bytes, pieces: Sequence[bytes]) -> None:
    """Farebox ends the answer in its middle: what came before is the provider's, and what follows is ours alone."""
    meter = operation.meter(ask, content_type)
    relayed = b"".join([meter.feed(piece) for piece in pieces])
    words = meter.farewell(stream_error(operation.dialect, "insufficient_credits", "no more"))
    if content_type != SSE or ask.usage_asked or not ask.stream:
        assert b"".join(pieces).startswith(relayed)
    assert words is None or words
    sound(meter)


def in_frames(text: bytes) -> bytes:
    """Lines of `kind payload` as an event stream; a line without a payload is an exception."""
    framed = []
    for line in text.split(b"\n"):
        kind, space, payload = line.partition(b" ")
        name = kind.decode("latin-1")[:60]
        message = {":message-type": "event", ":event-type": name} if space else {":message-type": "exception"}
        framed.append(write_frame(message, payload))
    return b"".join(framed)


openai, anthropic, gemini, bedrock, cohere = (partial(_answer, dialect) for dialect in DIALECTS)

_CODINGS = (b"gzip", b"deflate", b"br", b"zstd", b"x-gzip", b"gzip, br", b" gzip ", b"nonsense")


def compressed(data: bytes) -> None:
    """A compressed answer: relayed as it came; metered like the plain one where it can be unpacked, flagged where not."""
    control = Control(data)
    coding = control.pick(_CODINGS)
    kind, tear, damage = control.byte() % 4, control.short(), control.byte()
    cuts = Cuts(control)
    raw = control.rest()
    # Kinds: bytes as they are; compressed here; the same torn; the same with one byte wrong.
    body = raw if kind == 0 else _compressed(raw, coding)
    if kind == 2:
        body = body[: tear % (len(body) + 1)]
    elif kind == 3 and body:
        at = tear % len(body)
        body = body[:at] + bytes([body[at] ^ (damage or 1)]) + body[at + 1 :]
    operation = operations("openai")[0]
    unpacking_meter = operation.meter(ASKS[1], SSE)
    passage = Unpacking(unpacking_meter, coding)
    for piece in cuts.of(body):
        assert passage.feed(piece) is piece
    assert passage.finish() == b""
    assert passage.farewell(b"data: x\n\n") is None
    sound(unpacking_meter)
    if kind == 1 and coding.strip() in _PACKERS:
        plain_meter = operation.meter(ASKS[1], SSE)
        plain_meter.feed(raw)
        plain_meter.finish()
        assert everything(unpacking_meter) == everything(plain_meter)
    elif coding.strip() not in _PACKERS:
        assert unpacking_meter.flag is not None
    assert isinstance(scrub_error(body, ("sk-secret",)), bytes)


def _compressed(raw: bytes, coding: bytes) -> bytes:
    pack = _PACKERS.get(coding.strip())
    return raw if pack is None else pack(raw)


def _brotli(raw: bytes) -> bytes:
    return bytes(brotli.compress(raw, quality=1))


_PACKERS = {
    b"gzip": gzip.compress,
    b"x-gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": _brotli,
    b"zstd": zstd.compress,
}
