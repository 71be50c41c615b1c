import random
import struct
import zlib

import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer, ParserError
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers.event_stream import Frame, FrameSplitter, read_frame, write_frame

HEADERS = {":message-type": "event", ":event-type": "contentBlockDelta", ":content-type": "application/json"}
STREAM = [
    write_frame(HEADERS, b'{"delta":{"text":"hi"}}'),
    write_frame({}, b""),
    write_frame({"a": "é" * 300}, bytes(range(256)) * 40),
    write_frame(HEADERS, b"x" * 5000),
]
Found = list[tuple[int, Frame | None]]


def split(splitter: FrameSplitter, body: bytes, sizes: list[int]) -> Found:
    """Feed in pieces; the ends as offsets in the whole."""
    found: Found = []
    at = 0
    for size in [*sizes, len(body)]:
        piece = body[at : at + size]
        found += [(at + end, frame) for end, frame in splitter.feed(piece)]
        at += len(piece)
    return found


def by_botocore(body: bytes) -> list[tuple[dict[str, str], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    return [(message.headers, message.payload) for message in buffer]


@given(st.lists(st.integers(1, 4000), max_size=60))
def test_any_split_finds_the_frames_that_botocore_finds(sizes: list[int]) -> None:
    body = b"".join(STREAM)
    splitter = FrameSplitter()
    found = split(splitter, body, sizes)
    assert [(frame.headers, frame.payload) for _, frame in found if frame is not None] == by_botocore(body)
    ends = [sum(map(len, STREAM[: count + 1])) for count in range(len(STREAM))]
    assert [end for end, _ in found] == ends
    assert splitter.idle


def test_byte_by_byte_it_is_idle_exactly_between_frames() -> None:
    body = b"".join(STREAM)
    ends = {sum(map(len, STREAM[:count])) for count in range(len(STREAM) + 1)}
    splitter = FrameSplitter()
    for at in range(len(body)):
        assert splitter.idle == (at in ends)
        splitter.feed(body[at : at + 1])


@given(st.dictionaries(st.text(min_size=1, max_size=40), st.text(max_size=200), max_size=8), st.binary(max_size=600))
def test_what_is_written_is_what_botocore_reads(headers: dict[str, str], payload: bytes) -> None:
    frame = write_frame(headers, payload)
    assert by_botocore(frame) == [(headers, payload)]
    assert read_frame(frame) == Frame(headers, payload)


@pytest.mark.parametrize("seed", range(300))
def test_one_flipped_bit_spoils_its_frame_and_no_other(seed: int) -> None:
    dice = random.Random(seed)
    body = bytearray(b"".join(STREAM))
    at = dice.randrange(len(body))
    body[at] ^= 1 << dice.randrange(8)
    with pytest.raises((ChecksumMismatch, ParserError)):
        by_botocore(bytes(body))
    splitter = FrameSplitter()
    found = split(splitter, bytes(body), [dice.choice((1, 7, 12, 300, 6000)) for _ in range(40)])
    starts = [sum(map(len, STREAM[:count])) for count in range(len(STREAM))]
    hit = max(count for count, start in enumerate(starts) if start <= at)
    expected = [read_frame(frame) for frame in STREAM]
    if at - starts[hit] < 12:  # in the prelude: the rest cannot be found any more
        assert splitter.lost
        assert not splitter.idle
        assert [frame for _, frame in found] == [*expected[:hit], None]
    else:
        assert [frame for _, frame in found] == [*expected[:hit], None, *expected[hit + 1 :]]
        assert splitter.idle


def test_a_frame_beyond_the_limit_is_counted_through_without_being_kept() -> None:
    long, short = write_frame(HEADERS, bytes(3_000_000)), write_frame(HEADERS, b"{}")
    body = long + short
    splitter = FrameSplitter(limit=64 * 1024)
    found: Found = []
    for at in range(0, len(body), 4096):
        found += splitter.feed(body[at : at + 4096])
        assert len(splitter._pending) <= 64 * 1024
    assert [frame for _, frame in found] == [None, read_frame(short)]
    assert FrameSplitter(limit=64 * 1024).feed(body) == [(len(long), None), (len(body), read_frame(short))]


def test_a_length_that_cannot_be_is_a_wrong_prelude() -> None:
    for total, headers in ((15, 0), (16, 1), (40, 4_000_000_000), (0, 0)):
        prelude = struct.pack(">II", total, headers)
        frame = prelude + struct.pack(">I", zlib.crc32(prelude)) + bytes(40)
        splitter = FrameSplitter()
        assert [read for _, read in splitter.feed(frame)] == [None]
        assert splitter.lost
        assert splitter.feed(STREAM[0]) == []


@pytest.mark.parametrize(
    "block",
    [
        b"\x01a",  # no type
        b"\x01a\x07\x00",  # half a length
        b"\x01a\x07\x00\x05abc",  # a value that is too short
        b"\x01a\x09abc",
        b"\x01a\x0babc",  # a type that does not exist
        b"\x09abc",
        b"\x01\xff\x00",  # a name that is no UTF-8
    ],
)
def test_headers_that_cannot_be_read_spoil_the_frame(block: bytes) -> None:
    assert read_frame(raw_frame(block)) is None


def test_headers_of_every_type_are_passed_over() -> None:
    values = [b"\x00", b"\x01", b"\x02x", b"\x03xx", b"\x04xxxx", b"\x05" + bytes(8), b"\x06\x00\x03abc"]
    values += [b"\x08" + bytes(8), b"\x09" + bytes(16), b"\x07\x00\x02hi"]
    block = b"".join(b"\x02h%d" % number + value for number, value in enumerate(values))
    frame = raw_frame(block)
    assert read_frame(frame) == Frame({"h9": "hi"}, b"{}")
    assert len(by_botocore(frame)[0][0]) == 10


def raw_frame(block: bytes) -> bytes:
    prelude = struct.pack(">II", 16 + len(block) + 2, len(block))
    frame = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + b"{}"
    return frame + struct.pack(">I", zlib.crc32(frame))
