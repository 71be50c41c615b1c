"""Routing: which provider serves a model in a dialect, at which price. Prefers the exact name, then the longest prefix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxy.core.errors import Forbidden, InsufficientCredits, NotFound
from proxy.core.pricing import Tariff
from proxy.pipeline.read import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.accounts.caller import Caller
    from proxy.config import Config, Provider
    from proxy.core.pricing import Price
    from proxy.pipeline.upstream.client import UpstreamClient


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One provider in one dialect: where its calls go (`base_path` without trailing slash) and with which credential."""

    provider: str
    dialect: str
    base_path: str
    api_key: str
    models: tuple[str, ...]
    client: UpstreamClient


@dataclass(frozen=True, slots=True)
class Route:
    """The chosen provider for a model, and what the call costs there."""

    endpoint: Endpoint
    model: str
    price: Price

    @property
    def metric_model(self) -> str:
        """The model as a metric's label: its own name where the configuration names it, so that labels stay bounded."""
        return self.model if self.model in self.endpoint.models else "other"


class Router:
    """Models to providers; rebuilt whole when the configuration is reloaded."""

    def __init__(self, endpoints: Sequence[Endpoint], prices: Mapping[str, Price], config: Config) -> None:
        self._endpoints = endpoints
        self._prices = prices
        self._per_usd = config.credits.per_usd
        self._markup_ppm = config.markup_ppm()
        self._known: dict[tuple[str, str | None, str], Route] = {}

    def find(self, dialect: str, model: str, provider: str | None) -> Route:
        """The route of a model. Raises NotFound for an unknown model, InsufficientCredits for one without a price."""
        key = (dialect, provider, model)
        route = self._known.get(key)
        if route is None:
            route = self._find(dialect, model, provider)
            # Only exact names are kept: a trailing * would let callers fill the cache with names that they make up.
            if model in route.endpoint.models:
                self._known[key] = route
        return route

    def _find(self, dialect: str, model: str, provider: str | None) -> Route:
        best: tuple[int, Endpoint] | None = None
        for endpoint in self._endpoints:
            if endpoint.dialect != dialect or provider not in {None, endpoint.provider}:
                continue
            fit = max((_fit(pattern, model) for pattern in endpoint.models), default=0)
            if fit and (best is None or fit > best[0]):
                best = (fit, endpoint)
        if best is None:
            msg = f"The model {printable(model)!r} is not known here."
            raise NotFound(msg, code="model_not_found", param="model")
        price = self._prices.get(model) or self._prices.get("*")
        if price is None:
            msg = f"The model {printable(model)!r} has no price, so calls to it are refused."
            raise InsufficientCredits(msg, code="model_not_priced", param="model")
        return Route(best[1], model, price)

    def tariff(self, route: Route, markup_ppm: int | None) -> Tariff:
        """The route's price with the account's markup (parts per million), or the configured one for None."""
        return Tariff(route.price, self._per_usd, self._markup_ppm if markup_ppm is None else markup_ppm)


def check_model_allowed(caller: Caller, model: str) -> None:
    """Raises Forbidden when the key is bound to models and this is none of them."""
    if not caller.may_use(model):
        msg = f"This API key may not use the model {printable(model)!r}."
        raise Forbidden(msg, code="model_not_allowed", param="model")


def base_path(base_url: str) -> str:
    """The path of a base URL without its trailing slash."""
    return urlsplit(base_url).path.rstrip("/")


def base_paths(providers: Mapping[str, Provider]) -> dict[str, dict[str, str]]:
    """Provider -> dialect -> path of its base URL."""
    return {
        name: {dialect: base_path(url) for dialect, url in provider.endpoints().items()}
        for name, provider in providers.items()
    }


def _fit(pattern: str, model: str) -> int:
    """How well a pattern fits: 0 not at all, an exact name above every prefix, a longer prefix above a shorter one."""
    if pattern == model:
        return 1_000_000
    if pattern.endswith("*") and model.startswith(pattern[:-1]):
        return len(pattern)
    return 0
