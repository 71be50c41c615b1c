"""Admission: the bound that a call is held for, and what a refusal tells the caller."""

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.errors import InsufficientCredits, RateLimited
from proxy.core.limits import Limit
from proxy.core.outcomes import Refused, Standing
from proxy.core.pricing import Price, Tariff
from proxy.pipeline.admit import (
    MEDIA_PART_TOKENS,
    hold_bound_microcredits,
    output_bound,
    rate_limit_lines,
    refusal,
    tokens_taken,
    with_media_of,
)
from proxy.providers.dialect import Ask

TARIFF = Tariff(Price("m", {"input": 10**9, "output": 2 * 10**9}, "v", assumed_output_tokens=100), 1000)


def test_bound_is_every_byte_as_a_token_and_every_token_asked_for() -> None:
    ask = Ask(model="m", output_limit=10, choices=3)
    assert output_bound(ask, TARIFF) == 30
    assert hold_bound_microcredits(ask, 50, TARIFF) == 50 * 1000 + 30 * 2000
    written = Tariff(Price("m", {"input": 10**9, "cache_write_1h": 3 * 10**9, "output": 0}, "v"), 1000)
    assert hold_bound_microcredits(ask, 50, written) == 50 * 3000, "the dearest rate that the price names"
    assert hold_bound_microcredits(Ask(model="m"), 0, TARIFF) == 100 * 2000
    with_image = Ask(model="m", output_limit=0, media_parts=1)
    assert hold_bound_microcredits(with_image, 0, TARIFF) == MEDIA_PART_TOKENS * 1000


@pytest.mark.parametrize(
    ("model", "own", "others"), [("gpt-4o-mini", None, ()), ("alias", "gpt-4o-mini", ()), ("m", None, ("gpt-4o-mini",))]
)
def test_an_image_is_held_for_as_the_model_that_takes_most_for_one(
    model: str, own: str | None, others: tuple[str, ...]
) -> None:
    # 2,833 + 8 tiles of 5,667: https://platform.openai.com/docs/guides/images-vision#calculating-costs
    route: Any = SimpleNamespace(own_model=own)
    ask = with_media_of(Ask(model=model, output_limit=0, media_parts=2, others=others), [route])
    assert hold_bound_microcredits(ask, 10, TARIFF) == (10 + 2 * 48_169) * 1000
    usual = with_media_of(Ask(model="m", output_limit=0, media_parts=2), [route])
    assert own or hold_bound_microcredits(usual, 0, TARIFF) == 2 * MEDIA_PART_TOKENS * 1000


def test_units_and_bounds_of_the_dialect_are_held() -> None:
    speech = Tariff(Price("m", {"input_characters": 15 * 10**9}, "v"), 1000)
    ask = Ask(model="m", input_bound=0, output_limit=0, units={"input_characters": 40})
    assert hold_bound_microcredits(ask, 5000, speech) == 40 * 15_000
    assert hold_bound_microcredits(Ask(model="m", input_bound=7, output_limit=0), 5000, TARIFF) == 7 * 1000
    assert tokens_taken(Ask(model="m", input_bound=7, output_limit=1), 5000, TARIFF) == 8


@pytest.mark.parametrize(
    ("ask", "rates", "named"),
    [
        (Ask(model="m", units={"output_images": 1}), {"output": 1}, "output_images"),
        (Ask(model="m", service_tier="priority"), {"input": 1, "output": 1}, "priority"),
        (Ask(model="m"), {"output_images": 1}, "input"),
    ],
)
def test_what_has_no_price_is_refused_and_never_free(ask: Ask, rates: dict[str, int], named: str) -> None:
    with pytest.raises(InsufficientCredits, match=named) as refused:
        hold_bound_microcredits(ask, 50, Tariff(Price("m", rates, "v"), 1000))
    assert refused.value.code == "model_not_priced"


def test_what_nobody_can_pay_is_refused_without_asking_the_ledger() -> None:
    with pytest.raises(InsufficientCredits):
        hold_bound_microcredits(Ask(model="m", output_limit=10**13), 0, TARIFF)


def test_refusals() -> None:
    money = refusal(Refused("balance", None, 5_000_000, 2_500_000, None, ()))
    assert isinstance(money, InsufficientCredits)
    assert money.metadata == {
        "limit_source": "balance",
        "required": 5_000_000,
        "available": 2_500_000,
        "unit": "microcredits",
    }
    assert "5 credits" in money.message
    assert "2.5" in money.message
    assert money.retry_after_ms is None
    waiting = refusal(Refused("in_flight", None, 5, 2, None, ()))
    assert waiting.retry_after_ms == 1000
    budget = refusal(Refused("budget", Limit("key:k1", "budget_day", 10), 5, 2, 3_600_000, ()))
    assert (budget.metadata["limit_source"], budget.metadata["scope"]) == ("budget", "key")
    assert budget.retry_after_ms is None
    speed = refusal(Refused("tokens", Limit("account", "tokens", 1000), 500, 20, 1500, ()))
    assert isinstance(speed, RateLimited)
    assert (speed.retry_after_ms, speed.metadata["ceiling"]) == (1500, 1000)
    assert (
        "month budget of this key"
        in refusal(Refused("budget", Limit("key:k1", "budget_month", 1), 5, 1, None, ())).message
    )


def test_a_call_above_a_whole_minutes_tokens_is_not_told_to_wait() -> None:
    never = refusal(Refused("tokens", Limit("key:k1", "tokens", 2000), 4163, 2000, None, ()))
    assert (never.status, never.code, never.retry_after_ms, never.should_retry) == (
        429,
        "rate_limit_exceeded",
        None,
        False,
    )
    assert (never.metadata["required"], never.metadata["ceiling"]) == (4163, 2000)
    assert "4163 tokens" in never.message
    assert "max_tokens" in never.message
    waits = refusal(Refused("tokens", Limit("key:k1", "tokens", 2000), 2000, 20, 900, ()))
    assert (waits.retry_after_ms, waits.should_retry) == (900, None)
    assert refusal(Refused("concurrent", Limit("key:k1", "concurrent", 1), 1, 0, None, ())).retry_after_ms == 1000


def named(lines: list[bytes]) -> dict[bytes, bytes]:
    pairs = [line.partition(b": ") for line in b"\r\n".join(lines).split(b"\r\n")]
    return {name: value for name, _, value in pairs}


def test_headers_name_the_tightest_limit_in_both_families() -> None:
    standings = (
        Standing(Limit("key:k", "requests", 100), 90, 6000),
        Standing(Limit("account", "requests", 1000), 5, 60_000),
        Standing(Limit("key:k", "tokens", 5000), -3, None),
        Standing(Limit("key:k", "concurrent", 3), 1, 0),
    )
    assert named(rate_limit_lines(standings, "openai", 0)) == {
        b"x-ratelimit-limit-requests": b"1000",
        b"x-ratelimit-remaining-requests": b"5",
        b"x-ratelimit-reset-requests": b"60000ms",
        b"x-ratelimit-limit-tokens": b"5000",
        b"x-ratelimit-remaining-tokens": b"0",
        b"x-ratelimit-reset-tokens": b"0ms",
    }
    anthropic = named(rate_limit_lines(standings, "anthropic", 1_700_000_000_000))
    assert anthropic[b"anthropic-ratelimit-requests-remaining"] == b"5"
    assert anthropic[b"anthropic-ratelimit-requests-reset"] == b"2023-11-14T22:14:20Z"
