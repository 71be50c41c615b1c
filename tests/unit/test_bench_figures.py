"""Figures of the bench: costs are divided by what was completed, ratios taken within a round before the median."""

from dataclasses import replace

import pytest

from bench.figures import Round, load_figures, median, median_added, median_ratio, memory_figures
from bench.generator import Load, Percentiles
from bench.processes import Memory
from bench.scenarios import SCENARIOS, Stream

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
LOAD = Load(
    seconds=2.0,
    calls=1000,
    events=0,
    bytes=1,
    latency=Percentiles(1000, 1500.0, 9000.0, 9900.0, 1600.0),
    first_byte=None,
    lateness=None,
    cpu_ns={1: 1_000_000_000, 2: 500_000_000, 3: 30_000_000, 9: 8_000_000},
    own_cpu_ns=4_000_000,
    machine_cpu_ns=1_742_000_000,
)


def rounds(*pairs: tuple[float, float]) -> list[Round]:
    return [Round({("a", "small"): {"x": ours}, ("b", "small"): {"x": theirs}}) for ours, theirs in pairs]


def test_cpu_of_all_workers_is_divided_by_completed_calls() -> None:
    figures = load_figures(LOAD, BY_NAME["small"], workers=(1, 2), beside={"redis": 3}, upstream=9)
    assert figures["cpu_us_a_call"] == pytest.approx(1500)
    assert figures["redis_us_a_call"] == pytest.approx(30)
    assert figures["upstream_us_a_call"] == pytest.approx(8)
    assert figures["generator_us_a_call"] == pytest.approx(4)
    assert figures["calls_a_second"] == pytest.approx(500)
    assert figures["busy"] == pytest.approx(0.375)
    assert figures["foreign"] == pytest.approx(0.1)
    assert figures["latency_p99_ms"] == pytest.approx(9)
    assert "cpu_us_a_chunk" not in figures


def test_a_stream_costs_by_the_chunk_and_tells_whether_its_pace_was_kept() -> None:
    scenario = replace(BY_NAME["paced"], connections=100, stream=Stream(chunks=101, period_ms=20))
    figures = load_figures(replace(LOAD, events=9180), scenario, workers=(1,), beside={}, upstream=9)
    assert figures["cpu_us_a_chunk"] == pytest.approx(1e9 / 9180 / 1000)
    assert figures["pace"] == pytest.approx(0.9)  # in two seconds 100 streams end and begin, beside their 10,000 events
    assert "cpu_us_a_call" not in figures


def test_memory_a_stream_is_what_streams_added() -> None:
    figures = memory_figures(Memory(50 << 20, 40 << 20), Memory(70 << 20, 60 << 20), streams=1024)
    assert figures == {"idle_mb": 50, "idle_pss_mb": 40, "kb_a_stream": 20}


def test_a_ratio_is_taken_within_each_round() -> None:
    drifting = rounds((10, 1), (200, 20), (33, 3))
    assert median_ratio(drifting, "small", "x", ("a", "b")) == 10
    assert median_added(drifting, "small", "x", ("a", "b")) == 30
    assert median(drifting, "a", "small", "x") == 33


def test_what_was_not_measured_has_no_figure() -> None:
    assert median(rounds((1, 1)), "a", "flat", "x") is None
    assert median_ratio(rounds((1, 0)), "small", "x", ("a", "b")) is None
    assert median_added([], "small", "x", ("a", "b")) is None
