"""Cells of CSV: what a spreadsheet must not take for a formula, and what must stay a number."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.records.exports import csv_line, neutral, time_of


@pytest.mark.parametrize(
    "text", ["=1", "+1", "-1", "@x", "\t=1", "\r", "\n=1", " =1", "\u00a0=1", "\uff1dA1", "\ufeff=1"]
)
def test_what_looks_like_a_formula_begins_with_an_apostrophe(text: str) -> None:
    assert neutral(text) == "'" + text


@pytest.mark.parametrize("text", ["", "gpt-4", "a=b", "1-2", "'=1", "\u05e9\u05dc\u05d5\u05dd", "\u202eabc"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert neutral(text) == text


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_every_text_is_read_back_and_none_is_a_formula(texts: list[str]) -> None:
    (cells,) = csv.reader(io.StringIO(csv_line(texts).decode(), newline=""))
    assert "\0" not in "".join(cells)
    for cell, text in zip(cells, texts, strict=True):
        assert cell.removeprefix("'").replace("\ufffd", "\0") == text.removeprefix("'").replace("\ufffd", "\0")
        assert not cell.lstrip(" \u00a0\u3000\ufeff").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_numbers_stay_numbers_and_nothing_is_empty() -> None:
    line = csv_line(
        [-5, "-0.5", None, True, {"a": "="}, "-x"], ("amount", "credits", "status", "stream", "usage", "name")
    )
    assert line == b'-5,-0.5,,true,"{""a"":""=""}","\'-x"\r\n'


def test_instants_are_utc() -> None:
    assert time_of(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"
    assert time_of(2**53) == ""
