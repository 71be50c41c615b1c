from proxy.providers.answer_texts import texts_of_answer


def test_the_texts_come_one_a_line() -> None:
    assert (
        texts_of_answer({"content": b'[{"text":"one"},{"text":"two"}]', "completion": b'"three"'}) == "one\ntwo\nthree"
    )
    assert texts_of_answer({}) == ""


def test_what_cannot_be_read_is_counted_by_its_bytes() -> None:
    for value in (b'"\x81"', b'["\\ud800"]', b"[" * 100_000 + b"]" * 100_000, b"1" + b"0" * 5000):
        assert len(texts_of_answer({"content": b'["said",' + value + b"]"})) >= len("said")
