"""Models with their prices, and what a call of one would cost. Rates are dollars for a million tokens, exact.

`tier` is ours, by the plain rate of a token that the model writes (of one that it reads where it writes none): flagship from
8 dollars for a million on, standard from 1, economy below. What a model is like besides (its context window) the price book
does not know: null.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from proxy.accounts.administrators import Administrator
from proxy.core.errors import InvalidRequest, NotFound
from proxy.core.money import NANO_USD_PER_USD
from proxy.core.pricing import Tariff, Unpriced
from proxy.core.usage import Usage
from proxy.surfaces.credits_dev.usage import tokens_of
from proxy.surfaces.fields import identifier
from proxy.surfaces.numbers import decimal_number, usd_number
from proxy.tasks import in_turns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from proxy.core.pricing import Price
    from proxy.pipeline.exchange import Exchange
    from proxy.pipeline.route import Router
    from proxy.surfaces.house import House
    from proxy.surfaces.once import Once, Work
    from proxy.surfaces.vendor import Query

_FLAGSHIP_NANO_USD, _STANDARD_NANO_USD = 8 * NANO_USD_PER_USD, NANO_USD_PER_USD
_KNOWN_MS = 60_000  # prices change at whole minutes
_TYPES = (
    ("output_audio", "audio"),
    ("output_image", "image"),
    ("output_images", "image"),
    ("output_seconds", "video"),
    ("search_units", "rerank"),
    ("input_seconds", "audio"),
    ("input_image", "multimodal"),
    ("input_audio", "multimodal"),
)


def claims_models(exchange: Exchange) -> bool:
    """Whether a request for /v1/models is this API's: not Anthropic's, and in its own terms."""
    names = [name for name, _ in exchange.headers]
    if b"anthropic-version" in names:
        return False
    if b"x-api-key" in names and b"authorization" not in names:
        return True
    members = {member.partition("=")[0] for member in exchange.query.split("&")}
    return not members.isdisjoint({"provider", "tier", "modelId"})


class PricedModels:
    """Handlers under /v1/models."""

    def __init__(self, house: House, once: Once) -> None:
        self._house = house
        self._once = once
        self._known: tuple[Router | None, int, dict[tuple[str, str], Price]] = (None, 0, {})

    async def list(self, query: Query) -> object:
        """GET /v1/models: all that the key may use and that have a price; with `modelId` that one, or 404."""
        provider, tier, model = query.param("provider"), query.param("tier"), query.param("modelId")
        priced = await self._priced(query.at_ms)
        models = await in_turns(
            _shown(name, of, price)
            for (of, name), price in priced.items()
            if (not provider or of == provider)
            and (not model or name == model)
            and (not tier or _tier(price) == tier)
            and (isinstance(query.who, Administrator) or query.who.may_use(name))
        )
        if not model:
            return {"success": True, "models": models}
        if not models:
            raise NotFound("There is no such model.", code="model_not_found", param="modelId")
        return {"success": True, "model": models[0], "models": models}

    async def calculate(self, query: Query) -> object:
        """POST /v1/models/calculate: the cost of so many tokens. Nothing is charged."""

        async def prepare() -> Work:
            model, counters = _asked(query)
            return partial(self._calculated, model, counters, query.at_ms)

        return await self._once.answer(query, "/v1/models/calculate", prepare)

    async def _calculated(self, model: str, counters: Mapping[str, int], at_ms: int, _operation_id: str) -> object:
        found = self._house.desk.recorded.prices.find(model, at_ms)
        if found is None:
            raise NotFound("There is no price for this model.", code="model_not_found", param="modelId")
        try:
            tariff = Tariff(found.price, self._house.config.credits.per_usd)
            cost = tariff.cost_nano_usd(Usage({name: number for name, number in counters.items() if number}))
        except Unpriced as error:
            raise NotFound("This model is not priced by the token.", code="model_not_found") from error
        return {
            "success": True,
            "modelId": model,
            "modelName": model,
            "estimatedCostUsd": usd_number(cost),
            "pricing": _rates(found.price),
        }

    async def _priced(self, at_ms: int) -> dict[tuple[str, str], Price]:
        """(Provider, model) -> price, in the order of the configuration; found once a minute, as prices change."""
        router, minute = self._house.router(), at_ms // _KNOWN_MS
        if self._known[:2] == (router, minute):
            return self._known[2]
        served = dict.fromkeys(_served(router))
        # The first time is half a millisecond for each model: it is looked for among all that its provider has in the book.
        prices = await in_turns(router.prices.find(provider, name, at_ms) for provider, name in served)
        found = {which: price for which, price in zip(served, prices, strict=True) if price is not None}
        self._known = (router, minute, found)
        return found


def _asked(query: Query) -> tuple[str, dict[str, int]]:
    """The model and the tokens by counter. Raises InvalidRequest."""
    model = identifier(query.body, "modelId")
    if model is None:
        raise InvalidRequest("modelId is required", param="modelId")
    input_tokens, output_tokens, cached_tokens = tokens_of(query.body)
    return model, {"input": input_tokens - cached_tokens, "cache_read": cached_tokens, "output": output_tokens}


def _served(router: Router) -> Iterator[tuple[str, str]]:
    """What the configuration names, and behind a trailing `*` what the price book knows of that provider."""
    for endpoint in router.endpoints:
        yield from ((endpoint.provider, name) for name in endpoint.models if not name.endswith("*"))
    for endpoint in router.endpoints:
        prefixes = tuple(pattern[:-1] for pattern in endpoint.models if pattern.endswith("*"))
        book = router.prices.book_provider(endpoint.provider) if prefixes else None
        if book is not None:
            for entry in router.prices.shipped.entries(book):
                if entry.model.startswith(prefixes):
                    yield endpoint.provider, entry.model


def _shown(name: str, provider: str, price: Price) -> dict[str, object]:
    return {
        "modelId": name,
        "provider": provider,
        "displayName": name,
        "modelType": _type(name, price),
        "pricing": {"text": _rates(price), "contextWindow": None},
        "tier": _tier(price),
    }


def _rates(price: Price) -> dict[str, object]:
    """Dollars for a million tokens; cached ones null where they have no rate of their own."""
    cached = _usd(price, "cache_read") if "cache_read" in price.rates else None
    return {
        "inputPerMillion": _usd(price, "input"),
        "outputPerMillion": _usd(price, "output"),
        "cachedInputPerMillion": cached,
    }


def _usd(price: Price, counter: str) -> object:
    rate = Decimal(price.rates.get(counter, 0)) / (NANO_USD_PER_USD * price.scale)
    return decimal_number(round(rate, 12))


def _type(name: str, price: Price) -> str:
    if "output" not in price.rates and "embed" in name:
        return "embedding"
    return next((word for counter, word in _TYPES if counter in price.rates), "text")


def _tier(price: Price) -> str:
    rate = (price.rates.get("output") or price.rates.get("input") or 0) // price.scale
    if rate >= _FLAGSHIP_NANO_USD:
        return "flagship"
    return "standard" if rate >= _STANDARD_NANO_USD else "economy"
