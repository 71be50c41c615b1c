"""Which provider serves a model, at which price: the routes of whole configurations, without a socket."""

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.accounts.caller import Caller
from proxy.config import parse_config
from proxy.core.errors import Forbidden, InsufficientCredits, NotFound
from proxy.core.limits import CONCURRENT, REQUESTS, TOKENS
from proxy.pipeline.candidates import Candidates
from proxy.pipeline.models import Models, Wanted
from proxy.pipeline.route import base_paths, check_model_allowed
from proxy.pipeline.routes import Routes, default_limits
from proxy.providers.dialect import BILLED, FREE, Ask
from proxy.providers.registry import known_providers

NOW_MS = 1_760_000_000_000
KEY = "api_key = 'k'"
PLAIN = "[prices.'*']\ninput = 1\noutput = 2\n"


async def routes(text: str) -> Routes:
    return Routes(parse_config(text, known_providers=known_providers()))


def provider(name: str, models: str, *more: str) -> str:
    return "\n".join(
        (f"[providers.{name}]", "base_url = 'http://127.0.0.1:9/v1'", KEY, f"models = {models}", *more, "")
    )


def find(
    found: Routes, model: str, *, dialect: str = "openai", name: str | None = None, billing: str = BILLED
) -> Candidates:
    target: Any = SimpleNamespace(operation=SimpleNamespace(dialect=dialect, billing=billing), provider=name)
    return found.router.find(target, model, NOW_MS)


def served_by(candidates: Candidates) -> list[tuple[str, str | None, int]]:
    return [(route.endpoint.provider, route.own_model, route.weight) for route in candidates.routes]


async def test_exact_names_come_before_prefixes_and_long_prefixes_before_short_ones() -> None:
    text = PLAIN + provider("a", "['*']") + provider("b", "['gpt-*']") + provider("c", "['gpt-4*', 'x']") + provider("d", "['gpt-4o']")  # fmt: skip
    found = await routes(text)
    for model, name in (("gpt-4o", "d"), ("gpt-4x", "c"), ("gpt-3", "b"), ("x", "c"), ("other", "a")):
        assert [one[0] for one in served_by(find(found, model))] == [name]
    assert [one[0] for one in served_by(find(found, "gpt-4o", name="a"))] == ["a"], "the path names the provider"
    with pytest.raises(NotFound) as caught:
        find(found, "gpt-4o", dialect="anthropic")
    assert caught.value.code == "model_not_found"
    with pytest.raises(NotFound):
        find(found, "unknown", name="d")


async def test_a_provider_without_a_price_leaves_the_model_to_one_with() -> None:
    text = provider("a", "['m*']") + provider("b", "['*']") + "[prices.'b/model']\ninput = 1\noutput = 1\n"
    found = await routes(text)
    assert [one[0] for one in served_by(find(found, "model"))] == ["b"]
    with pytest.raises(InsufficientCredits) as caught:
        find(found, "m-other")
    assert caught.value.code == "model_not_priced"


async def test_weights_are_shared_by_the_keys_of_a_provider() -> None:
    text = PLAIN + provider("a", "['m']", "api_keys = ['l', 'n']", "weight = 3") + provider("b", "['m']", "weight = 1")
    candidates = find(await routes(text), "m")
    assert served_by(candidates) == [("a", None, 3)] * 3 + [("b", None, 3)], "9 of 12 and 3 of 12"
    assert [route.endpoint.api_key for route in candidates.routes] == ["k", "l", "n", "k"]


async def test_aliases() -> None:
    text = PLAIN + provider("a", "['x']") + provider("b", "['y']") + provider("c", "['fast']")
    text += "[aliases]\nfast = ['a/one', 'b/two']\nsame = 'a/same'\n[prices.'two']\ninput = 9\noutput = 9\n"
    found = await routes(text)
    candidates = find(found, "fast")
    assert served_by(candidates) == [("a", "one", 1), ("b", "two", 1)], "an alias comes before a model of that name"
    assert [route.price.rates["input"] for route in candidates.routes] == [10**9, 9 * 10**9]
    assert served_by(find(found, "fast", name="b")) == [("b", "two", 1)]
    assert served_by(find(found, "fast", name="c")) == [("c", None, 1)], "this provider is no part of the alias"
    assert served_by(find(found, "same")) == [("a", None, 1)]
    assert candidates.routes[0].metric_model == "fast"
    bound, route, tariff = found.router.dearest(candidates, Ask(model="fast", output_limit=9), 50, None)
    assert bound is candidates
    assert (route.endpoint.provider, tariff.price.rates["input"]) == ("b", 9 * 10**9)


