"""Metrics are added up where calls end, and told to the library a second later."""

from proxy.metrics import Metrics


def told(metrics: Metrics) -> dict[str, object]:
    metrics._gather()
    return {metric.name: dict(metric._pending) for metric in metrics if metric._pending}


def test_calls_that_ended_alike_are_added_up() -> None:
    metrics = Metrics()
    for charge, over in ((5, 0), (7, 2)):
        row = metrics.ended("p", "m", "completed", 200, "reported")
        row.charge_microcredits += charge
        row.overrun_microcredits += over
        row.tokens["input"] = row.tokens.get("input", 0) + 10
    metrics.ended("p", "m", "client_left", 0, "none")
    assert told(metrics) == {
        "farebox_calls_total": {("p", "m", "completed", "200"): 2, ("p", "m", "client_left", "0"): 1},
        "farebox_settlement_basis_total": {("reported",): 2, ("none",): 1},
        "farebox_tokens_total": {("p", "m", "input"): 20},
        "farebox_charged_credits_total": {("p", "m"): 12},
        "farebox_overrun_credits_total": {("p", "m"): 2},
    }
    metrics.ended("p", "m", "completed", 200, "reported")
    assert told(metrics)["farebox_calls_total"] == {
        ("p", "m", "completed", "200"): 3,
        ("p", "m", "client_left", "0"): 1,
    }, "what was gathered is not gathered again"


def test_durations_fall_into_their_buckets() -> None:
    metrics = Metrics()
    metrics.timed["p"] += [(0.0, 0.00009, None, 0.50009), (0.0, 0.0003, 0.2, 61.0003)]
    found = told(metrics)
    overhead, upstream, first_byte = (
        found[f"farebox_{name}_seconds"] for name in ("overhead", "upstream", "time_to_first_byte")
    )
    assert overhead == {(): [1.0, 0.0, 1.0, *[0.0] * 11, 0.00039]}
    assert isinstance(upstream, dict)
    assert [place for place, count in enumerate(upstream[("p",)][:-1]) if count] == [9, 16]
    assert isinstance(first_byte, dict)
    assert sum(first_byte[("p",)][:-1]) == 1
