"""What a search can be asked for is what rows have: a word that is none of them would find nothing, and nobody would know why."""

from typing import get_args

import pytest

from proxy.admin.body import shaped_query
from proxy.admin.search_shapes import Basis, EntryFilters, Kind, Outcome, UsageFilters
from proxy.cli.filters import OUTCOMES
from proxy.cli.history import KINDS
from proxy.core import records
from proxy.core.errors import InvalidRequest


def test_the_words_are_those_of_the_rows() -> None:
    assert get_args(Outcome) == OUTCOMES
    assert get_args(Kind) == KINDS
    assert set(get_args(Basis)) == {
        records.REPORTED, records.COUNTED, records.CHECKPOINT, records.HOLD, records.NONE,
    }  # fmt: skip


@pytest.mark.parametrize(("name", "word"), [("kind", "refnd"), ("outcome", "failed"), ("basis", "guess")])
def test_another_word_is_refused_with_all_that_there_are(name: str, word: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        shaped_query({name: word}, EntryFilters if name == "kind" else UsageFilters)
    assert refused.value.param == name
    assert refused.value.message.startswith(f"{name}: '{word}' is none of ")
    known = get_args({"kind": Kind, "outcome": Outcome, "basis": Basis}[name])
    assert all(one in refused.value.message for one in known)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"from_at": "2026-11-01"}, "from_at: expected a whole number, got a text (Unix milliseconds)"),
        ({"status": "9"}, "status: expected a whole number >= 100"),
        ({"call_id": ""}, "call_id: expected a text, not an empty one"),
    ],
)
def test_what_is_expected_is_said_in_words_of_json(query: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        shaped_query(query, UsageFilters)
    assert refused.value.message == said
