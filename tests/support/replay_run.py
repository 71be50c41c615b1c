"""Replaying recordings through a running Farebox: the configuration, the client's side, and the verdict on each exchange.

A client sends the recorded bytes to `/{provider}/...`. It must get the recorded status and bytes, and the call must leave
one usage record with the provider's own totals, or none for the reason that `expected_record` states.
"""

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from tests.support.installation import Installation
from tests.support.replay import Recorded, Replayer
from tests.support.replay_totals import COUNT, RESPONSES, Totals, bills_more, family_of, totals_of

AT_ONCE = 12
CREDITS = "1000000000"
ACCOUNT = "replay"
MOST_RECORDS = 10_000


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider of the recordings: its name in the configuration, its dialect, and the path of its base URL."""

    name: str
    dialect: str
    base: str = ""


# Host, or host and the beginning of the path -> provider.
UPSTREAMS: Mapping[str, Upstream] = {
    "api.openai.com": Upstream("openai", "openai", "/v1"),
    "api.anthropic.com": Upstream("anthropic", "anthropic"),
    "generativelanguage.googleapis.com": Upstream("gemini", "gemini"),
    "aiplatform.googleapis.com": Upstream("vertex", "vertex"),
    "europe-west4-aiplatform.googleapis.com": Upstream("vertex-eu", "vertex"),
    "bedrock-runtime.us-east-1.amazonaws.com": Upstream("bedrock", "bedrock"),
    "bedrock-runtime.us-east-2.amazonaws.com": Upstream("bedrock-2", "bedrock"),
    "bedrock-mantle.us-east-1.api.aws": Upstream("bedrock-mantle", "openai", "/openai/v1"),
    "api.groq.com": Upstream("groq", "openai", "/openai/v1"),
    "api.mistral.ai": Upstream("mistral", "openai", "/v1"),
    "api.cohere.com": Upstream("cohere", "cohere"),
    "api.deepseek.com": Upstream("deepseek", "openai"),
    "api.z.ai": Upstream("zai", "openai", "/api/paas/v4"),
    "api.voyageai.com": Upstream("voyage", "openai", "/v1"),
    "api.cerebras.ai": Upstream("cerebras", "openai", "/v1"),
    "openrouter.ai": Upstream("openrouter", "openai", "/api/v1"),
    "router.huggingface.co/nebius": Upstream("huggingface-nebius", "openai", "/nebius/v1"),
    "router.huggingface.co/novita": Upstream("huggingface-novita", "openai", "/novita/v3/openai"),
    "router.huggingface.co/together": Upstream("huggingface", "openai", "/together/v1"),
    "pydantic-ai-realtime-dev.openai.azure.com": Upstream("azure", "azure"),
    "localhost:11434": Upstream("ollama", "openai", "/v1"),
    "ollama.com": Upstream("ollama", "openai", "/v1"),
    "api.inference.crusoecloud.com": Upstream("crusoe", "openai", "/v1"),
    "myorg-myaccount.snowflakecomputing.com": Upstream("snowflake", "openai", "/api/v2/cortex/v1"),
    "localhost:8787/anthropic": Upstream("gateway-anthropic", "anthropic", "/anthropic"),
    "localhost:8787/bedrock": Upstream("gateway-bedrock", "bedrock", "/bedrock"),
    "localhost:8787/google-vertex": Upstream("gateway-vertex", "vertex", "/google-vertex"),
    "localhost:8787/groq": Upstream("gateway-groq", "openai", "/groq/openai/v1"),
}

_PROVIDER = """
[providers.{name}]
dialect = "{dialect}"
base_url = "{url}{base}"
api_key = "replayed-key-canary-{name}"
models = ["*"]
"""
_PRICES = """
[prices."*"]
input = "1.00"
cache_read = "0.10"
cache_write_5m = "1.25"
cache_write_1h = "2.00"
output = "2.00"
web_searches = "10000"
"""
_REMOVED = re.compile(rb"\[removed\]")


def upstream_of(exchange: Recorded) -> Upstream:
    """The provider that an exchange was recorded with."""
    first = exchange.path.split("/")[1]
    return UPSTREAMS.get(f"{exchange.host}/{first}") or UPSTREAMS[exchange.host]


def configuration(url: str, names: Iterable[str]) -> str:
    """Sections for every provider by these names, all of them at the replayer's address."""
    known = {upstream.name: upstream for upstream in UPSTREAMS.values()}
    providers = [
        _PROVIDER.format(name=name, dialect=known[name].dialect, base=known[name].base, url=url)
        for name in sorted(set(names))
    ]
    return "".join([*providers, _PRICES])