async def test_what_a_candidate_has_no_price_for_it_is_not_asked() -> None:
    text = provider("a", "['m', 'n']") + provider("b", "['m', 'n']")
    text += "[prices.'a/n']\noutput_images = 9\n[prices.'b/n']\noutput_images = 8\n"
    text += "[prices.'a/m']\noutput_images = 9\n[prices.'b/m']\ninput = 2\noutput = 2\n"
    found = await routes(text)
    tokens = Ask(model="m", output_limit=0)
    candidates, route, _ = found.router.dearest(find(found, "m"), tokens, 50, None)
    assert [one.endpoint.provider for one in candidates.routes] == ["b"]
    assert route.endpoint.provider == "b"
    with pytest.raises(InsufficientCredits):
        found.router.dearest(find(found, "n"), tokens, 50, None)


async def test_what_is_free_needs_no_price() -> None:
    found = await routes(provider("a", "['m']"))
    (route,) = find(found, "m", billing=FREE).routes
    assert found.router.tariff(route, None).hold_microcredits(10**6, 10**6) == 0
    with pytest.raises(InsufficientCredits):
        find(found, "m")


async def test_a_request_without_a_model_goes_to_the_first_that_speaks_the_dialect() -> None:
    found = await routes(PLAIN + provider("a", "[]", "api_keys = ['l']") + provider("b", "['m']"))
    assert [one[0] for one in served_by(find(found, ""))] == ["a", "a"]
    assert [one[0] for one in served_by(find(found, "", name="b"))] == ["b"]
    with pytest.raises(NotFound):
        find(found, "", dialect="gemini")


async def test_turns_go_on_when_prices_are_looked_up_again() -> None:
    found = await routes(PLAIN + provider("a", "['m']") + provider("b", "['m']"))
    target: Any = SimpleNamespace(operation=SimpleNamespace(dialect="openai", billing=BILLED), provider=None)
    turns = []
    for minute in range(4):
        candidates = found.router.find(target, "m", NOW_MS + minute * 60_000)
        assert found.router.find(target, "m", NOW_MS + minute * 60_000) is candidates
        turns.append(candidates.order(0.0)[0].endpoint.provider)
    assert turns == ["a", "b", "a", "b"]


async def test_made_up_names_do_not_fill_memory() -> None:
    found = await routes(PLAIN + provider("a", "['*']"))
    for number in range(5000):
        find(found, f"m-{number}")
    assert len(found.router._known) <= 4096


async def test_a_markup_of_a_provider_is_its_routes_and_an_account_s_own_comes_first() -> None:
    text = PLAIN + provider("a", "['m']") + provider("b", "['m']") + "[markups]\n'a/*' = '2'\n"
    found = await routes(text)
    one, two = find(found, "m").routes
    assert [found.router.tariff(route, None).markup_ppm for route in (one, two)] == [2_000_000, 1_000_000]
    assert found.router.tariff(one, 3_000_000).markup_ppm == 3_000_000


async def test_an_opened_path_has_its_price_and_no_markup() -> None:
    text = "[credits]\nper_usd = 7\nmarkup = 3\n" + provider("a", "['m']")
    text += "[[open]]\nprovider = 'a'\npath = '/files'\nprice = '0.000001'\n[[open]]\nprovider = 'a'\npath = '/f'\nprice = 0\n"
    found = await routes(text)
    request: Any = SimpleNamespace(method="POST", path="/a/v1/files", query="", headers=[])
    target = found.paths.match(request)
    ask = target.operation.read(b"anything")
    candidates, _, tariff = found.router.dearest(found.router.find(target, "", NOW_MS), ask, 10**6, 5_000_000)
    assert len(candidates.routes) == 1
    meter = target.operation.meter(ask, b"application/json")
    assert meter.feed(b"\xff") + meter.finish() == b"\xff"
    assert meter.usage is not None
    assert tariff.charge_microcredits(meter.usage) == 1
    free: Any = SimpleNamespace(method="POST", path="/a/v1/f", query="", headers=[])
    assert found.paths.match(free).operation.billing == FREE


