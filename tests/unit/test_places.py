"""Commands filled in are the same as commands packed anew."""

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits import REQUESTS, TOKENS, Limit
from proxy.ledger.keys import Partition
from proxy.ledger.places import MAX_CACHED_LIMITS, Blank, Place, form
from proxy.ledger.scripts import Script

SCRIPT = Script.of("x", "return 1")
items = st.lists(
    st.tuples(st.binary(max_size=20), st.sampled_from(("known", "open", "long")), st.binary(max_size=9)), max_size=6
)
Items = list[tuple[bytes, str, bytes]]


def blank(item: bytes, kind: str, beginning: bytes) -> bytes | Blank:
    if kind == "known":
        return beginning + item
    return Blank(len(item), beginning) if kind == "open" else Blank(None)


def filled(item: bytes, kind: str, beginning: bytes) -> list[bytes | int]:
    return {"known": [], "open": [item], "long": [len(beginning + item), beginning + item]}[kind]  # type: ignore[return-value]


@given(items, items)
def test_a_form_filled_in_is_the_command(keys: Items, args: Items) -> None:
    blanks = form(SCRIPT, [blank(*one) for one in keys], [blank(*one) for one in args])
    values = [value for one in keys + args for value in filled(*one)]
    whole = (b"EVALSHA", SCRIPT.sha, len(keys), *[beginning + item for item, _, beginning in keys + args])
    assert blanks % tuple(values) == hiredis.pack_command(whole)  # type: ignore[arg-type]  # its stub knows one element


def test_a_percent_sign_in_the_name_of_a_model_is_itself() -> None:
    place = Place(Partition.at(7), "acct_1", b"epoch", 1)
    command = place.hold((Limit("model:50%off %d", TOKENS, 5),)) % (b"c", b"c", b"n" * 32, 1, b"d")
    assert b"model:50%off %d" in command


def test_forms_of_limits_that_were_changed_often_are_forgotten() -> None:
    place = Place(Partition.at(7), "acct_1", b"epoch", 1)
    for ceiling in range(MAX_CACHED_LIMITS + 5):
        place.hold((Limit("account", REQUESTS, ceiling),))
    assert len(place._holds) == 5


def test_an_account_whose_id_could_leave_its_key_has_no_place() -> None:
    with pytest.raises(ValueError, match="is not an id"):
        Place(Partition.at(7), "a b", b"epoch", 1)
