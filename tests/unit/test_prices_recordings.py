"""What every recorded answer costs: our charge of its usage against exact rationals, in every dialect, at the shipped prices."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from importlib.resources import files
from urllib.parse import unquote

from proxy.core.errors import FareboxError
from proxy.core.pricing import Tariff
from proxy.core.usage import Usage
from proxy.prices.book import PriceBook, Rules
from proxy.providers.dialect import FREE, Head
from proxy.providers.registry import OPERATIONS
from tests.support.replay import Recorded, recordings
from tests.support.replay_run import upstream_of

NOW_MS = round(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp() * 1000)
PER_USD, MARKUP_PPM = 1234, 1_070_000
INPUTS = {"input", "cache_read", "cache_write_5m", "cache_write_1h", "input_audio", "cache_read_audio", "input_image", "input_video"}  # fmt: skip
# Counter -> where its rate comes from when the price has none, and how many times that.
FALLBACKS = {
    "cache_write_5m": ("input", Fraction(5, 4)), "cache_write_1h": ("input", Fraction(2)), "cache_read": ("input", Fraction(1)),
    "input_audio": ("input", Fraction(1)), "cache_read_audio": ("input", Fraction(1)), "input_image": ("input", Fraction(1)), "input_video": ("input", Fraction(1)),
    "reasoning": ("output", Fraction(1)), "output_audio": ("output", Fraction(1)), "output_image": ("output", Fraction(1)),
}  # fmt: skip
TOOLS = {"web_searches": Fraction(10_000), "file_searches": Fraction(2_500), "code_sessions": Fraction(30_000)}


def usages() -> Iterator[tuple[Recorded, str, str, Usage]]:
    """(exchange, provider of the book, model asked for, usage) of every answer that reports one."""
    for exchange in recordings():
        if not exchange.ok:
            continue
        upstream = upstream_of(exchange)
        path = exchange.path.removeprefix(upstream.base)
        for operation in OPERATIONS:
            found = next((hit for one in operation.paths if (hit := template(one.suffix).fullmatch(path))), None)
            if operation.dialect != upstream.dialect or operation.method != exchange.method or found is None:
                continue
            if operation.billing == FREE:
                break
            params = {name: unquote(value) for name, value in found.groupdict().items()}
            head = Head(params=params, query=exchange.query, content_type=exchange.request_type.encode())
            try:
                ask = operation.read(exchange.request, head)
            except FareboxError:
                break
            meter = operation.meter(ask, exchange.content_type.lower().encode())
            meter.feed(exchange.response)
            meter.finish()
            if meter.usage is not None and ask.model:
                yield exchange, upstream.name.removeprefix("gateway-").split("-")[0], ask.model, meter.usage
            break


def template(suffix: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+?)", re.escape(suffix)))


def line_of(provider: str, model: str) -> dict | None:
    """The model's line in the book's file, found by the code and read without it."""
    entry = BOOK.shipped_entry(provider, model)
    if entry is None:
        return None
    text = json.dumps(entry.model, ensure_ascii=False)
    every = files("proxy.prices").joinpath("data", "book.jsonl").read_text(encoding="utf-8").splitlines()
    same = [json.loads(line) for line in every if line.startswith(f'{{"model":{text},')]
    return next(line for line in same if line["match"] == entry.match and line.get("usd", {}) == entry.usd)


BOOK = PriceBook(Rules())


def sheet_of(line: dict) -> dict[str, str]:
    periods = line.get("periods") or [{"usd": line.get("usd", {})}]
    hours = [one for one in periods if one.get("since", "") <= "2026-11-22" and holds_at_noon(one)]
    return dict((hours or periods[:1])[-1].get("usd", {}))


def holds_at_noon(period: dict) -> bool:
    begin, end = period.get("hours", ("00:00:00", "24:00:00"))
    return begin <= "12:00:00" < end


def usd(text: str, total_input: int) -> Fraction:
    plain, *tiers = text.split(">")
    for tier in tiers:
        above, dearer = tier.split(":")
        plain = dearer if total_input > int(above) else plain
    number, _, divisor = plain.partition("/")
    return Fraction(number) / int(divisor or 1)


def exact_usd_millionths(usage: Usage, sheet: dict[str, str]) -> Fraction:
    total_input = sum(count for name, count in usage.counters.items() if name in INPUTS)
    total = usd(sheet["requests"], total_input) if "requests" in sheet else Fraction(0)
    for name, count in usage.counters.items():
        if name in sheet:
            total += count * usd(sheet[name], total_input)
        elif name in TOOLS:
            total += count * TOOLS[name]
        elif count:
            plain, times = FALLBACKS[name]
            total += count * usd(sheet[plain], total_input) * times
    return total


def test_every_recorded_usage_is_charged_exactly() -> None:
    checked: Counter[str] = Counter()
    unpriced: Counter[str] = Counter()
    for exchange, provider, model, usage in usages():
        price = BOOK.find(provider, model, NOW_MS)
        line = line_of(provider, model)
        if price is None:
            assert line is None or not sheet_of(line)
            unpriced[f"{provider}/{model}"] += 1
            continue
        assert line is not None
        exact = exact_usd_millionths(usage, sheet_of(line))
        tariff = Tariff(price, PER_USD, MARKUP_PPM)
        assert tariff.cost_nano_usd(usage) == -(-exact * 1000 // 1), (exchange.id, provider, model, usage)
        charge = -(-exact * PER_USD * Fraction(MARKUP_PPM, 10**6) // 1)
        assert tariff.charge_microcredits(usage) == charge, (exchange.id, provider, model, usage)
        checked[provider] += 1
    assert sum(checked.values()) > 700, checked
    assert len(checked) > 10, checked
    assert sorted(unpriced) == UNPRICED, sorted(unpriced)


# Models, old and of one's own servers, that genai-prices knows no price of: calls to them are refused until they are given one.
UNPRICED = [
    "bedrock/anthropic.claude-v2",
    "bedrock/moonshot.kimi-k2-thinking",
    "bedrock/nvidia.nemotron-nano-12b-v2",
    "bedrock/zai.glm-4.7-flash",
    "cohere/command-a-reasoning-08-2025",
    "crusoe/zai/GLM-5.2",
    "groq/compound-beta",
    "ollama/gpt-oss:20b",
    "ollama/qwen3:0.6b",
    "openrouter/anthropic/claude-sonnet-4-5",
    "snowflake/claude-sonnet-4-6",
    "snowflake/openai-gpt-4.1",
]