@dataclass(slots=True)
class Verdict:
    """How one exchange came through. `problems` is empty where everything is as it must be."""

    exchange: Recorded
    provider: str
    family: str
    status: int = 0
    body: bytes = b""
    record: dict[str, Any] | None = None
    records: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def bytes_equal(self) -> bool:
        return self.status == self.exchange.status and same_bytes(self.body, self.exchange)

    @property
    def usage_equal(self) -> bool:
        return not [problem for problem in self.problems if not problem.startswith("answer")]

    @property
    def reason(self) -> str | None:
        """Why the record has no usage of the provider's, where it has none."""
        return no_usage_reason(self.exchange)


def same_bytes(body: bytes, exchange: Recorded) -> bool:
    """The recorded bytes; of an error, those around what is removed of keys and organisations."""
    if body == exchange.response:
        return True
    if exchange.ok or b"[removed]" not in body:
        return False
    kept = [re.escape(part) for part in _REMOVED.split(body)]
    return re.fullmatch(rb"[\w*.-]+".join(kept), exchange.response) is not None


def no_usage_reason(exchange: Recorded) -> str | None:
    """The one reason why an exchange rightly has no usage, by what the provider's documentation says; None: it has one."""
    if not exchange.ok:
        return "refused by the provider"
    if family_of(exchange) == COUNT:
        return "counting is free"
    if exchange.method == "GET":
        return "fetched again: the call that made it is charged"
    if totals_of(exchange) is not None:
        return None
    if _is_queued(exchange):
        return "still queued: charged when it is fetched"
    if exchange.sse and b'{"error":' in exchange.response.replace(b'{"error" :', b'{"error":'):
        return "an error inside the stream, and no usage before it"
    return "unexplained"


def _is_queued(exchange: Recorded) -> bool:
    return (
        family_of(exchange) == RESPONSES
        and not exchange.sse
        and json.loads(exchange.response).get("status") in {"queued", "in_progress"}
    )


def differences(record: dict[str, Any], expected: Totals) -> list[str]:
    """What of a usage record is not the provider's own figure."""
    usage = record["usage"]
    found = {
        "input": record["input_tokens"],
        "output": record["output_tokens"],
        "cache_read": sum(usage.get(name, 0) for name in ("cache_read", "cache_read_audio")),
        "cache_write": sum(usage.get(name, 0) for name in ("cache_write_5m", "cache_write_1h")),
        "reasoning": usage.get("reasoning", 0),
        "web_searches": usage.get("web_searches", 0),
    }
    return [f"{name} {found[name]} instead of {figure}" for name, figure in expected.items() if found[name] != figure]


async def replay_all(farebox: Installation, key: str, exchanges: Iterable[Recorded]) -> list[Verdict]:
    """Sends every exchange's request, a dozen at once."""
    gate = asyncio.Semaphore(AT_ONCE)
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def one(exchange: Recorded) -> Verdict:
            async with gate:
                return await _send(session, farebox.url, key, exchange)

        return list(await asyncio.gather(*(one(exchange) for exchange in exchanges)))


async def _send(session: aiohttp.ClientSession, url: str, key: str, exchange: Recorded) -> Verdict:
    provider = upstream_of(exchange).name
    query = f"?{exchange.query}" if exchange.query else ""
    target = URL(f"{url}/{provider}{exchange.path}{query}", encoded=True)
    headers = {
        "authorization": f"Bearer {key}",
        "content-type": exchange.request_type,
        "traceparent": f"00-{exchange.trace_id}-{'1' * 16}-01",
    }
    body = exchange.request or None
    verdict = Verdict(exchange, provider, family_of(exchange))
    try:
        async with session.request(exchange.method, target, data=body, headers=headers) as answer:
            verdict.status = answer.status
            verdict.body = await answer.read()
    except aiohttp.ClientError as error:
        verdict.problems.append(f"answer: {error.__class__.__name__}")
    return verdict


