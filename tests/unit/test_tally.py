from proxy.providers.tally import LIMIT_BYTES, Tally


def test_pieces_bytes_and_the_first_of_the_text_are_kept() -> None:
    tally = Tally()
    tally.add("é")
    tally.add("x" * LIMIT_BYTES)
    tally.add("y")
    assert (tally.pieces, tally.bytes) == (3, 3 + LIMIT_BYTES)
    assert tally.text == "é" + "x" * (LIMIT_BYTES - 2)


def test_a_text_that_is_cut_inside_a_character_stays_readable() -> None:
    tally = Tally()
    tally.add("x" * (LIMIT_BYTES - 1))
    tally.add("漢")
    assert tally.text == "x" * (LIMIT_BYTES - 1)


def test_calls_are_counted_beside_their_names() -> None:
    tally = Tally()
    tally.call("look")
    tally.call("")
    tally.add('{"at":1}')
    assert (tally.calls, tally.pieces, tally.text) == (2, 2, 'look{"at":1}')
