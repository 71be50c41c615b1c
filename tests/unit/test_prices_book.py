"""Which price a model has: the configuration's before the book's, by name, alias and date; and nothing that nobody said."""

import time
from datetime import UTC, datetime
from importlib.resources import files

import pytest

from proxy.core.errors import ConfigError
from proxy.core.pricing import Price
from proxy.core.usage import COUNTERS
from proxy.prices.book import PriceBook, Rules
from proxy.prices.shipped import ShippedBook, read_book, shipped_book

NOW = round(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp() * 1000)
USD = 10**9
BOOK = PriceBook(Rules())


def at(*when: int) -> int:
    return round(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type]


def priced(prices: PriceBook, provider: str, model: str, at_ms: int = NOW, own: str | None = None) -> Price:
    found = prices.find(provider, model, at_ms, own)
    assert found is not None, f"{provider}/{model} has no price"
    return found


def configured(**rules: object) -> PriceBook:
    return PriceBook(Rules(**rules))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("provider", "model", "input_usd", "output_usd"),
    [
        ("openai", "gpt-4o", 2.5, 10),
        ("openai", "gpt-4o-2024-08-06", 2.5, 10),
        ("openai", "GPT-4o-20240806", 2.5, 10),
        ("openai", "gpt-4o-2024-05-13", 5, 15),
        ("openai", "ft:gpt-4o-2024-08-06:org::id", 3.75, 15),
        ("openai", "ft:gpt-4o:org::id", 3.75, 15),
        ("openai", "ft:gpt-4o-mini-2024-07-18:org:name:id", 0.3, 1.2),
        ("openai", "ft:gpt-4.1-mini-2025-04-14:org::id", 0.8, 3.2),
        ("anthropic", "claude-haiku-4-5-20251001", 1, 5),
        ("anthropic", "claude-opus-5-latest", 5, 25),
        ("vertex", "claude-sonnet-4-5@20250929", 3, 15),
        ("vertex", "publishers/google/models/gemini-2.5-flash", 0.3, 2.5),
        ("gemini", "models/gemini-2.5-flash", 0.3, 2.5),
        ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0", 1.1, 5.5),
        ("bedrock", "global.anthropic.claude-haiku-4-5-20251001-v1:0", 1, 5),
        ("bedrock", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0", 0.035, 0.14),
        ("azure", "gpt-4o", 2.5, 10),
        ("azure", "o4-mini", 1.1, 4.4),
        ("azure", "o4-mini-deep-research", 2, 8),
        ("openrouter", "anthropic/claude-sonnet-4.5", 3, 15),
        ("openrouter", "deepseek/deepseek-r1:free", 0, 0),
        ("xai", "grok-4.3-latest", 1.25, 2.5),
        ("huggingface", "meta-llama/Llama-3.3-70B-Instruct:groq", 0.59, 0.79),
        ("moonshot", "kimi-k3", 3, 15),
        ("zai", "glm-4.6", 0.6, 2.2),
    ],
)
def test_a_model_has_the_price_of_its_name(provider: str, model: str, input_usd: float, output_usd: float) -> None:
    rates = priced(BOOK, provider, model).rates
    assert (rates["input"], rates["output"]) == (round(input_usd * USD), round(output_usd * USD))


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "no-such-model"),
        ("openai", "ft:gpt-5:org::id"),
        ("openai", "ft:gpt-4-0613:org::id"),
        ("openai", "gpt-5.1.ft-0123456789abcdef"),
        ("mistral", "ft:open-mistral-7b:0123:20240501:4567"),
        ("mistral", "mistral-ocr-latest"),
        ("cerebras", "qwen-3-coder-480b"),
        ("perplexity", "sonar-deep-research"),
        ("nobody-knows-this-provider", "gpt-4o"),
        ("ollama", "llama3.2"),
    ],
)
def test_what_has_no_price_is_not_given_another_one(provider: str, model: str) -> None:
    assert BOOK.find(provider, model, NOW) is None


@pytest.mark.parametrize(
    ("provider", "model", "counter", "usd"),
    [
        ("openai", "whisper-1", "input_seconds", 100),
        ("openai", "tts-1", "input_characters", 15),
        ("openai", "gpt-4o-audio-preview", "output_audio", 80),
        ("cohere", "rerank-v3.5", "search_units", 2000),
        ("bedrock", "cohere.rerank-v3-5:0", "search_units", 2000),
        ("anthropic", "claude-sonnet-4-5", "web_searches", 10_000),
        ("openai", "gpt-image-1.5", "output_image", 32),
        ("openai", "omni-moderation-latest", "requests", 0),
        ("gemini", "gemini-2.5-flash", "cache_read_audio", 0.1),
    ],
)
def test_units_have_rates(provider: str, model: str, counter: str, usd: float) -> None:
    assert priced(BOOK, provider, model).rates[counter] == round(usd * USD)


