"""What the bench makes of the counters of Farebox and Redis."""

from bench.subjects.insight import Insight, insight_figures


def test_scripts_are_counted_by_the_call_and_stalls_by_their_bucket() -> None:
    before = Insight(scripts=10, script_us=100, lags={0.001: 5, 0.01: 6, 0.05: 6, float("inf"): 6})
    after = Insight(scripts=30, script_us=500, lags={0.001: 25, 0.01: 27, 0.05: 27, float("inf"): 27})
    assert insight_figures(before, after) == {"scripts_us_a_call": 40.0, "stall_ms": 10.0}


def test_without_any_call_there_is_no_figure() -> None:
    same = Insight(scripts=10, script_us=100, lags={0.001: 5, float("inf"): 5})
    assert insight_figures(same, same) == {}
