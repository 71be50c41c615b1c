"""Cursors come back as they were made, and in no other way."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.cursors import MAX_CURSOR, Cursors
from proxy.core.errors import InvalidRequest

CURSORS = Cursors("a pepper of some length")
KEYS = st.lists(st.integers(-(2**63), 2**63) | st.text(max_size=30), max_size=4)


@given(st.text(max_size=50), KEYS)
def test_a_cursor_gives_its_sort_key_back(query: str, key: list[int | str]) -> None:
    assert CURSORS.load(query, CURSORS.dump(query, key)) == key


@given(st.text(max_size=50), KEYS, st.data())
def test_a_cursor_that_was_changed_is_refused(query: str, key: list[int | str], data: st.DataObject) -> None:
    cursor = CURSORS.dump(query, key)
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidRequest):
        CURSORS.load(query, base64.urlsafe_b64encode(raw).decode().rstrip("="))


@given(st.text(max_size=40), st.text(max_size=40), KEYS)
def test_a_cursor_of_another_query_is_refused(query: str, other: str, key: list[int | str]) -> None:
    if query != other:
        with pytest.raises(InvalidRequest) as refused:
            CURSORS.load(other, CURSORS.dump(query, key))
        assert (refused.value.code, refused.value.param) == ("invalid_cursor", "cursor")


def test_a_query_and_a_sort_key_do_not_run_into_each_other() -> None:
    with pytest.raises(InvalidRequest):
        CURSORS.load("a[", CURSORS.dump("a", ["[1]"]))


@pytest.mark.parametrize("cursor", ["", "!", "AAAA", "é", "a" * (MAX_CURSOR + 1), "====", "W10", "\0"])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        CURSORS.load("q", cursor)


def test_a_cursor_of_another_installation_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        Cursors("another pepper of length").load("q", CURSORS.dump("q", [1]))
