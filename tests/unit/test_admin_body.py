"""What administrators send is read strictly, and whatever it is, refused with a 400 and never a defect."""

import json
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.account_shapes import NewAccount
from proxy.admin.body import check_texts, read_json, read_query, shaped, shaped_query
from proxy.admin.shapes import Amount, microcredits_of
from proxy.core.errors import InvalidRequest
from proxy.core.money import MAX_AMOUNT, format_credits


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    count: Annotated[int, msgspec.Meta(ge=1)]


class Outer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    inner: Inner | None = None
    items: list[Inner] = []
    flag: bool = False
    limit: int = 5


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    try:
        found = read_json(body)
    except InvalidRequest:
        return
    assert isinstance(found, dict)
    check_texts(found)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
    )
)
def test_an_object_comes_back_unless_a_text_cannot_be_stored(value: object) -> None:
    body = json.dumps({"value": value}).encode()
    texts = json.dumps(value, ensure_ascii=False)
    storable = "\0" not in texts and "\\u0000" not in texts and not any("\ud800" <= sign <= "\udfff" for sign in texts)
    if storable:
        assert read_json(body) == {"value": value}


@pytest.mark.parametrize(
    ("value", "message", "param"),
    [
        ({}, "name is missing", "name"),
        ({"name": "a", "nmae": 1}, "nmae is not known here; known: name, inner, items, flag, limit", "nmae"),
        (
            {"name": "a", "inner": {"cuont": 1, "count": 1}},
            "inner.cuont is not known here; known: count",
            "inner.cuont",
        ),
        ({"name": "a", "inner": {}}, "inner.count is missing", "inner.count"),
        (
            {"name": "a", "items": [{"count": 1}, {"count": 0}]},
            "items[1].count: expected a whole number >= 1",
            "items[1].count",
        ),
        ({"name": 5}, "name: expected a text, got a whole number", "name"),
        ({"name": "a", "flag": 1}, "flag: expected true or false, got a whole number", "flag"),
    ],
)
def test_what_is_wrong_is_said_with_its_name(value: dict[str, object], message: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        shaped(value, Outer)
    assert (refused.value.message, refused.value.param) == (message, param)


@pytest.mark.parametrize("limit", ["1.0", "1e1", "+1", " 1", "0x1", "", "9" * 17])
def test_whole_numbers_of_a_query_are_digits(limit: str) -> None:
    with pytest.raises(InvalidRequest):
        shaped_query({"name": "a", "limit": limit}, Outer)


def test_a_query_has_words_for_booleans_and_nothing_twice() -> None:
    assert shaped_query({"name": "a", "flag": "true", "limit": "7"}, Outer) == Outer(name="a", flag=True, limit=7)
    with pytest.raises(InvalidRequest):
        shaped_query({"name": "a", "flag": "1"}, Outer)
    with pytest.raises(InvalidRequest):
        read_query([("a", "1"), ("a", "1")])


@given(st.integers(-MAX_AMOUNT, MAX_AMOUNT))
def test_an_amount_is_the_same_in_both_units(microcredits: int) -> None:
    assert microcredits_of(Amount(amount_microcredits=microcredits)) == microcredits
    assert microcredits_of(Amount(credits=format_credits(microcredits))) == microcredits


@pytest.mark.parametrize(
    "amount",
    [
        Amount(),
        Amount(amount_microcredits=1, credits="0.000001"),
        Amount(credits="0.0000001"),
        Amount(credits="9" * 16),
    ],
)
def test_amounts_that_are_refused(amount: Amount) -> None:
    with pytest.raises(InvalidRequest):
        microcredits_of(amount)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"budget_day": 5},
            'limits.budget_day: expected a text, got a whole number (An exact decimal, such as "12.5")',
        ),
        ({"budget_day": "5 "}, 'limits.budget_day: expected a text of another form (An exact decimal, such as "12.5")'),
        ({"models": {"sim": {"rpm": 5}}}, "limits.models[...].rpm is not known here; known: requests_per_minute, "),
    ],
)
def test_what_the_description_says_of_a_member_is_in_the_message(limits: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        shaped({"name": "ada", "limits": limits}, NewAccount)
    assert refused.value.message.startswith(message)
