"""Tables of the bench: who was measured and how, what is missing and why."""

from bench.budgets import judge
from bench.figures import Results, Round
from bench.report import Sheet, remarks, sheets


def by_title(made: list[Sheet]) -> dict[str, Sheet]:
    return {sheet.title: sheet for sheet in made}


def results() -> Results:
    one = Round(
        figures={("nginx", "small"): {"cpu_us_a_call": 20.0}, ("litellm", "small"): {"cpu_us_a_call": 9_930.0}},
        failures={("litellm", "paced"): "no byte of an answer for 10 s", ("nginx", "paced"): "status 500"},
    )
    one.figures["nginx", "flat"] = {"cpu_us_a_chunk": 5.0}
    return Results(
        rounds=[one],
        notes={"nginx": (), "litellm": ("one master key",)},
        unavailable={"bifrost": "no package\nof it"},
        rewriting={"litellm"},
    )


def test_every_subject_has_a_row_that_says_how_it_was_checked_or_why_it_is_missing() -> None:
    sheet = by_title(sheets(results(), ["nginx", "litellm", "bifrost"]))["subjects"]
    assert sheet.rows == [
        ("nginx", "every byte", "-"),
        ("litellm", "status 200, complete, every piece of text in order", "one master key"),
        ("bifrost", "-", "not measured: no package of it"),
    ]


def test_what_a_peer_could_not_stand_is_told_and_is_no_failure() -> None:
    found = results()
    made = by_title(sheets(found, ["nginx", "litellm"]))
    paced = made["100 paced streams, an event every 20 ms each"]
    assert [row[:2] for row in paced.rows] == [("nginx", "FAILED"), ("litellm", "did not stand it")]
    assert found.failures == ["round 1, nginx, paced: status 500"]
    assert found.overloads == ["round 1, litellm, paced: no byte of an answer for 10 s"]
    said = remarks(found, judge(found.rounds))
    assert "FAILED round 1, nginx, paced: status 500" in said
    assert "did not stand the load: round 1, litellm, paced: no byte of an answer for 10 s" in said


def test_a_load_that_nobody_had_has_no_table() -> None:
    made = by_title(sheets(results(), ["nginx", "litellm"]))
    assert "small call, 64 clients" in made
    assert "1 MB prompt, 4 clients" not in made
