"""What Farebox says of itself during a load: stalls of the event loop, which its workers notice by how late a timer fires."""

import time
import urllib.request
from dataclasses import dataclass

_LAG = "farebox_event_loop_lag_seconds_bucket"
_FLUSHED_S = 1.2  # workers write their metrics every second


@dataclass(frozen=True)
class Insight:
    """Counters at one moment: `lags` are stalls counted up to each bound in seconds."""

    lags: dict[float, float]


def look(admin_port: int, token: str) -> Insight:
    """Read the counters as they are a moment after the load."""
    time.sleep(_FLUSHED_S)  # what the load counted is in the files only then
    address = f"http://127.0.0.1:{admin_port}/metrics"
    request = urllib.request.Request(address, headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return Insight(_lags(answer.read().decode()))


def insight_figures(before: Insight, after: Insight) -> dict[str, float]:
    """Return `stall_ms`, the upper bound of the longest stall's bucket."""
    grown = {bound: count - before.lags.get(bound, 0.0) for bound, count in after.lags.items()}
    if not grown or not (most := max(grown.values())):
        return {}
    return {"stall_ms": 1000 * min(bound for bound, count in grown.items() if count == most)}


def _lags(text: str) -> dict[float, float]:
    """The cumulative buckets of a Prometheus histogram without other labels."""
    found = {}
    for line in text.splitlines():
        if line.startswith(_LAG + '{le="'):
            bound, _, count = line.removeprefix(_LAG + '{le="').partition('"} ')
            found[float(bound)] = float(count)
    return found
