"""What the bench makes of the counters of Farebox."""

from bench.subjects.insight import Insight, insight_figures


def test_a_stall_is_told_by_the_bound_of_its_bucket() -> None:
    before = Insight({0.001: 5, 0.01: 6, 0.05: 6, float("inf"): 6})
    after = Insight({0.001: 25, 0.01: 27, 0.05: 27, float("inf"): 27})
    assert insight_figures(before, after) == {"stall_ms": 10.0}


def test_without_any_call_there_is_no_figure() -> None:
    same = Insight({0.001: 5, float("inf"): 5})
    assert insight_figures(same, same) == {}
