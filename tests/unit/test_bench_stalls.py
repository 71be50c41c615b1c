"""How stalls of the event loop are judged, and how a stack is told."""

import sys

from bench.stalls_bed import Seen, reason
from bench.stalls_report import lines_of, sheet, verdict
from bench.watched import describe


def test_what_is_at_most_ten_milliseconds_is_within() -> None:
    assert verdict(Seen([0.1, 10.0, 9.9], [0.1])) == "within 10 ms"


def test_what_a_bare_timer_saw_as_long_and_as_often_is_the_machines() -> None:
    assert verdict(Seen([0.1, 12.0], [0.1, 13.0])) == "the machine's"


def test_what_a_bare_timer_did_not_see_is_ours() -> None:
    assert verdict(Seen([0.1, 12.0], [0.1, 9.0])) == "OVER 10 ms (waiting)"
    assert verdict(Seen([11.0, 12.0, 12.5], [13.0])) == "OVER 10 ms (waiting)", "not as often"
    assert verdict(Seen([50.0], [13.0, 13.0])) == "OVER 10 ms (waiting)", "not as long"


def test_what_the_loop_worked_for_is_ours_whatever_the_machine_did() -> None:
    assert verdict(Seen([40.0], [80.0], [11.0])) == "OVER 10 ms"
    assert verdict(Seen([40.0], [80.0], [9.0])) == "the machine's"


def test_a_row_tells_what_both_saw() -> None:
    row = lines_of("a load", Seen([0.2] * 998 + [6.0, 20.0], [0.1, 7.0], [1.0, 18.0], [], [(0, 0.5), (2, 3.0)]))
    assert row == ("a load", "20.0", "6.0", "1", "18.0", "1", "7.0", "0", "3.0", "OVER 10 ms")
    table = sheet([("a load", Seen([0.2], [0.1]))])
    assert len(table.rows[0]) == len(table.headings)
    assert table.rows[0][-2] == "-", "no collection was timed"


def test_nothing_seen_is_no_stall() -> None:
    assert verdict(Seen([], [])) == "within 10 ms"


def test_only_long_ones_are_kept() -> None:
    kept = Seen([0.2, 5.0, 2.0], [0.3]).as_json()
    assert kept["looks"] == 3
    assert kept["late_ms"] == [5.0, 2.0]
    assert kept["bare_ms"] == []


def test_a_stack_is_told_from_outside_in_without_its_middle() -> None:
    def deep(levels: int) -> str:
        return describe(sys._getframe()) if not levels else deep(levels - 1)

    told = deep(20).split(" > ")
    assert told[1] == "..."
    assert len(told) == 7
    assert all(part.startswith("tests/unit/test_bench_stalls.py:") and part.endswith(" deep") for part in told[2:])
    assert "looks): a > b" in reason({"late_ms": 12.0, "seen": 2, "stack": "a > b"})
