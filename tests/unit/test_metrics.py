"""Metrics are added up where calls end, and told to the library a second later."""

import asyncio
from functools import partial

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry

from proxy import tasks
from proxy.app import _flusher
from proxy.metrics import Metrics
from tests.support.turns import counted_turns


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """What the library was told, in a registry of the test's own."""
    own = CollectorRegistry()
    for name in ("Counter", "Histogram"):
        monkeypatch.setattr(prometheus_client, name, partial(getattr(prometheus_client, name), registry=own))
    return own


def end_call(metrics: Metrics, number: int) -> None:
    model = f"m{number % 50}"
    metrics.ended("p", model, "completed", 200, "reported").tokens["input"] += 3
    metrics.timed["p"].append((0.0, 0.001, 0.5, 1.0))


def sums(registry: CollectorRegistry) -> dict[str, float]:
    """What of the calls reached the library: how many by each way on which they are counted, and their tokens."""
    names = {
        "farebox_calls_total",
        "farebox_settlement_basis_total",
        "farebox_tokens_total",
        "farebox_overhead_seconds_count",
        "farebox_upstream_seconds_count",
    }
    found = dict.fromkeys(names, 0.0)
    for metric in registry.collect():
        for sample in metric.samples:
            if sample.name in found:
                found[sample.name] += sample.value
    return found


def sums_of(calls: int) -> dict[str, float]:
    return {
        "farebox_calls_total": calls,
        "farebox_settlement_basis_total": calls,
        "farebox_tokens_total": 3 * calls,
        "farebox_overhead_seconds_count": calls,
        "farebox_upstream_seconds_count": calls,
    }


def told(metrics: Metrics) -> dict[str, object]:
    for _ in metrics._gather():
        pass
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


def test_calls_that_end_between_the_steps_of_a_flush_are_counted_once(registry: CollectorRegistry) -> None:
    metrics, calls = Metrics(), 2000
    for number in range(calls):
        end_call(metrics, number)
    for _ in metrics.steps():
        end_call(metrics, calls)
        calls += 1
    assert calls > 2100, "a flush of 50 models is many steps"
    metrics.flush()
    assert sums(registry) == sums_of(calls)
    metrics.flush()
    assert sums(registry) == sums_of(calls)


def test_two_flushes_at_once_write_everything_once(registry: CollectorRegistry) -> None:
    metrics = Metrics()
    for number in range(1000):
        end_call(metrics, number)
    first = metrics.steps()
    next(first)
    for number in range(1000):
        end_call(metrics, number)
    metrics.flush()
    assert len(list(first)) > 50, "what the first one had taken over was still its own"
    assert sums(registry) == sums_of(2000)


async def test_the_loop_turns_during_a_flush(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "TURN_S", 0.0)
    metrics = Metrics()
    for number in range(1000):
        end_call(metrics, number)
    _, turns = await counted_turns(_flusher(metrics)())
    assert turns > 100
    assert sums(registry) == sums_of(1000)


async def test_a_flush_that_is_cancelled_writes_what_it_has_taken_over(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "TURN_S", 0.0)
    metrics = Metrics()
    for number in range(1000):
        end_call(metrics, number)
    flush = asyncio.gather(_flusher(metrics)())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not flush.done()
    flush.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flush
    metrics.flush()
    assert sums(registry) == sums_of(1000)
