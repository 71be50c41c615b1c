"""Commands filled in are the same as commands packed anew."""

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits import REQUESTS, TOKENS, Limit
from proxy.ledger.keys import Partition
from proxy.ledger.places import MAX_CACHED_LIMITS, Place, form
from proxy.ledger.scripts import Script

SCRIPT = Script.of("x", "return 1")
items = st.lists(st.tuples(st.binary(max_size=20), st.booleans()), max_size=6)


@given(items, items)
def test_a_form_filled_in_is_the_command(keys: list[tuple[bytes, bool]], args: list[tuple[bytes, bool]]) -> None:
    blank = form(SCRIPT, *[[None if open_ else item for item, open_ in part] for part in (keys, args)])
    filled = [value for item, open_ in keys + args if open_ for value in (len(item), item)]
    whole = (b"EVALSHA", SCRIPT.sha, len(keys), *[item for item, _ in keys], *[item for item, _ in args])
    assert blank % tuple(filled) == hiredis.pack_command(whole)  # type: ignore[arg-type]  # its stub knows one element


def test_a_percent_sign_in_the_name_of_a_model_is_itself() -> None:
    place = Place(Partition.at(7), "acct_1", b"epoch")
    command = place.hold((Limit("model:50%off %d", TOKENS, 5),)) % (1, b"h", 1, b"c", 1, b"n", 1, b"d")
    assert b"model:50%off %d" in command


def test_forms_of_limits_that_were_changed_often_are_forgotten() -> None:
    place = Place(Partition.at(7), "acct_1", b"epoch")
    for ceiling in range(MAX_CACHED_LIMITS + 5):
        place.hold((Limit("account", REQUESTS, ceiling),))
    assert len(place._holds) == 5


def test_an_account_whose_id_could_leave_its_key_has_no_place() -> None:
    with pytest.raises(ValueError, match="is not an id"):
        Place(Partition.at(7), "a b", b"epoch")