def test_a_rate_by_the_hour_is_exact() -> None:
    whisper = priced(BOOK, "groq", "whisper-large-v3")
    assert whisper.rates["input_seconds"] * 3600 == 111 * 10**12 * whisper.scale
    assert whisper.minimums == {"input_seconds": 10}


def test_a_price_holds_from_its_day_on() -> None:
    before = priced(BOOK, "openai", "o3", at(2025, 6, 9, 23, 59, 59))
    after = priced(BOOK, "openai", "o3", at(2025, 6, 10))
    assert (before.rates["input"], after.rates["input"]) == (10 * USD, 2 * USD)
    assert before.version != after.version
    assert priced(BOOK, "openai", "o3", at(2025, 6, 9)).rates == before.rates, "and backwards again"


def test_a_price_may_follow_the_hour() -> None:
    day = [priced(BOOK, "deepseek", "deepseek-chat", at(2026, 11, 22, hour, 30)).rates["input"] for hour in range(24)]
    assert day == [270_000_000] * 16 + [135_000_000] * 8


@pytest.mark.parametrize("model", ["deepseek-chat", "deepseek-reasoner"])
@pytest.mark.parametrize("at_ms", [at(9999, 12, 31, 23, 59, 59), 2**53 - 1])
def test_a_price_stands_to_the_end_of_the_calendar_and_past_it(model: str, at_ms: int) -> None:
    last = priced(BOOK, "deepseek", model, at(9999, 12, 30))
    assert priced(BOOK, "deepseek", model, at_ms).rates == last.rates


def test_what_was_found_is_kept_until_it_can_change() -> None:
    assert priced(BOOK, "openai", "gpt-4o", NOW) is priced(BOOK, "openai", "gpt-4o", NOW + 3_600_000)
    assert priced(BOOK, "deepseek", "deepseek-chat", NOW) is not priced(
        BOOK, "deepseek", "deepseek-chat", NOW + 43_200_000
    )


def test_what_is_kept_is_bounded() -> None:
    prices = configured(prices={"*": {"input": "1", "output": "1"}})
    for number in range(5000):
        prices.find("x", f"made-up-{number}", NOW)
    assert len(prices._known) <= 4096


def test_context_and_service_tiers_are_the_providers() -> None:
    price = priced(BOOK, "openai", "gpt-5.4")
    assert [(above, tier.rates["input"]) for above, tier in price.tiers] == [(272_000, 5 * USD)]
    assert price.service_tiers["flex"].for_call(300_000).rates["output"] == 11_250_000_000
    assert price.service_tiers["priority"].for_call(300_000).rates["input"] == 5 * USD
    assert price.service_tiers["priority"].rates["web_searches"] == 10_000 * USD, "what a tier does not name stays"
    us = priced(BOOK, "anthropic", "claude-opus-5-5").service_tiers["us"]
    assert (us.rates["input"], us.rates["web_searches"]) == (4_400_000_000, 10_000 * USD)
    fast = priced(BOOK, "anthropic", "claude-opus-5-5").service_tiers["fast-us"]
    assert fast.rates["output"] == 44 * USD


def test_a_router_that_chooses_costs_its_dearest() -> None:
    model = "meta-llama/Llama-3.3-70B-Instruct"
    names = [entry.model for entry in BOOK.shipped.entries("huggingface") if entry.model.startswith(f"{model}:")]
    each = [priced(BOOK, "huggingface", name).rates for name in names]
    assert len(each) > 3
    for asked in (model, f"{model}:fastest"):
        rates = priced(BOOK, "huggingface", asked).rates
        assert all(rates[side] == max(one[side] for one in each) for side in ("input", "output"))


# The configuration over the book.

PRICES = {
    "gpt-4o": {"input": "3", "output": "12"},
    "openai/gpt-4o": {"input": "4", "output": "16"},
    "gpt-4*": {"input": "5", "output": "20"},
    "groq/*": {"input": "6", "output": "24"},
    "*": {"input": "7", "output": "28"},
}


