"""Compressed answers: metered through a bounded decoder at any split, relayed as the same objects, never unpacked without a bound."""

import gzip
import json
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers import decoding
from proxy.providers.decoding import Unpacking, decoder_of
from proxy.providers.dialect import JSON, SSE, Ask
from proxy.providers.openai_chat import ChatCompletions

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"x-gzip": lambda data: gzip.compress(data[:10]) + gzip.compress(data[10:]),
    b"deflate": zlib.compress,
    b" deflate": bare_deflate,
    b"br": lambda data: brotli.compress(data, quality=5),
    b"zstd": lambda data: zstd.compress(data[:10]) + zstd.compress(data[10:]),
}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
STREAM = CHUNK * 50 + b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\ndata: [DONE]\n\n"


def pieces_of(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % len(data) for place in at)})
    return [data[start:end] for start, end in pairwise(places)]


@pytest.mark.parametrize("coding", PACKERS)
@given(at=st.lists(st.integers(0, 100_000), max_size=20))
def test_a_compressed_stream_is_metered_at_any_split_and_relayed_as_it_came(coding: bytes, at: list[int]) -> None:
    meter = ChatCompletions().meter(Ask(model="m", stream=True), SSE)
    unpacking = Unpacking(meter, coding)
    pieces = pieces_of(PACKERS[coding](STREAM), at)
    assert all(unpacking.feed(piece) is piece for piece in pieces)
    assert unpacking.finish() == b""
    assert meter.usage is not None
    assert meter.usage.counters == {"input": 7, "output": 3}
    assert (meter.output_events, meter.flag, meter.complete) == (50, None, True)


@pytest.mark.parametrize("coding", PACKERS)
def test_every_byte_comes_out_in_bounded_steps(coding: bytes) -> None:
    plain = random.Random(1).randbytes(300_000) + b"a" * 300_000
    decoder = decoder_of(coding)
    assert decoder is not None
    steps = [
        step
        for piece in pieces_of(PACKERS[coding](plain), list(range(0, 400_000, 70_001)))
        for step in decoder.unpack(piece)
    ]
    assert b"".join(steps) == plain
    assert max(map(len, steps)) <= 2 * decoding.STEP_BYTES


@pytest.mark.parametrize("coding", PACKERS)
@pytest.mark.parametrize("content_type", [SSE, JSON])
def test_a_bomb_takes_no_memory_and_is_charged_at_the_hold(coding: bytes, content_type: bytes) -> None:
    bomb = PACKERS[coding](b"data: " + b"\0" * 200_000_000)
    meter = ChatCompletions().meter(Ask(model="m", stream=True), content_type)
    unpacking = Unpacking(meter, coding)
    tracemalloc.start()
    try:
        for start in range(0, len(bomb), 65536):
            unpacking.feed(bomb[start : start + 65536])
        unpacking.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(bomb) < 250_000
    assert meter.flag == "the compressed answer unpacks to more than is read"
    assert peak < 72 * 1024 * 1024 if content_type == JSON else peak < 4 * 1024 * 1024


def test_bytes_of_another_coding_are_flagged_and_still_relayed() -> None:
    for coding in (b"gzip", b"deflate", b"br", b"zstd"):
        meter = ChatCompletions().meter(Ask(model="m", stream=True), SSE)
        unpacking = Unpacking(meter, coding)
        assert unpacking.feed(b"\x0bdata: {}\n\n" * 9) == b"\x0bdata: {}\n\n" * 9, coding
        unpacking.finish()
        assert meter.flag is not None, coding
        assert meter.flag.startswith("the compressed answer cannot be unpacked"), coding


@pytest.mark.parametrize("coding", [b"compress", b"gzip, br", b""])
def test_a_coding_that_is_not_known_is_flagged(coding: bytes) -> None:
    meter = ChatCompletions().meter(Ask(model="m"), JSON)
    unpacking = Unpacking(meter, coding)
    assert unpacking.feed(b"abc") == b"abc"
    unpacking.finish()
    assert meter.flag == "the answer has a content-encoding that is not known here"


def test_a_torn_compressed_stream_keeps_what_was_read() -> None:
    packer = zlib.compressobj(wbits=31)
    packed = b"".join(packer.compress(CHUNK) + packer.flush(zlib.Z_SYNC_FLUSH) for _ in range(5))
    meter = ChatCompletions().meter(Ask(model="m", stream=True), SSE)
    unpacking = Unpacking(meter, b"gzip")
    unpacking.feed(packed)
    assert meter.output_events == 5  # live, before the end: holds grow with it
    unpacking.finish()
    assert (meter.flag, meter.usage, meter.complete) == (None, None, False)


def test_nothing_of_ours_can_follow() -> None:
    meter = ChatCompletions().meter(Ask(model="m", stream=True), SSE)
    assert meter.farewell(b"data: {}\n\n") == b"data: {}\n\n"
    assert Unpacking(meter, b"br").farewell(b"data: {}\n\n") is None
