"""The loads that are put on every subject, as data.

A scenario is one kind of request and how many clients make it at once, each as soon as its last answer is complete.
Durations are seconds, a stream's period milliseconds. A stream's model name is its profile in the mock upstream.
"""

import json
import random
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Stream:
    """An SSE answer: so many content events, one every period (0: as fast as the socket takes them)."""

    chunks: int
    period_ms: int


@dataclass(frozen=True)
class Scenario:
    """One load. `direct`: it is run without a proxy too; `two_workers`: on Farebox with two workers too; `peers`: on gateways too.

    `tls`: the upstream is behind TLS, for those subjects that are set up for it.
    """

    name: str
    title: str
    model: str
    connections: int
    interval: float
    stream: Stream | None = None
    warmup: float = 0.5
    stagger: float = 0.0
    prompt_bytes: int = 64
    direct: bool = False
    two_workers: bool = False
    weighs_memory: bool = False
    peers: bool = False
    tls: bool = False

    def body(self) -> bytes:
        """Return the request: an OpenAI chat completion that does not ask for usage, as most clients do not."""
        request: dict[str, object] = {
            "model": self.model,
            "messages": [{"role": "user", "content": _prose(self.prompt_bytes)}],
            "max_tokens": 1024,
        }
        if self.stream:
            request["stream"] = True
        return json.dumps(request, separators=(",", ":")).encode()  # without spaces, as the official SDKs write it

    def profile(self) -> str | None:
        """Return the stream as the mock upstream's argument, None for a plain answer."""
        return f"{self.model}={self.stream.chunks}@{self.stream.period_ms}" if self.stream else None

    @property
    def chunks_expected_a_second(self) -> float | None:
        """Return the pace that all streams together should keep, None where nothing is paced.

        The end of a stream follows its last event at once, and the next stream begins with an event: n periods have n + 2.
        """
        if not self.stream or not self.stream.period_ms:
            return None
        periods = self.stream.chunks - 1
        return 1000 * self.connections * (periods + 2) / (periods * self.stream.period_ms)


SCENARIOS = (
    # First, because a worker that has carried load is no idle worker any more.
    Scenario(
        name="memory",
        title="1,000 open streams, an event a second each",
        model="bench-open",
        connections=1000,
        stream=Stream(chunks=30, period_ms=1000),
        stagger=2.0,
        warmup=2.5,
        interval=1.5,
        weighs_memory=True,
        peers=True,
    ),
    Scenario(
        name="memory5k",
        title="5,000 open streams, an event a second each",
        model="bench-open",
        connections=5000,
        stream=Stream(chunks=30, period_ms=1000),
        stagger=8.0,
        warmup=9.0,
        interval=1.5,
        weighs_memory=True,
    ),
    Scenario(
        name="small",
        title="small call, 64 clients",
        model="bench-small",
        connections=64,
        interval=3.0,
        direct=True,
        two_workers=True,
        peers=True,
    ),
    Scenario(
        name="one",
        title="small call, one client",
        model="bench-small",
        connections=1,
        interval=2.0,
        direct=True,
        peers=True,
    ),
    # A plain answer waits for its settlement, a stream's first event does not.
    Scenario(
        name="one-stream",
        title="short stream, one client",
        model="bench-short",
        connections=1,
        stream=Stream(chunks=8, period_ms=0),
        interval=2.0,
        direct=True,
        peers=True,
    ),
    Scenario(
        name="flat",
        title="flat-out SSE, 16 clients",
        model="bench-flat",
        connections=16,
        stream=Stream(chunks=500, period_ms=0),
        interval=3.0,
        peers=True,
    ),
    # The interval is a stream's length: every stream then has exactly one end and one start in it.
    Scenario(
        name="paced",
        title="100 paced streams, an event every 20 ms each",
        model="bench-paced",
        connections=100,
        stream=Stream(chunks=150, period_ms=20),
        stagger=0.5,
        warmup=0.7,
        interval=3.0,
        direct=True,
        peers=True,
    ),
    Scenario(
        name="prompt100k",
        title="100 KB prompt, 16 clients",
        model="bench-small",
        connections=16,
        interval=2.0,
        prompt_bytes=100_000,
        peers=True,
    ),
    Scenario(
        name="prompt",
        title="1 MB prompt, 4 clients",
        model="bench-small",
        connections=4,
        interval=2.0,
        prompt_bytes=1_000_000,
        peers=True,
    ),
    Scenario(
        name="small-tls",
        title="small call, 64 clients, the provider behind TLS",
        model="secure-small",
        connections=64,
        interval=3.0,
        tls=True,
    ),
    Scenario(
        name="flat-tls",
        title="flat-out SSE, 16 clients, the provider behind TLS",
        model="secure-flat",
        connections=16,
        stream=Stream(chunks=500, period_ms=0),
        interval=3.0,
        tls=True,
    ),
)


def shortened(scenario: Scenario) -> Scenario:
    """Return the scenario as `--quick` runs it: the same load for half the time."""
    return replace(scenario, interval=scenario.interval / 2, warmup=max(scenario.warmup / 2, scenario.stagger + 0.1))


def _prose(size: int) -> str:
    """Return so many bytes of text that is no pattern to a tokenizer; the same on every run."""
    source = random.Random(size)  # not for secrets: the text must be the same on every run
    words = ("quick", "brown", "foxes", "measure", "the", "prepaid", "credits", "of", "seven", "wizards")
    parts: list[str] = []
    length = 0
    while length < size:
        word = source.choice(words) if source.random() < 0.8 else str(source.randrange(10_000))
        parts.append(word)
        length += len(word) + 1
    return " ".join(parts)[:size]
