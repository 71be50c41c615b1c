"""The three splitters: server-sent events, a JSON array, AWS's event stream."""

import json
import re
import zlib
from collections.abc import Sequence

from proxy.providers import meters
from proxy.providers.event_stream import PRELUDE, Frame, FrameSplitter, write_frame
from proxy.providers.json_array import ElementSplitter
from proxy.providers.meters import StreamMeter
from proxy.providers.sse import BOM, Splitter
from tests.fuzz.control import Control, Cuts
from tests.fuzz.expect import events_of, some_of

LIMITS = (64, 16, 1 << 20, 5)
_ANY_END = re.compile(rb"\r\n|\r|\n")
_TAKEN = b"take me"


class _Taking(StreamMeter):
    """Takes out the events whose data begins with a mark, and remembers the data of all."""

    __slots__ = ("data",)

    def __init__(self, *, takes_out: bool) -> None:
        super().__init__(takes_out=takes_out)
        self.data: list[bytes] = []

    def _event(self, data: bytes) -> bool:
        if data:
            self.data.append(data)
        return data.startswith(_TAKEN)


def events(data: bytes) -> None:
    """Server-sent events: the blocks are the stream's own bytes, whatever the pieces, and their data is the standard's."""
    control = Control(data)
    limit = control.pick(LIMITS)
    kind = control.byte()
    cuts = Cuts(control)
    body = control.rest()
    pieces = cuts.of(body)
    blocks, rest = _split(body, [body], limit)
    again, rest_again = _split(body, pieces, limit)
    # The LF of a torn CRLF behind a block is announced apart; together they are the same bytes.
    assert _joined(again, limit) == _joined(blocks, limit)
    assert rest_again == rest
    whole, expected = events_of(body), _standard(body)
    if kind % 3:
        _metered(pieces, whole, expected, takes_out=kind % 3 == 1)
    else:
        _held(pieces, whole, expected, 1 + kind)


def _split(body: bytes, pieces: list[bytes], limit: int) -> tuple[list[bytes | None], bytes | None]:
    splitter = Splitter(limit)
    blocks: list[bytes | None] = []
    sent = 0
    for piece in pieces:
        last = 0
        for end, block in splitter.feed(piece):
            assert last <= end <= len(piece)
            assert block is None or (len(block) <= limit and body[: sent + end].endswith(block))
            last = end
            blocks.append(block)
        sent += len(piece)
        assert len(splitter._pending) <= limit
    if None not in blocks and (rest := splitter.rest()) is not None:
        assert b"".join(block or b"" for block in blocks) + rest == body
    return blocks, splitter.rest()


def _joined(blocks: list[bytes | None], limit: int) -> list[bytes | None]:
    """The blocks as if no CRLF had been torn; blank lines behind a block that was too long could be its own end."""
    joined: list[bytes | None] = []
    for block in blocks:
        last = joined[-1] if joined else b""
        if block != b"\n" or not joined:
            joined.append(block)
        elif last is not None and last.endswith(b"\r"):
            joined[-1] = last + block if len(last) < limit else None
        elif last is not None:
            joined.append(block)
    return joined


def _metered(pieces: list[bytes], whole: Sequence[bytes], expected: list[bytes], *, takes_out: bool) -> None:
    meter = _Taking(takes_out=takes_out)
    relayed = b"".join([*[meter.feed(piece) for piece in pieces], meter.finish()])
    assert meter.data == expected, (meter.data, expected)
    if takes_out:
        some_of(whole, relayed)
        assert _standard(relayed) == [one for one in expected if not one.startswith(_TAKEN)]
    else:
        assert relayed == b"".join(pieces)


def _held(pieces: list[bytes], whole: Sequence[bytes], expected: list[bytes], most_bytes: int) -> None:
    """What is held back is bounded; an event that went on in part goes on whole, and no other event is touched."""
    meter = _Taking(takes_out=True)
    usual, meters.MAX_HELD_BYTES = meters.MAX_HELD_BYTES, most_bytes
    try:
        relayed = []
        for piece in pieces:
            relayed.append(meter.feed(piece))
            assert len(meter._held) <= most_bytes
        relayed.append(meter.finish())
    finally:
        meters.MAX_HELD_BYTES = usual
    some_of(whole, b"".join(relayed))
    assert meter.data == expected


