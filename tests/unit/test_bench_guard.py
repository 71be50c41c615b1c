"""What the guard says of a call's price, and when it warns."""

import sys
from types import CodeType

import pytest

from bench.guard import STORED
from bench.guard_report import Counts, Found, differences, per_call, table
from bench.inside import name_of


def found(python: float, c: float = 100.0, ratio: float | None = 4.0, **names: float) -> Found:
    return Found(10.0, 40.0, ratio, {"3.11": Counts(python, c, names)})


def cells(now: Found, then: Found) -> list[list[str]]:
    shown, _ = table(now, then)
    return [list(column.cells) for column in shown.columns]


def test_both_figures_stand_beside_what_is_stored() -> None:
    _, now, then, change = cells(found(220.0), found(200.0, ratio=5.0))
    assert now == ["10.0, 40.0", "4.00", "220.0", "100.0"]
    assert then == ["10.0, 40.0", "5.00", "200.0", "100.0"]
    assert change == ["", "-20.0%", "+10.0%", "+0.0%"]


@pytest.mark.parametrize(("functions", "warned"), [(200.0, False), (220.0, False), (221.0, True), (150.0, False)])
def test_it_warns_above_a_tenth_more_functions(functions: float, warned: bool) -> None:
    _, said = table(found(functions), found(200.0))
    assert [line.startswith("WARNING") for line in said] == [True] * warned


def test_it_never_warns_of_a_time() -> None:
    assert table(found(200.0, ratio=40.0), found(200.0, ratio=4.0))[1] == []


def test_it_warns_of_instructions_of_the_same_build() -> None:
    then, more = (Found(instructions={"3.11.7 on x86_64": count}) for count in (500_000, 560_000))
    assert [line[:15] for line in table(more, then)[1]] == ["WARNING: +12% i"]
    assert not table(then, more)[1]
    other = Found(instructions={"3.11.2 on x86_64": 900_000})
    assert [line[:17] for line in table(other, then)[1]] == ["nothing is stored"]


def test_another_version_of_python_is_not_compared() -> None:
    other = Found(None, None, None, {"3.13": Counts(900.0, 900.0)})
    _, said = table(other, found(200.0))
    assert said == ["nothing is stored for Python 3.13 (python -m bench.guard --store keeps this run)"]


def test_what_was_not_measured_is_a_dash() -> None:
    _, now, _, change = cells(Found(counts={"3.11": Counts(200.0, 100.0)}), found(200.0))
    assert now[:2] == ["-", "-"]
    assert change[1] == "-"


def test_the_functions_that_make_a_change_are_named_largest_first() -> None:
    then = found(200.0, **{"python a": 3.0, "python b": 1.0, "c c": 2.0})
    now = found(212.0, **{"python a": 5.0, "c c": 1.0, "python new": 10.0, "python b": 1.2})
    assert list(differences(now, then)) == ["+10.0 a call: python new", "+2.0 a call: python a", "-1.0 a call: c c", "-1.0 a call: python b"][:3]  # fmt: skip


def test_a_hundredth_is_not_worth_a_line() -> None:
    assert not list(differences(found(202.0, **{"python a": 3.0}), found(200.0, **{"python a": 1.0})))


def test_counts_are_a_call_and_rare_functions_have_no_name() -> None:
    counts = per_call({"python": {"often": 120, "rare": 10}, "c": {"len": 80}}, 40)
    assert counts == Counts(3.2, 2.0, {"python often": 3.0, "c len": 2.0})


def test_storing_keeps_what_was_not_measured_this_time() -> None:
    older = found(200.0, ratio=4.0)
    kept = Found(counts={"3.13": Counts(1.0, 1.0)}).over(older)
    assert kept.ratio == 4.0
    assert set(kept.counts) == {"3.11", "3.13"}
    assert Found.from_json(kept.as_json()) == kept


def test_what_is_stored_can_be_read() -> None:
    assert STORED.exists()


def test_a_function_has_the_same_name_on_every_machine() -> None:
    def here() -> CodeType:
        return sys._getframe().f_code

    assert (
        name_of(here())
        == "tests/unit/test_bench_guard.py:test_a_function_has_the_same_name_on_every_machine.<locals>.here"
    )
    assert name_of(pytest.main.__code__).startswith("config/__init__.py:main"), "two parts of a path elsewhere"
