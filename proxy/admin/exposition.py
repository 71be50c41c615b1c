"""The text that Prometheus scrapes: all processes' metrics merged, and gauges read from Redis at that moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import prometheus_client
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from prometheus_client.metrics_core import Metric


class Reading(NamedTuple):
    """One gauge, read just now."""

    name: str
    text: str
    value: float


class _Readings(Collector):
    def __init__(self, readings: Sequence[Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        for name, text, value in self._readings:
            yield GaugeMetricFamily(name, text, value=value)


def exposition(directory: Path, readings: Sequence[Reading]) -> bytes:
    """The exposition of everything that processes keep in `directory`, followed by `readings`."""
    merged = prometheus_client.CollectorRegistry()
    MultiProcessCollector(merged, path=str(directory))  # type: ignore[no-untyped-call]
    live = prometheus_client.CollectorRegistry()
    live.register(_Readings(readings))
    return prometheus_client.generate_latest(merged) + prometheus_client.generate_latest(live)
