import json
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.providers.json_array import ElementSplitter

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4)


def split(body: bytes, cuts: list[int], limit: int = 1 << 20) -> tuple[list[bytes | None], ElementSplitter]:
    splitter = ElementSplitter(limit)
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    found = [element for start, end in pairwise(places) for element in splitter.feed(body[start:end])]
    return found, splitter


@given(
    st.lists(OBJECTS, max_size=4),
    st.sampled_from([b",", b",\r\n", b" \n , \n"]),
    st.booleans(),
    st.lists(st.integers(min_value=0), max_size=40),
)
def test_elements_come_out_whole_at_any_split(
    objects: list[dict[str, Any]], comma: bytes, ascii_only: bool, cuts: list[int]
) -> None:
    written = [json.dumps(one, ensure_ascii=ascii_only).encode() for one in objects]
    found, splitter = split(b"[" + comma.join(written) + b"\n]", cuts)
    assert found == written
    assert splitter.begun
    assert splitter.closed
    assert splitter.idle
    assert splitter.seen == len(objects)


@given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=20))
def test_any_bytes_split_alike_however_they_are_cut(body: bytes, cuts: list[int]) -> None:
    whole, splitter = split(body, [])
    pieces, other = split(body, cuts)
    assert pieces == whole
    assert (other.idle, other.seen, other.begun, other.closed) == (
        splitter.idle,
        splitter.seen,
        splitter.begun,
        splitter.closed,
    )


def test_a_lone_object_is_an_array_of_one() -> None:
    found, splitter = split(b'{"error":{"code":429}}', [3, 9])
    assert found == [b'{"error":{"code":429}}']
    assert not splitter.begun


def test_brackets_and_quotes_in_strings_are_text() -> None:
    element = rb'{"a":"]}\"{[\\","b":["\\\""]}'
    for cut in range(len(element) + 2):
        assert split(b"[" + element + b"]", [cut])[0] == [element]


def test_memory_is_bounded() -> None:
    splitter = ElementSplitter(100)
    found: list[bytes | None] = splitter.feed(b'[{"a":"')
    for _ in range(1000):
        found += splitter.feed(b"x" * 1000)
        assert len(splitter._pending) <= 100
    found += splitter.feed(b'"},{"b":1}]')
    assert found == [None, b'{"b":1}']
    assert splitter.closed


def test_what_is_no_object_is_passed_over() -> None:
    found, splitter = split(b'[1, "x", null, [{"a":1}], {"b":2}]', [5])
    assert found[-1] == b'{"b":2}'
    assert splitter.closed
