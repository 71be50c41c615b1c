"""How stalls of the event loop are judged, and how a stack is told."""

import sys

from bench.stalls_bed import Seen, reasons
from bench.stalls_report import lines_of, sheet, verdict
from bench.watched import Turn, describe


def test_what_is_at_most_ten_milliseconds_is_within() -> None:
    assert verdict(Seen([0.1, 10.0, 9.9], [0.0] * 3, [0.1])) == "within 10 ms"


def test_what_was_late_since_others_had_the_core_is_not_the_loops() -> None:
    assert verdict(Seen([0.1, 30.0], [0.0, 20.0], [])) == "no core"


def test_what_was_late_without_that_is_ours() -> None:
    assert verdict(Seen([0.1, 30.0], [0.0, 19.0], [])) == "OVER 10 ms (waiting)"
    assert verdict(Seen([0.1, 30.0], [50.0, 19.0], [])) == "OVER 10 ms (waiting)", "each look for itself"


def test_unless_a_bare_timer_saw_it_as_long_and_as_often() -> None:
    assert verdict(Seen([0.1, 12.0], [0.0, 0.0], [0.1, 13.0])) == "no core"
    assert verdict(Seen([11.0, 12.0, 12.5], [0.0] * 3, [13.0])) == "OVER 10 ms (waiting)", "not as often"
    assert verdict(Seen([50.0], [0.0], [13.0, 13.0])) == "OVER 10 ms (waiting)", "not as long"


def test_what_the_loop_worked_for_is_ours_whatever_it_waited_for() -> None:
    assert verdict(Seen([40.0], [40.0], [80.0], [11.0])) == "OVER 10 ms"
    assert verdict(Seen([40.0], [40.0], [80.0], [9.0])) == "no core"


def test_a_row_tells_what_all_saw() -> None:
    late, waited = [0.2] * 998 + [6.0, 20.0], [0.3] * 999 + [8.0]
    row = lines_of("a load", Seen(late, waited, [0.1, 7.0], [1.0, 18.0], collections_ms=[(0, 0.5), (2, 3.0)]))
    assert row == ("a load", "20.0", "6.0", "1", "12.0", "1", "18.0", "1", "7.0", "0", "3.0", "OVER 10 ms")
    table = sheet([("a load", Seen([0.2], [0.0], [0.1]))])
    assert len(table.rows[0]) == len(table.headings)
    assert table.rows[0][-2] == "-", "no collection was timed"


def test_nothing_seen_is_no_stall() -> None:
    assert verdict(Seen([], [], [])) == "within 10 ms"


def test_only_long_ones_are_kept() -> None:
    kept = Seen([0.2, 5.0, 2.0], [0.0, 0.5, 0.0], [0.3]).as_json()
    assert kept["looks"] == 3
    assert kept["late_ms"] == [5.0, 2.0]
    assert kept["held_up_ms"] == [4.5, 2.0]
    assert kept["bare_ms"] == []


def test_a_stack_is_told_from_outside_in_without_its_middle() -> None:
    def deep(levels: int) -> str:
        return describe(sys._getframe()) if not levels else deep(levels - 1)

    told = deep(20).split(" > ")
    assert told[1] == "..."
    assert len(told) == 7
    assert all(part.startswith("tests/unit/test_bench_stalls.py:") and part.endswith(" deep") for part in told[2:])


def test_a_long_turn_is_told_by_what_filled_it() -> None:
    told = reasons(Turn(0.011, 0.02, 0.005, [(0.0012, "a > b"), (0.0102, "c")]).as_json())
    assert told == ["- 11.0 ms of CPU, late by 20.0 ms, 5.0 of them for a core", "    - 1.2: a > b", "    - 10.2: c"]