def judge(verdicts: Iterable[Verdict], rows: Iterable[Mapping[str, Any]], complaints: Mapping[str, str]) -> None:
    """Fills in what is wrong with each exchange, by the usage records and by what arrived at the upstream."""
    by_trace: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_trace.setdefault(str(row["trace_id"]), []).append(row)
    for verdict in verdicts:
        exchange = verdict.exchange
        found = by_trace.get(exchange.trace_id, [])
        verdict.records = len(found)
        verdict.record = dict(found[0]) if found else None
        if verdict.status != exchange.status:
            verdict.problems.append(
                f"answer: status {verdict.status} instead of {exchange.status}: {verdict.body[:200]!r}"
            )
        elif not verdict.bytes_equal:
            verdict.problems.append("answer: other bytes")
        if exchange.id in complaints:
            verdict.problems.append(f"answer: forwarded {complaints[exchange.id]}")
        verdict.problems += _record_problems(verdict)


def _record_problems(verdict: Verdict) -> list[str]:
    exchange, record = verdict.exchange, verdict.record
    expected = totals_of(exchange)
    if _is_queued(exchange):
        return [] if verdict.records == 0 else [f"{verdict.records} usage records before it was fetched"]
    if record is None or verdict.records != 1:
        return [f"{verdict.records} usage records"]
    if expected is None or verdict.reason is not None:
        charged = record["charge_microcredits"]
        if verdict.reason == "unexplained":
            return ["no usage, and no reason"]
        return [f"charged {charged} microcredits, though {verdict.reason}"] if charged else []
    wrong = differences(record, expected)
    basis = "hold" if bills_more(exchange) else "reported"
    if record["settlement_basis"] != basis:
        wrong.append(f"settled on {record['settlement_basis']}")
    if not record["charge_microcredits"] and any(expected.values()) and ":free" not in record["model"]:
        wrong.append("free")
    return wrong


def table(verdicts: Iterable[Verdict]) -> str:
    """By provider and family: exchanges, the same bytes back, the provider's totals, and why there are none."""
    rows: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        rows.setdefault((verdict.provider, verdict.family), []).append(verdict)
    lines = [f"{'provider':<20} {'family':<10} {'sent':>5} {'bytes':>6} {'usage':>6} {'none':>5}  reasons"]
    for (provider, family), group in sorted(rows.items()):
        same, usage = sum(v.bytes_equal for v in group), sum(v.usage_equal and v.reason is None for v in group)
        reasons = Counter(v.reason for v in group if v.reason is not None and v.usage_equal)
        words = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        lines.append(f"{provider:<20} {family:<10} {len(group):>5} {same:>6} {usage:>6} {reasons.total():>5}  {words}")
    return "\n".join(lines)


def show(verdicts: Iterable[Verdict]) -> None:
    """Prints the table; pytest shows it with `-s`, and where a test fails."""
    sys.stdout.write(f"\n{table(verdicts)}\n")


def run(directory: Path, exchanges: tuple[Recorded, ...], *, split: bool, seed: int = 0) -> list[Verdict]:
    """A Farebox of its own for these exchanges; returns the judged verdicts."""
    return asyncio.run(_run(directory, exchanges, split=split, seed=seed))


async def _run(directory: Path, exchanges: tuple[Recorded, ...], *, split: bool, seed: int) -> list[Verdict]:
    names = sorted({upstream_of(exchange).name for exchange in exchanges})
    async with Replayer(exchanges, split=split, seed=seed) as upstream:
        extra = configuration(upstream.url, names)
        # Stored responses, files and containers were made outside the recordings.
        farebox = Installation(directory, upstream.url, extra=extra)
        with farebox:
            key = farebox.account(ACCOUNT, CREDITS)
            verdicts = await replay_all(farebox, key, exchanges)
            open_ = sum(_is_queued(exchange) for exchange in exchanges)
            rows = _records(farebox, len(upstream.answered) - open_)
            farebox.audit()
    judge(verdicts, rows, upstream.complaints)
    return verdicts


def _records(farebox: Installation, forwarded: int) -> list[dict[str, Any]]:
    """All usage records, once there are as many as calls were forwarded; what is missing then is each verdict's to say."""
    try:
        return farebox.usage(ACCOUNT, forwarded, limit=MOST_RECORDS)
    except AssertionError:
        return farebox.usage(ACCOUNT, limit=MOST_RECORDS)
