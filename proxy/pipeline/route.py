"""Routing: which providers serve a model in a dialect, at which price. An alias first, then exact names, then the longest prefix."""

from __future__ import annotations

from math import lcm
from operator import itemgetter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxy.core.errors import Forbidden, InsufficientCredits, NotFound
from proxy.core.pricing import Price
from proxy.core.usage import COUNTERS
from proxy.pipeline.admit import hold_bound_microcredits
from proxy.pipeline.candidates import Candidates, Endpoint, Route
from proxy.pipeline.opened import FlatRate
from proxy.pipeline.read import printable
from proxy.providers.dialect import FREE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxy.accounts.caller import Caller
    from proxy.config import Config
    from proxy.core.pricing import Tariff
    from proxy.pipeline.paths import Target
    from proxy.prices.book import PriceBook
    from proxy.provider_config import Provider
    from proxy.providers.dialect import Ask

FREE_PRICE = Price("free", dict.fromkeys(COUNTERS, 0), "free", 0)
"""Of operations that the provider does not bill: nothing is held and nothing charged, limits hold all the same."""

_EXACT = 1_000_000
_MAX_KNOWN = 4096
# Prices change at whole minutes: what was found is found again in the next one.
_KNOWN_MS = 60_000

# Dialect, provider that the path names, model, whether the provider bills nothing.
Key = tuple[str, str | None, str, bool]
Served = tuple[Endpoint, str | None]


