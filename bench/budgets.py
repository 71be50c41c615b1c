"""The speed that Farebox owes, as data: three levels a figure, judged against one run. Pure.

Costs are ratios beside nginx in the same round, because absolute ones drift from machine to machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from bench.figures import Round, median, median_added, median_ratio
from bench.names import DIRECT, LEDGER, LITELLM, OURS, OURS_IN_PART, OURS_WITH_TWO_WORKERS, PORTKEY, YARDSTICK

LEVELS = ("first", "goal", "stretch")


class Against(Enum):
    """What a figure of Farebox is compared with before it is judged."""

    NOTHING = "as measured"
    NGINX = "x nginx"
    DIRECT = "added to no proxy"
    ONE_WORKER = "two workers beside one"
    LITELLM = "how many times less than LiteLLM's"
    PORTKEY = "how many times less than Portkey's"


@dataclass(frozen=True)
class Budget:
    """One figure and its bounds: the most it may be, or the least where `at_least`."""

    title: str
    scenario: str
    figure: str
    bounds: tuple[float, float, float]
    unit: str
    against: Against = Against.NOTHING
    at_least: bool = False
    unmeasured: str = ""  # why this one is missing even from a full run


@dataclass(frozen=True)
class Verdict:
    """A budget's value in one run (None: not measured) and, per level, whether it is met."""

    budget: Budget
    value: float | None
    met: tuple[bool, bool, bool] | None


_NGINX = Against.NGINX
_ONE = Against.ONE_WORKER
_PEERS_ONLY = "measured in a run with --peers"

BUDGETS = (
    Budget("CPU a small call, 64 clients", "small", "cpu_us_a_call", (15, 4.5, 2.5), "x nginx", _NGINX),
    Budget(
        "CPU a small call, LiteLLM's divided by ours",
        "small",
        "cpu_us_a_call",
        (1, 80, 100),
        "x",
        Against.LITELLM,
        at_least=True,
        unmeasured=_PEERS_ONLY,
    ),
    Budget(
        "CPU a small call, Portkey's divided by ours",
        "small",
        "cpu_us_a_call",
        (1, 8, 8),
        "x",
        Against.PORTKEY,
        at_least=True,
        unmeasured=_PEERS_ONLY,
    ),
    Budget("calls a second on one core", "small", "calls_a_second", (2_500, 10_000, 20_000), "/s", at_least=True),
    Budget("CPU a chunk, 100 paced streams", "paced", "cpu_us_a_chunk", (3.5, 2, 1.4), "x nginx", _NGINX),
    Budget("CPU a chunk, flat out", "flat", "cpu_us_a_chunk", (2, 1.3, 1.1), "x nginx", _NGINX),
    Budget("added to first byte, one client, p50", "one", "first_byte_p50_ms", (1.5, 0.5, 0.3), "ms", Against.DIRECT),
    Budget("added to first byte, one client, p99", "one", "first_byte_p99_ms", (4, 1.5, 0.8), "ms", Against.DIRECT),
    Budget("the same of a stream, p50", "one-stream", "first_byte_p50_ms", (1.5, 0.5, 0.3), "ms", Against.DIRECT),
    Budget("the same of a stream, p99", "one-stream", "first_byte_p99_ms", (4, 1.5, 0.8), "ms", Against.DIRECT),
    Budget("memory of an idle worker", "memory", "idle_mb", (90, 60, 50), "MB"),
    Budget("memory a stream", "memory", "kb_a_stream", (40, 20, 8), "KB"),
    Budget("CPU of a 1 MB prompt", "prompt", "cpu_us_a_call", (3, 1.6, 1.3), "x nginx", _NGINX),
    Budget("event loop's longest stall", "small", "stall_ms", (50, 10, 5), "ms"),
    Budget("Redis CPU, both scripts of a call, Redis busy", LEDGER, "scripts_us_a_call", (60, 35, 25), "us"),
    Budget("the same, Redis waiting for its client half of the time", LEDGER, "waiting_us_a_call", (60, 35, 25), "us"),
    Budget(
        "two workers on two cores (or two thirds of one) / one on one (a third)",
        "small",
        "calls_a_second",
        (1.6, 1.8, 1.9),
        "x",
        _ONE,
        at_least=True,
    ),
)


def judge(rounds: Sequence[Round]) -> list[Verdict]:
    """Return a verdict for every budget, from medians over the rounds."""
    return [_judge(budget, _value(budget, rounds)) for budget in BUDGETS]


def _value(budget: Budget, rounds: Sequence[Round]) -> float | None:
    match budget.against:
        case Against.NGINX:
            return median_ratio(rounds, budget.scenario, budget.figure, (OURS, YARDSTICK))
        case Against.DIRECT:
            return median_added(rounds, budget.scenario, budget.figure, (OURS, DIRECT))
        case Against.ONE_WORKER:
            in_part = median(rounds, OURS_IN_PART, budget.scenario, budget.figure)
            one = OURS if in_part is None else OURS_IN_PART
            return median_ratio(rounds, budget.scenario, budget.figure, (OURS_WITH_TWO_WORKERS, one))
        case Against.LITELLM | Against.PORTKEY:
            peer = LITELLM if budget.against is Against.LITELLM else PORTKEY
            return median_ratio(rounds, budget.scenario, budget.figure, (peer, OURS))
        case Against.NOTHING:
            return median(rounds, OURS, budget.scenario, budget.figure)


def _judge(budget: Budget, value: float | None) -> Verdict:
    if value is None:
        return Verdict(budget, None, None)
    first, goal, stretch = (value >= bound if budget.at_least else value <= bound for bound in budget.bounds)
    return Verdict(budget, value, (first, goal, stretch))