@pytest.mark.parametrize("per_usd", [1, 3, 7, 1000, 999_999])
async def test_every_flat_price_is_charged_exactly(per_usd: int) -> None:
    for microcredits in (1, 2, 999_999, 1_000_000, 123_456_789):
        price = f"{microcredits // 10**6}.{microcredits % 10**6:06d}"
        text = f"[credits]\nper_usd = {per_usd}\n" + provider("a", "['m']")
        found = await routes(f"{text}[[open]]\nprovider = 'a'\npath = '/files'\nprice = '{price}'\n")
        request: Any = SimpleNamespace(method="POST", path="/a/v1/files", query="", headers=[])
        target = found.paths.match(request)
        ask = target.operation.read(b"")
        _, _, tariff = found.router.dearest(found.router.find(target, "", NOW_MS), ask, 0, None)
        meter = target.operation.meter(ask, b"text/event-stream")
        meter.finish()
        assert meter.usage is not None
        assert tariff.charge_microcredits(meter.usage) == microcredits
        assert tariff.hold_microcredits(0, 0, units=ask.units) == microcredits


def caller(*models: str) -> Caller:
    return Caller("a", "a", "k", "user", 1, (), {}, models or None, (), None, None, "d")


def test_a_key_may_be_bound_to_models() -> None:
    check_model_allowed(caller(), "anything")
    check_model_allowed(caller("m", "n-*"), "n-1")
    with pytest.raises(Forbidden) as caught:
        check_model_allowed(caller("m", "n-*"), "other\n")
    assert caught.value.code == "model_not_allowed"
    assert "\n" not in caught.value.message


class Sent:
    """What an exchange was answered with."""

    def __init__(self, path: str, **headers: str) -> None:
        self.method, self.path, self.query, self.body = "GET", path, "", b""
        self.headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    def answer(self, status: int, _headers: object, body: bytes) -> None:
        assert status == 200
        self.body = body


async def test_a_pattern_is_listed_as_the_names_that_the_price_book_knows() -> None:
    config = parse_config("[providers.openai]\napi_key='k'\nmodels=['gpt-4o*', 'own', 'none-*']\n", known_providers=known_providers())  # fmt: skip
    found = Routes(config)
    models = Models(found.router, base_paths(config.providers))
    names = models._known(Wanted("openai", None, None), NOW_MS)
    assert "gpt-4o" in names
    assert all(name.startswith("gpt-4o") for name in names), "own has no price, and behind none-* nothing is known"


async def test_where_lists_are_asked_for() -> None:
    text = PLAIN + provider("a", "['m']") + "[providers.gemini]\napi_key='k'\n[providers.azure]\nbase_url='http://127.0.0.1:9'\napi_key='k'\n"  # fmt: skip
    config = parse_config(text, known_providers=known_providers())
    models = Models(Routes(config).router, base_paths(config.providers))
    wanted: list[tuple[Any, Wanted | None]] = [
        (Sent("/v1/models"), Wanted("openai", None, None)),
        (Sent("/v1/models", anthropic_version="1"), Wanted("anthropic", None, None)),
        (Sent("/v1/models/org/m"), Wanted("openai", None, "org/m")),
        (Sent("/v1/models/org%2Fm"), Wanted("openai", None, "org/m")),
        (Sent("/v1beta/models"), Wanted("gemini", None, None)),
        (Sent("/gemini/v1beta/models/m"), Wanted("gemini", "gemini", "m")),
        (Sent("/gemini/v1beta/openai/models"), Wanted("openai", "gemini", None)),
        (Sent("/azure/openai/v1/models"), Wanted("azure", "azure", None)),
        (Sent("/a/v1/models"), Wanted("openai", "a", None)),
        (Sent("/v1/models/"), None),
        (Sent("/v1/modelsx"), None),
        (Sent("/b/v1/models"), None),
    ]
    for exchange, expected in wanted:
        assert models.wanted(exchange) == expected, exchange.path


async def test_default_limits_are_those_that_are_set() -> None:
    config = parse_config("[limits]\nrequests_per_minute = 5\nconcurrent = 2\n")
    assert default_limits(config) == {REQUESTS: 5, CONCURRENT: 2}
    assert TOKENS not in default_limits(config)