def _standard(body: bytes) -> list[bytes]:
    """The data of every event by the letter of the standard (9.2.6), the unfinished last one included.

    A byte order mark is passed over before every event: streams that were put together have one in their middle.
    """
    found: list[bytes] = []
    lines: list[bytes] = []
    begun = False
    for line in [*_ANY_END.split(body), b""]:
        if not line:
            if joined := b"\n".join(lines):
                found.append(joined)
            lines, begun = [], False
            continue
        name, _, value = (line if begun else line.removeprefix(BOM)).partition(b":")
        begun = True
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return found


def elements(data: bytes) -> None:
    """A JSON array: the same elements at any cut, and those of a decoder where the text is JSON."""
    control = Control(data)
    limit = control.pick(LIMITS)
    cuts = Cuts(control)
    body = control.rest()
    whole = _elements(body, [body], limit)
    assert _elements(body, cuts.of(body), limit) == whole
    try:
        array = json.loads(body.decode())
    except (ValueError, RecursionError):
        return
    if isinstance(array, list) and all(isinstance(element, dict) for element in array):
        found, _, closed, idle, _ = whole
        assert len(found) == len(array)
        assert closed
        assert idle
        for element, text in zip(array, found, strict=True):
            assert text is None or repr(json.loads(text)) == repr(element)


def _elements(body: bytes, pieces: list[bytes], limit: int) -> tuple[list[bytes | None], bool, bool, bool, int]:
    splitter = ElementSplitter(limit)
    found: list[bytes | None] = []
    for piece in pieces:
        found += splitter.feed(piece)
        assert len(splitter._pending) <= limit
    assert all(element is None or (len(element) <= limit and element in body) for element in found)
    assert splitter.seen == len(found)
    return found, splitter.begun, splitter.closed, splitter.idle, splitter.seen


def mended(raw: bytes) -> bytes:
    """The bytes with right checksums wherever there could be a frame, so that what is behind the checksums is reached."""
    body = bytearray(raw)
    at = 0
    while len(body) - at >= PRELUDE.size + 4:
        total, headers, _ = PRELUDE.unpack_from(body, at)
        total = 16 + total % 512
        headers %= total - 15
        body[at : at + 8] = total.to_bytes(4, "big") + headers.to_bytes(4, "big")
        body[at + 8 : at + 12] = zlib.crc32(body[at : at + 8]).to_bytes(4, "big")
        end = at + total
        if end > len(body):
            break
        body[end - 4 : end] = zlib.crc32(body[at : end - 4]).to_bytes(4, "big")
        at = end
    return bytes(body)


def frames(data: bytes) -> None:
    """AWS's event stream: the same frames at any cut, and what was written is what is read."""
    control = Control(data)
    limit = control.pick((256, 64, 1 << 20, 16))
    kind = control.byte() % 3
    cuts = Cuts(control)
    raw = control.rest()
    if kind == 2:
        _written(raw, cuts)
        return
    body = mended(raw) if kind else raw
    assert _frames(cuts.of(body), limit) == _frames([body], limit)


def _written(raw: bytes, cuts: Cuts) -> None:
    payloads = raw.split(b"\n")[:16]
    sent = [Frame({":event-type": str(number), "é" * (number % 9 + 1): ""}, one) for number, one in enumerate(payloads)]
    body = b"".join(write_frame(frame.headers, frame.payload) for frame in sent)
    splitter = FrameSplitter()
    read = [frame for piece in cuts.of(body) for _, frame in splitter.feed(piece)]
    assert read == sent
    assert splitter.idle


def _frames(pieces: list[bytes], limit: int) -> tuple[list[Frame | None], bool, bool]:
    splitter = FrameSplitter(limit)
    found: list[Frame | None] = []
    for piece in pieces:
        last = 0
        for end, frame in splitter.feed(piece):
            assert last <= end <= len(piece)
            last = end
            found.append(frame)
        assert len(splitter._pending) <= max(limit, PRELUDE.size)
    return found, splitter.lost, splitter.idle
