import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers.sse import BOM, Splitter, data_of

FRAGMENTS = [
    b"\r",
    b"\n",
    b"\r\n",
    b"data:",
    b"data: ",
    b"data",
    b"event: x",
    b": note",
    b"id: 7",
    b"a",
    b"{}",
    "é".encode(),
    b" ",
    b":",
]
streams = st.tuples(st.sampled_from([b"", BOM]), st.lists(st.sampled_from(FRAGMENTS), max_size=40)).map(
    lambda drawn: drawn[0] + b"".join(drawn[1])
)


def reference(stream: bytes) -> list[bytes]:
    """The data of each event as the standard defines it, from the whole stream at once."""
    text = stream.removeprefix(BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    *lines, _unfinished = text.split(b"\n")
    events: list[bytes] = []
    data: list[bytes] = []
    for line in lines:
        if not line:
            events.append(b"\n".join(data))
            data = []
            continue
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value[1:] if value.startswith(b" ") else value)
    return [event for event in events if event]


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted({place for place in at if place < len(stream)}), len(stream)]
    return [stream[start:end] for start, end in pairwise(places)]


def split(pieces: list[bytes], limit: int = 1 << 20) -> tuple[list[bytes | None], Splitter]:
    splitter = Splitter(limit)
    blocks: list[bytes | None] = []
    for piece in pieces:
        last = 0
        for end, block in splitter.feed(piece):
            assert last < end <= len(piece)
            last = end
            blocks.append(block)
    return blocks, splitter


@given(streams, st.lists(st.integers(0, 200), max_size=20))
def test_any_cut_gives_the_events_of_the_standard(stream: bytes, at: list[int]) -> None:
    blocks, splitter = split(cut(stream, at))
    whole = [block for block in blocks if block is not None]
    rest = splitter.rest()
    assert rest is not None
    assert b"".join(whole) + rest == stream
    assert [data for block in whole if (data := data_of(block))] == reference(stream)


@given(streams)
def test_byte_by_byte_is_the_same_as_at_once(stream: bytes) -> None:
    single = [stream[index : index + 1] for index in range(len(stream))]
    by_byte = [data_of(block) for block in split(single)[0] if block and data_of(block)]
    assert by_byte == [data_of(block) for block in split([stream])[0] if block and data_of(block)]


@given(streams, st.lists(st.integers(0, 200), max_size=20))
def test_idle_says_that_nothing_is_open(stream: bytes, at: list[int]) -> None:
    splitter = Splitter()
    for piece in cut(stream, at):
        splitter.feed(piece)
        if splitter.idle:
            assert splitter.rest() == b""


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_kind_of_line_end(end: bytes) -> None:
    stream = end.join([b"event: a", b"data: 1", b"data: 2", b"", b": c", b"", b"data:3", b"", b""])
    for place in range(len(stream) + 1):
        blocks, _ = split([stream[:place], stream[place:]])
        assert [data for block in blocks if block and (data := data_of(block))] == [b"1\n2", b"3"]


def test_a_torn_crlf_behind_a_block_is_a_block_of_its_own() -> None:
    assert split([b"data: 1\r\n\r", b"\ndata: 2\r\n\r\n"])[0] == [b"data: 1\r\n\r", b"\n", b"data: 2\r\n\r\n"]


def test_a_missing_blank_line_leaves_a_rest() -> None:
    blocks, splitter = split([b"data: 1\n\ndata: 2"])
    assert blocks == [b"data: 1\n\n"]
    assert splitter.rest() == b"data: 2"
    assert not splitter.idle


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_is_too_long_is_announced_whatever_the_pieces(size: int) -> None:
    stream = b"data: 1\n\n" + b"data: " + b"x" * 200 + b"\n\ndata: 2\n\n"
    blocks, splitter = split([stream[at : at + size] for at in range(0, len(stream), size)], limit=100)
    assert blocks == [b"data: 1\n\n", None, b"data: 2\n\n"]
    assert splitter.idle


def test_an_unfinished_block_that_is_too_long_has_no_rest() -> None:
    assert split([b"data: " + b"x" * 200], limit=100)[1].rest() is None


def test_a_line_of_100_mb_takes_bounded_memory() -> None:
    piece = b"x" * 65536
    splitter = Splitter()
    tracemalloc.start()
    try:
        for _ in range(1600):
            assert splitter.feed(piece) == []
        assert splitter.feed(b"\n\n") == [(2, None)]
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert splitter.idle
