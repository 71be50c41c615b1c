"""What Farebox and its Redis say of themselves during a load: time in the ledger's scripts, stalls of the event loop.

Redis counts the microseconds that it spends in scripts, everything that they call included; reading from and writing to
sockets and the append-only file are not in it. Farebox's workers notice how late a timer fires, in buckets.
"""

import time
import urllib.request
from dataclasses import dataclass

import redis

_LAG = "farebox_event_loop_lag_seconds_bucket"
_FLUSHED_S = 1.2  # workers write their metrics every second
_SCRIPTS_A_CALL = 2  # hold and settle


@dataclass(frozen=True)
class Insight:
    """Counters at one moment: `lags` are stalls counted up to each bound in seconds."""

    scripts: int
    script_us: int
    lags: dict[float, float]


def look(redis_port: int, admin_port: int, token: str) -> Insight:
    """Read the counters as they are a moment after the load."""
    time.sleep(_FLUSHED_S)
    with redis.Redis(port=redis_port) as client:
        scripts = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0, "usec": 0})
    address = f"http://127.0.0.1:{admin_port}/metrics"
    request = urllib.request.Request(address, headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return Insight(scripts["calls"], scripts["usec"], _lags(answer.read().decode()))


def insight_figures(before: Insight, after: Insight) -> dict[str, float]:
    """Return `scripts_us_a_call`, and `stall_ms`: the upper bound of the longest stall's bucket."""
    figures = {}
    if scripts := after.scripts - before.scripts:
        figures["scripts_us_a_call"] = _SCRIPTS_A_CALL * (after.script_us - before.script_us) / scripts
    grown = {bound: count - before.lags.get(bound, 0.0) for bound, count in after.lags.items()}
    if grown and (most := max(grown.values())):
        figures["stall_ms"] = 1000 * min(bound for bound, count in grown.items() if count == most)
    return figures


def _lags(text: str) -> dict[float, float]:
    """The cumulative buckets of a Prometheus histogram without other labels."""
    found = {}
    for line in text.splitlines():
        if line.startswith(_LAG + '{le="'):
            bound, _, count = line.removeprefix(_LAG + '{le="').partition('"} ')
            found[float(bound)] = float(count)
    return found