class Router:
    """Models to providers; rebuilt whole when the configuration is reloaded."""

    def __init__(self, endpoints: Sequence[Endpoint], prices: PriceBook, config: Config) -> None:
        self.endpoints = endpoints
        self.prices = prices
        self._per_usd = config.credits.per_usd
        self.aliases = {name: _pairs(names) for name, names in config.aliases.items()}
        self._known: dict[Key, Candidates] = {}
        self._before: dict[Key, Candidates] = {}
        self._known_minute = 0

    def find(self, target: Target, model: str, at_ms: int) -> Candidates:
        """The routes of a model. Raises NotFound for an unknown model, InsufficientCredits for one without a price."""
        minute = at_ms // _KNOWN_MS
        if minute != self._known_minute:
            self._before, self._known, self._known_minute = self._known, {}, minute
        operation = target.operation
        if isinstance(operation, FlatRate):
            return self._opened(operation, target)
        key = (operation.dialect, target.provider, model, operation.billing == FREE)
        found = self._known.get(key)
        if found is None:
            found = self._find(key, at_ms)
            if len(self._known) >= _MAX_KNOWN:  # a trailing * lets callers make up names
                self._known = {}
            self._known[key] = found
        return found

    def tariff(self, route: Route, markup_ppm: int | None) -> Tariff:
        """The route's price with the account's markup (parts per million), or the configured one for None."""
        return route.tariff(self._per_usd, route.markup_ppm if markup_ppm is None or route.flat else markup_ppm)

    def dearest(
        self, candidates: Candidates, ask: Ask, body_bytes: int, markup_ppm: int | None
    ) -> tuple[Candidates, Route, Tariff]:
        """The candidates that have a price for what is asked, and the one of them that may cost most: the hold is at its price.

        Raises InsufficientCredits where none of them has.
        """
        route = candidates.routes[0]
        tariff = self.tariff(route, markup_ppm)
        if candidates.one_price:
            return candidates, route, tariff
        bounds: list[tuple[int, Route]] = []
        refused: InsufficientCredits | None = None
        for one in candidates.routes:
            try:
                bounds.append((hold_bound_microcredits(ask, body_bytes, self.tariff(one, markup_ppm)), one))
            except InsufficientCredits as error:
                refused = error
        if not bounds and refused is not None:
            raise refused
        if refused is not None:
            candidates = Candidates([one for _, one in bounds])
        route = max(bounds, key=itemgetter(0))[1]
        return candidates, route, self.tariff(route, markup_ppm)

    def serving(self, dialect: str, provider: str | None, model: str) -> list[list[Served]]:
        """Who serves a model, each with its own name for it, the best fit first; empty for nobody."""
        endpoints = [
            endpoint
            for endpoint in self.endpoints
            if endpoint.dialect == dialect and provider in {None, endpoint.provider}
        ]
        if not model:
            # Nothing says who: the provider that the path names, else the first that speaks the dialect.
            return [[(endpoint, None) for endpoint in endpoints if endpoint.provider == endpoints[0].provider]]
        aliased: list[Served] = [
            (endpoint, own if own != model else None)
            for name, own in self.aliases.get(model, ())
            for endpoint in endpoints
            if endpoint.provider == name
        ]
        return [aliased] if aliased else _by_fit(endpoints, model)

    def priced(self, key: Key, at_ms: int) -> tuple[bool, list[Route]]:
        """Whether anybody serves a model, and the routes of those that fit best among the ones that have a price for it."""
        dialect, provider, model, free = key
        groups = self.serving(dialect, provider, model)
        for group in groups:
            routes = []
            for (endpoint, own), weight in zip(group, _weights(group), strict=True):
                price = FREE_PRICE if free else self.prices.find(endpoint.provider, model, at_ms, own)
                if price is not None:
                    markup_ppm = self.prices.markup_ppm(endpoint.provider, model, own)
                    routes.append(Route(endpoint, model, own, price, weight, markup_ppm))
            if routes:
                return True, routes
        return any(groups), []

    def _find(self, key: Key, at_ms: int) -> Candidates:
        served, routes = self.priced(key, at_ms)
        if routes:
            return Candidates(routes, self._before.get(key))
        model = key[2]
        if not served:
            msg = f"The model {printable(model)!r} is not known here." if model else "No provider serves this path."
            raise NotFound(msg, code="model_not_found", param="model")
        msg = f"The model {printable(model)!r} has no price, so calls to it are refused."
        raise InsufficientCredits(msg, code="model_not_priced", param="model")

    def _opened(self, operation: FlatRate, target: Target) -> Candidates:
        """An opened path goes to the provider that it was opened for, at its flat price."""
        endpoints = [
            endpoint
            for endpoint in self.endpoints
            if endpoint.dialect == operation.dialect and endpoint.provider == target.provider
        ]
        return Candidates([Route(endpoint, "", None, operation.price, flat=True) for endpoint in endpoints])


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


def _by_fit(endpoints: Iterable[Endpoint], model: str) -> list[list[Served]]:
    """Those that fit the model, the best first: all that name it, then by the length of the prefix that they match."""
    groups: dict[int, list[Served]] = {}
    for endpoint in endpoints:
        fit = max((_fit(pattern, model) for pattern in endpoint.models), default=0)
        if fit:
            groups.setdefault(fit, []).append((endpoint, None))
    return [groups[fit] for fit in sorted(groups, reverse=True)]


def _fit(pattern: str, model: str) -> int:
    """How well a pattern fits: 0 not at all, an exact name above every prefix, a longer prefix above a shorter one."""
    if pattern == model:
        return _EXACT
    if pattern.endswith("*") and model.startswith(pattern[:-1]):
        return len(pattern)
    return 0


def _weights(group: Sequence[Served]) -> list[int]:
    """Each one's share in whole numbers: a provider's weight is spread evenly over its keys."""
    providers = [endpoint.provider for endpoint, _ in group]
    common = lcm(*map(providers.count, providers))
    return [endpoint.weight * (common // providers.count(endpoint.provider)) for endpoint, _ in group]


def _pairs(names: str | list[str]) -> tuple[tuple[str, str], ...]:
    """`provider/model` names as pairs."""
    listed = [names] if isinstance(names, str) else names
    return tuple((name.partition("/")[0], name.partition("/")[2]) for name in listed)