@pytest.mark.parametrize(
    ("provider", "model", "usd"),
    [
        ("openai", "gpt-4o", 4),
        ("azure", "gpt-4o", 3),
        ("azure", "gpt-4o-mini", 5),
        ("groq", "anything", 6),
        ("openai", "gpt-5", 1.25),
        ("openai", "unheard-of", 7),
        ("local", "unheard-of", 7),
    ],
)
def test_the_closest_name_wins(provider: str, model: str, usd: float) -> None:
    assert priced(configured(prices=PRICES), provider, model).rates["input"] == round(usd * USD)


def test_an_alias_is_priced_by_its_own_name_else_by_the_providers() -> None:
    prices = configured(prices={"quick": {"input": "9", "output": "9"}, "*": {"input": "1", "output": "1"}})
    assert priced(prices, "openai", "quick", own="gpt-4o").rates["input"] == 9 * USD
    assert priced(prices, "openai", "slow", own="gpt-4o").rates["input"] == 2_500_000_000
    assert priced(prices, "openai", "slow", own="gpt-4o").model == "slow"
    assert priced(prices, "openai", "slow", own="unheard-of").model == "*", "nobody's own price"


def test_an_override_stands_alone_or_extends_the_book() -> None:
    alone = {"input": "3", "output": "10"}
    prices = configured(prices={"gpt-4o": alone, "gpt-5": {**alone, "extends": True}, "mine": {"extends": True}})
    assert priced(prices, "openai", "gpt-4o").rate("cache_read") == 3 * USD, (
        "no discount that the operator did not name"
    )
    extended = priced(prices, "openai", "gpt-5")
    assert (extended.rates["input"], extended.rates["cache_read"]) == (3 * USD, 125_000_000)
    assert extended.service_tiers["flex"].rates["cache_read"] == 62_500_000
    assert extended.service_tiers["flex"].rates["input"] == 3 * USD, "what is named holds in every tier"
    assert prices.find("openai", "mine", NOW) is None, "there is nothing to extend"


