"""The routes that a call may take, and in which order: by weight, those that rest last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.core.pricing import MARKUP_ONE_PPM, Tariff
from proxy.pipeline.parting import USUAL, Parting
from proxy.providers.token_limits import is_unsure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.core.pricing import Price
    from proxy.pipeline.condition import Condition
    from proxy.pipeline.upstream.client import UpstreamClient
    from proxy.providers.registry import Header
    from proxy.providers.rows import Names
    from proxy.providers.signing import Signer

_MAX_TARIFFS = 64  # of one route: accounts have few different markups


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Endpoint:
    """One provider in one dialect with one of its keys: where its calls go, and with which credential.

    `origin` is scheme, host and port; `base_path` has no trailing slash; `tail` are the headers that every call there
    gets; `defaults` those that are added where the client did not send them; `parts` take the place of what a path says.
    `token_limits` are the names under which chat completions obey a token limit there (see `providers.token_limits`).
    """

    provider: str
    dialect: str
    origin: str
    base_path: str
    api_key: str = field(repr=False)
    models: tuple[str, ...]
    weight: int
    client: UpstreamClient
    allowed_headers: frozenset[bytes]
    allowed_query: frozenset[str]
    defaults: tuple[Header, ...]
    tail: tuple[Header, ...] = field(repr=False)
    signer: Signer | None
    parts: Mapping[str, str]
    condition: Condition
    parting: Parting = USUAL
    token_limits: Names = None
    targets: dict[str, str] = field(default_factory=dict)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What its calls are sent with, and no client may see."""
        return (self.api_key,) if self.signer is None else self.signer.secrets()


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A provider for a model, and what the call costs there.

    `own_model` is the provider's own name for the model, None where it is the one that was asked for. `markup_ppm` holds for
    accounts without a markup of their own, in parts per million; a `flat` price is what accounts pay, without any. `named`:
    what the call costs by the model that answers, where the request named several and `price` is the dearest's.
    `metric_model` is the model as a metric's label: its own name where the configuration names it, so that labels stay bounded.
    """

    endpoint: Endpoint
    model: str
    own_model: str | None
    price: Price
    weight: int = 1
    markup_ppm: int = MARKUP_ONE_PPM
    flat: bool = False
    named: Mapping[str, Price] = field(default_factory=dict)
    metric_model: str = field(init=False)
    _tariffs: dict[tuple[int, int], Tariff] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Finds the label once, not for each call."""
        named = self.own_model is not None or self.model in self.endpoint.models
        object.__setattr__(self, "metric_model", self.model if named else "other")

    def tariff(self, credits_per_usd: int, markup_ppm: int) -> Tariff:
        """The price as an account with this markup meets it."""
        key = (credits_per_usd, markup_ppm)
        tariff = self._tariffs.get(key)
        if tariff is None:
            tariff = Tariff(self.price, credits_per_usd, markup_ppm)
            if len(self._tariffs) < _MAX_TARIFFS:
                self._tariffs[key] = tariff
        return tariff


class Candidates:
    """The routes of one model in one dialect; several share its calls by weight (smooth weighted round robin).

    `due` says by how much each is behind its share. `unsure`: one of them is known to pass over a usual name of a limit.
    """

    __slots__ = ("due", "one_price", "routes", "unsure")

    def __init__(self, routes: Sequence[Route], before: Candidates | None = None) -> None:
        """`before` are the same model's until now: whose turn it is goes on from there."""
        self.routes = tuple(routes)
        same = before is not None and [route.endpoint for route in before.routes] == [one.endpoint for one in routes]
        self.due: list[int] = before.due if before is not None and same else [0] * len(self.routes)
        self.one_price = all(route.price is self.routes[0].price for route in self.routes)
        self.unsure = any(is_unsure(route.endpoint.token_limits) for route in self.routes)

    def order(self, now: float) -> tuple[Route, ...]:
        """The routes as they are to be tried: the one whose turn it is, the other ready ones, then those that rest.

        Where all of them rest, the one whose rest ends first is the least bad. `now` in monotonic seconds.
        """
        routes = self.routes
        if len(routes) == 1:
            return routes
        ready = [index for index, route in enumerate(routes) if route.endpoint.condition.ready(now)]
        resting = sorted(
            (index for index in range(len(routes)) if index not in ready),
            key=lambda index: routes[index].endpoint.condition.until,
        )
        if ready:
            ready = self._turn(ready)
        return tuple(routes[index] for index in ready + resting)

    def _turn(self, ready: list[int]) -> list[int]:
        """The ready ones with the one in front whose turn it is, which pays for its turn."""
        due = self.due
        for index in ready:
            due[index] += self.routes[index].weight
        ordered = sorted(ready, key=lambda index: -due[index])
        due[ordered[0]] -= sum(self.routes[index].weight for index in ready)
        return ordered
