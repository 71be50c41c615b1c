"""Charges against an independent calculation with exact rationals: every model of the book, and the recordings' own usage."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from importlib.resources import files

import pytest
from genai_prices.data import providers

from proxy.core.pricing import Tariff
from proxy.core.usage import Usage
from proxy.prices.book import PriceBook, Rules
from proxy.providers.anthropic_messages import Messages
from proxy.providers.dialect import JSON
from proxy.providers.openai_chat import ChatCompletions
from tests.support.recordings import Exchange, anthropic_messages, openai_chat

NOW_MS = round(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp() * 1000)
TODAY, CLOCK = "2026-11-22", "12:00:00"
BOOK = PriceBook(Rules())
INPUTS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "input_audio", "cache_read_audio", "input_image", "input_video")  # fmt: skip


def lines() -> Iterator[tuple[str, dict]]:
    """(provider, line) of the book's file, read without the code that is tested."""
    provider = ""
    for text in files("proxy.prices").joinpath("data", "book.jsonl").read_text(encoding="utf-8").splitlines()[1:]:
        line = json.loads(text)
        provider = line.get("provider", provider)
        if "model" in line:
            yield provider, line


def in_force(period: dict) -> bool:
    begin, end = period.get("hours", ("00:00:00", "24:00:00"))
    return period.get("since", "") <= TODAY and begin <= CLOCK < end


def sheet(line: dict, tier: str | None) -> dict[str, str]:
    periods = line.get("periods") or [{"usd": line.get("usd", {})}]
    usd = ([one for one in periods if in_force(one)] or periods[:1])[-1].get("usd", {})
    for change in reversed(line.get("service", {}).get(tier, [])):
        usd = {**usd, **change["usd"]} if in_force(change) else usd
    return usd


def rate(text: str, total_input: int) -> Fraction:
    plain, *tiers = text.split(">")
    for tier in tiers:
        above, usd = tier.split(":")
        plain = usd if total_input > int(above) else plain
    number, _, divisor = plain.partition("/")
    return Fraction(number) / int(divisor or 1)


@pytest.mark.parametrize("seed", range(4))
def test_every_charge_is_the_exact_one_rounded_up(seed: int) -> None:
    dice = random.Random(seed)
    checked = 0
    for provider, line in lines():
        entry = next(one for one in BOOK.shipped.entries(provider) if one.model == line["model"])
        price = BOOK.named_price(provider, entry, NOW_MS)
        if price is None:
            assert not sheet(line, None)
            continue
        for tier in (None, *line.get("service", {})):
            usd = sheet(line, tier)
            top = dice.choice((10, 100_000, 10**6))
            named = [name for name in usd if name != "requests"]
            counters = {name: dice.randint(0, top) for name in named if dice.random() < 0.7}
            billed = {
                name: max(count, line.get("minimum", {}).get(name, 0)) if count else 0
                for name, count in counters.items()
            }
            total = sum(count for name, count in billed.items() if name in INPUTS)
            millionths = sum((rate(usd[name], total) * count for name, count in billed.items()), Fraction(0))
            millionths += rate(usd["requests"], total) if "requests" in usd else 0
            per_usd, markup_ppm = dice.randint(1, 10**5), dice.randint(1, 5 * 10**6)
            tariff = Tariff(price, per_usd, markup_ppm)
            assert tariff.cost_nano_usd(Usage(counters), tier) == -(-millionths * 1000 // 1)
            exact = millionths * per_usd * Fraction(markup_ppm, 10**6)
            assert tariff.charge_microcredits(Usage(counters), tier) == -(-exact // 1)
            checked += 1
    assert checked > 2000


HOSTS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "openrouter.ai": "openrouter",
    "api.cerebras.ai": "cerebras",
}
THEIRS = {one.id: one for one in providers}


def test_the_recordings_usage_costs_what_genai_prices_says() -> None:
    compared = {"openai": 0, "anthropic": 0}
    for exchange in (*openai_chat(), *anthropic_messages()):
        dialect = Messages() if exchange.path.endswith("/messages") else ChatCompletions()
        provider = HOSTS.get(exchange.host)
        if provider is None or not exchange.ok or exchange.sse:
            continue
        usd = their_usd(exchange, provider, "anthropic" if isinstance(dialect, Messages) else "openai")
        usage, model = our_usage(exchange, dialect)
        price = BOOK.find(provider, model, NOW_MS)
        if usd is None or usage is None or price is None:
            continue
        counters = {name: count for name, count in usage.counters.items() if count}
        if not counters.keys() <= price.rates.keys() | {"reasoning"}:
            continue  # a fallback: that difference is listed, and compared counter by counter elsewhere
        nano_usd = Tariff(price, 1000).cost_nano_usd(Usage(counters))
        assert -Fraction(1, 10**6) < nano_usd - usd * 10**9 < 1, (exchange.id, usage)
        compared["anthropic" if isinstance(dialect, Messages) else "openai"] += 1
    assert min(compared.values()) > 50, compared


def our_usage(exchange: Exchange, dialect: ChatCompletions | Messages) -> tuple[Usage | None, str]:
    ask = dialect.read(exchange.request)
    meter = dialect.meter(ask, JSON)
    meter.feed(exchange.response)
    meter.finish()
    return meter.usage, ask.model


def their_usd(exchange: Exchange, provider_id: str, dialect: str) -> Fraction | None:
    provider = THEIRS[provider_id]
    flavor = (
        "chat"
        if any(one.api_flavor == "chat" for one in provider.extractors or ()) and dialect == "openai"
        else "default"
    )
    try:
        _, usage = provider.extract_usage(json.loads(exchange.response), api_flavor=flavor)
    except ValueError:
        return None
    model = provider.find_model(json.loads(exchange.request)["model"], all_providers=providers)
    if model is None:
        return None
    return Fraction(model.calc_price(usage, provider, genai_request_timestamp=datetime.fromtimestamp(NOW_MS / 1000, UTC)).total_price)  # fmt: skip
