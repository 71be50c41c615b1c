"""Every rate of the shipped book against `genai-prices`, counter by counter; every difference is listed with its reason."""

from fractions import Fraction
from functools import cache
from typing import Any

import pytest
from genai_prices.data import providers

from proxy.core.pricing import Tariff, Unpriced
from proxy.core.usage import Usage
from proxy.prices.corrections import shipped_corrections
from proxy.prices.rules import is_fine_tuned
from proxy.prices.sheet import Terms, make_price
from proxy.prices.shipped import shipped_book
from tests.support.price_oracle import (
    COUNTERS,
    has_rate,
    instants,
    listed,
    names,
    prices_of,
    reason_for,
    texts,
    theirs,
    totals,
    usd_of,
)

BOOK = shipped_book()
PROVIDERS = sorted(theirs())
ASKED = [counter for counter in COUNTERS if counter != "requests"]


@cache
def differences(provider_id: str) -> frozenset[tuple[str, str, str, str | None]]:
    """(kind, model, counter, tier) of every difference at one provider."""
    return frozenset(_differences(provider_id))


def _differences(provider_id: str):
    provider = theirs()[provider_id]
    ours_by_model = {entry.model: entry for entry in BOOK.entries(provider_id)}
    for model in provider.models:
        entry = ours_by_model[model.id]
        compared: list[Any] = []
        for at in dict.fromkeys(instants(model)):
            quote, _, _ = entry.quote(round(at.timestamp() * 1000))
            if not quote.plain:
                yield "unpriced", model.id, "", None
                continue
            tariff = Tariff(make_price(quote, Terms(model.id, "v", 1)), 1000)
            for tier in (None, *quote.service_tiers):
                both = (quote, tier, prices_of(model, provider, at, tier))
                if both in compared:  # at another instant
                    continue
                compared.append(both)
                for count in totals(model):
                    for counter in ASKED:
                        usd = usd_of(model, provider, {counter: count}, at, tier)
                        assert usd is not None, f"{provider_id}/{model.id} {counter}: the package raises"
                        try:
                            ours = tariff.cost_nano_usd(Usage({counter: count}), tier)
                        except Unpriced:
                            assert not has_rate(model, counter, at, tier, provider)
                            yield "unpriced", model.id, counter, tier
                            continue
                        # Rounded up once, to a whole nano-USD; the package divides with 28 digits.
                        if not -Fraction(1, 10**6) < ours - usd * 10**9 < 1:
                            kind = "rate" if has_rate(model, counter, at, tier, provider) else "added"
                            yield kind, model.id, counter, tier


def lines_for(provider_id: str, kind: str, model: str, counter: str, tier: str | None):
    """The lines of the table that cover a difference. A counter without a rate may follow one whose rate is listed."""
    kinds = ("added", "rate") if kind == "added" else (kind,)
    return [line for line in listed() if any(line.covers(one, provider_id, model, counter, tier) for one in kinds)]


@pytest.mark.parametrize("provider_id", PROVIDERS)
def test_every_rate_is_theirs_or_its_difference_is_listed(provider_id: str) -> None:
    assert not {found for found in differences(provider_id) if not lines_for(provider_id, *found)}


@pytest.mark.parametrize("provider_id", PROVIDERS)
def test_every_name_finds_their_model(provider_id: str) -> None:
    provider = theirs()[provider_id]
    corrected = {
        one.model for one in shipped_corrections().all if one.provider == provider_id and (one.adds or one.match)
    }
    wrong: list[tuple[str, str | None, str | None]] = []
    spellings = (
        name
        for number, model in enumerate(provider.models)
        for name in (names(model) if len(provider.models) < 200 or number % 10 == 0 else texts(model.match))
    )
    for name in dict.fromkeys(spellings):
        found = provider.find_model(name, all_providers=providers)
        ours = BOOK.find(provider_id, name)
        ours_id, theirs_id = ours.model if ours else None, found.id if found else None
        if ours_id == theirs_id:
            continue
        if ours_id in corrected or reason_for("name", provider_id, str(theirs_id)):
            continue
        if not is_fine_tuned(name) or ours_id is not None:  # those take no price but one for fine-tuned models
            wrong.append((name, ours_id, theirs_id))
    assert not wrong


def test_no_line_of_the_table_is_stale() -> None:
    used = {
        line
        for provider_id in ("openai", "anthropic", "google", "cohere", "groq", "mistral")
        for found in differences(provider_id)
        for line in lines_for(provider_id, *found)
    }
    assert {line.reason for line in listed() if line.kind != "name"} <= {line.reason for line in used}