def test_an_override_says_tiers_and_later_prices() -> None:
    table = {
        "input": "1", "output": "2", "cache_read": "0.5", "web_searches": "14000",
        "tiers": [{"above": "200000", "input": "2", "output": "3"}],
        "service_tiers": {"flex": {"multiplier": "0.5"}, "priority": {"input": "1.8", "output": "3.6"}},
        "later": [{"since": "2027-01-01", "input": "1.5"}],
    }  # fmt: skip
    prices = configured(prices={"m": table})
    now, later = priced(prices, "x", "m"), priced(prices, "x", "m", at(2027, 1, 1))
    assert now.for_call(200_001).rates == {
        "input": 2 * USD,
        "output": 3 * USD,
        "cache_read": USD // 2,
        "web_searches": 14 * 10**12,
    }
    flex = now.service_tiers["flex"]
    assert (flex.rates["input"], flex.rates["web_searches"]) == (USD // 2, 14 * 10**12), "a multiple of tokens only"
    assert flex.for_call(200_001).rates["output"] == 1_500_000_000
    assert now.service_tiers["priority"].rates["cache_read"] == USD // 2
    assert (later.rates["input"], later.rates["output"]) == (1_500_000_000, 2 * USD)
    assert now.version != later.version


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"input": "1"}, ["output", "0 must be said"]),
        ({"input": "1", "ouput": "2"}, ['m".ouput', "output"]),
        ({"input": "x", "output": "1"}, ['m".input', "decimal"]),
        ({"input": "1", "output": "1", "tiers": [{"input": "2"}]}, ["tiers[0].above"]),
        (
            {"input": "1", "output": "1", "tiers": [{"above": 5, "cache_read": "2"}]},
            ["tiers[0].cache_read", "no rate below"],
        ),
        ({"input": "1", "output": "1", "tiers": {"above": 5}}, ["tiers", "array of tables"]),
        ({"input": "1", "output": "1", "service_tiers": {"flex": {"multiplier": "a"}}}, ["flex.multiplier"]),
        ({"input": "1", "output": "1", "service_tiers": {"flex": {"multiplier": "1", "input": "1"}}}, ["not both"]),
        ({"input": "1", "output": "1", "later": [{"input": "1"}]}, ["later[0].since", "day"]),
        ({"input": "1", "output": "1", "extends": "yes"}, ["extends"]),
        ({"input": "1", "output": "1", "assumed_output_tokens": "many"}, ["assumed_output_tokens"]),
    ],
)
def test_what_is_wrong_in_a_price_is_named(table: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(prices={"m": table})
    assert all(word in caught.value.message for word in ('prices."m"', *words)), caught.value.message


def test_a_price_of_units_needs_no_tokens() -> None:
    prices = configured(prices={"speech": {"input_characters": "15"}})
    assert priced(prices, "x", "speech").rates == {"input_characters": 15 * USD}


def test_markups_by_model_provider_and_in_all() -> None:
    prices = configured(markup_ppm=1_050_000, markups={"gpt-4o": "1.2", "openai/*": "1.1", "openai/gpt-5": "1.3"})
    models = [("openai", "gpt-4o"), ("openai", "o3"), ("openai", "gpt-5"), ("azure", "gpt-5"), ("azure", "gpt-4o")]
    assert [prices.markup_ppm(*one) for one in models] == [1_200_000, 1_100_000, 1_300_000, 1_050_000, 1_200_000]
    assert configured(markups={"*": "2"}).markup_ppm("x", "y") == 2_000_000
    for wrong in ("0", "1001", "x", "-1"):
        with pytest.raises(ConfigError, match="markups"):
            configured(markups={"m": wrong})


def test_the_policy_for_unpriced_models() -> None:
    free = priced(configured(unpriced="free"), "openai", "unheard-of")
    assert free.rates == dict.fromkeys(COUNTERS, 0)
    assert free.model == "*"
    most = priced(configured(unpriced="maximum"), "openai", "unheard-of")
    dearest = priced(BOOK, "openai", "o1-pro").rates
    assert all(most.rates[side] >= dearest[side] for side in dearest)
    assert most.rates["input_seconds"] > 0
    everywhere = priced(configured(unpriced="maximum"), "local", "unheard-of")
    assert everywhere.rates["output"] >= most.rates["output"]


def test_a_provider_is_known_by_name_or_by_where_it_is() -> None:
    urls = {
        "mine": ("https://api.openai.com/v1",),
        "eu": ("https://eu.example/v1",),
        "groq": ("http://127.0.0.1:9/v1",),
    }
    prices = configured(urls=urls, priced_as={"eu": "openai", "off": ""})
    assert priced(prices, "mine", "gpt-4o").rates == priced(BOOK, "openai", "gpt-4o").rates
    assert priced(prices, "eu", "gpt-4o").rates == priced(BOOK, "openai", "gpt-4o").rates
    assert prices.book_provider("groq") == "groq", "another base URL changes no price"
    assert prices.find("off", "gpt-4o", NOW) is None
    assert configured(urls={"a": ("https://us-central1-aiplatform.googleapis.com",)}).book_provider("a") == "google"
    with pytest.raises(ConfigError, match=r"providers.eu.priced_as.*known: anthropic"):
        configured(priced_as={"eu": "klingon"})


def test_every_entry_of_the_book_makes_a_price() -> None:
    count = 0
    for provider, entry in shipped_book().everything():
        price = BOOK.named_price(provider, entry, NOW)
        assert (price is None) == (not entry.quote(NOW)[0].plain)
        count += price is not None
    assert count > 2000


def test_reading_the_book_is_quick() -> None:
    text = files("proxy.prices").joinpath("data", "book.jsonl").read_bytes()
    best = min(_timed(text) for _ in range(5))
    assert best < 0.05, f"{best * 1000:.1f} ms"


def _timed(text: bytes) -> float:
    begun = time.perf_counter()
    for provider in ("openai", "anthropic", "google"):
        ShippedBook(text).find(provider, "no-such-model")
    return (time.perf_counter() - begun) / 3


def test_another_book_may_be_read(tmp_path) -> None:
    path = tmp_path / "book.jsonl"
    path.write_text(
        '{"book":"2030-01-01","made_from":"me"}\n'
        '{"provider":"openai","names":["oai"]}\n'
        '{"model":"m","match":["=m"],"usd":{"input":"1","output":"2"}}\n'
    )
    prices = PriceBook(Rules(), read_book(str(path)))
    assert priced(prices, "oai", "m").version == "book-2030-01-01"
    with pytest.raises(ConfigError, match="price_book.*cannot read"):
        read_book(str(tmp_path / "none"))
    path.write_text("nonsense\n")
    with pytest.raises(ConfigError, match="not a price book"):
        read_book(str(path))
    path.write_text('{"book":"2030-01-01","made_from":"me","format":9}\n')
    with pytest.raises(ConfigError, match="format 9"):
        read_book(str(path))
