"""What a reload replaces: providers with their connections, paths, prices and default limits. Built whole, swapped at once.

What takes long (reading the file, hundreds of prices, certificates) is done in a thread, so that no call waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from proxy.core.errors import ConfigError
from proxy.core.limits import CONCURRENT, REQUESTS, TOKENS
from proxy.pipeline.candidates import Endpoint
from proxy.pipeline.condition import Condition, RestRules
from proxy.pipeline.models import Models
from proxy.pipeline.opened import FlatRate
from proxy.pipeline.parting import Parting, parting_of
from proxy.pipeline.paths import Paths
from proxy.pipeline.route import Router, base_path, base_paths
from proxy.pipeline.signers import signer_for
from proxy.pipeline.turnstile import Turnstile
from proxy.pipeline.upstream.client import UpstreamClient
from proxy.pipeline.upstream.dialer import client_tls
from proxy.pipeline.upstream.exchange import STEPS_A_TURN
from proxy.pipeline.upstream.settings import ForwardProxy, Origin, PoolLimits, Timeouts
from proxy.providers.registry import (
    OPERATIONS,
    allowed_query,
    allowed_request_headers,
    credential_headers,
    default_headers,
)
from proxy.providers.token_limits import obeyed_names

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping

    from proxy.accounts.authenticator import Authenticator
    from proxy.config import Config
    from proxy.pipeline.handle import Pipeline
    from proxy.prices.book import PriceBook
    from proxy.provider_config import Provider
    from proxy.tasks import Tasks

log = logging.getLogger("farebox.routes")

# Where clients of mountsea's chat service send what OpenAI's SDKs send elsewhere (docs.mountsea.ai, "Chat"): metered like it.
MOUNTSEA_PATHS = {
    "/chat/chat/completions": "/v1/chat/completions",
    "/chat/v1/chat/completions": "/v1/chat/completions",
    "/chat/v1/responses": "/v1/responses",
    "/chat/responses": "/v1/responses",
}
MOUNTSEA_PATHS |= {f"/compat/mountsea{path}": known for path, known in MOUNTSEA_PATHS.items()}


@dataclass(frozen=True, slots=True)
class Prepared:
    """What takes long to make of a configuration, in whichever thread: its prices, and TLS by a provider's `ca_file`."""

    prices: PriceBook
    tls: Mapping[str | None, ssl.SSLContext]

    @classmethod
    def of(cls, config: Config) -> Self:
        """Some tens of milliseconds for a few hundred prices, and as much for certificates. Raises ConfigError."""
        return cls(config.price_book(), _tls_by_file(config))


class Routes:
    """Everything of the configuration that a reload replaces: providers with their connections, paths, prices."""

    def __init__(self, config: Config, prepared: Prepared | None = None) -> None:
        prepared = prepared or Prepared.of(config)
        self._endpoints = make_endpoints(config, prepared.tls)
        bases = base_paths(config.providers)
        self.paths = Paths(OPERATIONS, bases)
        for opened in config.open:
            dialect = opened.dialect or next(iter(bases[opened.provider]))
            operation = FlatRate(opened, dialect, config.credits.per_usd)
            self.paths.add(operation, opened.provider, bases[opened.provider][dialect])
        if "mountsea" not in config.surfaces.disabled:
            self.paths.alias(MOUNTSEA_PATHS)
        self.router = Router(self._endpoints, prepared.prices, config)
        self.models = Models(self.router, bases)

    def retire(self) -> None:
        """Replaced: calls that chose their route here still go through, and their connections close behind them."""
        for client in self._clients():
            client.retire()

    async def close(self) -> None:
        """Opens no more calls; those in progress go on."""
        for client in self._clients():
            await client.close()

    def _clients(self) -> set[UpstreamClient]:
        return {endpoint.client for endpoint in self._endpoints}


class Reloader:
    """Answers SIGHUP: new providers, prices and default limits, without dropping a call."""

    def __init__(
        self,
        read_again: Callable[[], Config],
        routes: Routes,
        pipeline: Pipeline,
        authenticator: Authenticator,
        tasks: Tasks,
        *followers: Callable[[Config, PriceBook], None],
    ) -> None:
        """`followers` are told of the new configuration and its prices when everything else has them."""
        self._read_again = read_again
        self.routes = routes
        self._pipeline = pipeline
        self._authenticator = authenticator
        self._tasks = tasks
        self._followers = followers
        self._asked = self._busy = False

    def reload(self) -> None:
        """Takes the configuration up as it stands, soon; one that is wrong changes nothing."""
        self._asked = True
        if not self._busy:
            self._busy = True
            self._tasks.spawn("reload", self._reload_while_asked())

    async def _reload_while_asked(self) -> None:
        """Whoever asks during a reload gets another one behind it, however many ask: what counts is the file's last state."""
        try:
            while self._asked:
                self._asked = False
                await self._reload()
        finally:
            self._busy = False

    async def _reload(self) -> None:
        try:
            config, prepared = await asyncio.to_thread(self._prepare)
            fresh = Routes(config, prepared)
        except ConfigError as error:
            log.error("not reloaded: %s", error.message)  # noqa: TRY400 - the message says it all
            return
        self._swap(config, prepared.prices, fresh)

    def _prepare(self) -> tuple[Config, Prepared]:
        config = self._read_again()
        return config, Prepared.of(config)

    def _swap(self, config: Config, prices: PriceBook, fresh: Routes) -> None:
        before, self.routes = self.routes, fresh
        self._pipeline.reroute(fresh.paths, fresh.router, fresh.models)
        self._authenticator.use_default_limits(default_limits(config))
        for follow in self._followers:
            follow(config, prices)
        before.retire()
        log.info("reloaded: %d providers, %d prices", len(config.providers), len(config.prices))


def make_endpoints(config: Config, tls: Mapping[str | None, ssl.SSLContext] | None = None) -> list[Endpoint]:
    """Every provider in every dialect that it speaks, with each of its keys; one connection pool for each address."""
    endpoints: list[Endpoint] = []
    tls = _tls_by_file(config) if tls is None else tls
    steps = Turnstile(STEPS_A_TURN)
    upstream = config.upstream
    rules = RestRules(upstream.rest_after_failures, upstream.rest_s, upstream.longest_rest_s)
    for name, provider in config.providers.items():
        clients: dict[Origin, UpstreamClient] = {}
        for dialect, url in provider.endpoints().items():
            origin = Origin.parse(url)
            if origin not in clients:
                clients[origin] = _upstream_client(config, provider, origin, tls, steps)
            endpoints += _endpoints_of(
                name, provider, dialect, clients[origin], rules, parting=parting_of(config, provider.on_client_left)
            )
    return endpoints


def _endpoints_of(
    name: str, provider: Provider, dialect: str, client: UpstreamClient, rules: RestRules, *, parting: Parting
) -> Iterator[Endpoint]:
    """A provider in one dialect, once for each of its keys."""
    url = provider.endpoints()[dialect]
    parts = {"project": provider.project, "location": provider.location}
    for key in provider.every_key():
        yield Endpoint(
            provider=name,
            dialect=dialect,
            origin="/".join(url.split("/", 3)[:3]),
            base_path=base_path(url),
            api_key=key,
            models=tuple(provider.models),
            weight=provider.weight,
            client=client,
            allowed_headers=allowed_request_headers(dialect, name),
            allowed_query=allowed_query(dialect, name),
            defaults=default_headers(dialect),
            # Identity: usage is read from the bytes that pass, and a compressed answer would have to be unpacked for it.
            tail=(*credential_headers(name, dialect, key), (b"accept-encoding", b"identity")),
            signer=signer_for(provider, dialect, url, key),
            parts={part: value for part, value in parts.items() if value},
            condition=Condition(rules),
            parting=parting,
            token_limits=obeyed_names(name, url, provider.token_limits) if dialect == "openai" else None,
        )


def _tls_by_file(config: Config) -> dict[str | None, ssl.SSLContext]:
    """One context for all providers with the same authorities: reading the system's takes 30 ms each time."""
    files = {
        provider.ca_file
        for provider in config.providers.values()
        if any(Origin.parse(url).tls for url in provider.endpoints().values())
    }
    return {file: client_tls(file) for file in files}


def _upstream_client(
    config: Config, provider: Provider, origin: Origin, tls: Mapping[str | None, ssl.SSLContext], steps: Turnstile
) -> UpstreamClient:
    general = config.upstream

    def pick(own: float | None, default: float) -> float:
        return default if own is None else own

    timeouts = Timeouts(
        connect_s=pick(provider.connect_timeout_s, general.connect_timeout_s),
        first_byte_s=pick(provider.first_byte_timeout_s, general.first_byte_timeout_s),
        idle_s=pick(provider.idle_timeout_s, general.idle_timeout_s),
        total_s=pick(provider.total_timeout_s, general.total_timeout_s),
    )
    limits = PoolLimits(
        connections=provider.max_connections or general.max_connections, keepalive_s=general.keepalive_s
    )
    context = tls[provider.ca_file] if origin.tls else None
    way = general.proxy if provider.proxy is None else provider.proxy
    proxy = ForwardProxy.parse(way) if way else None
    return UpstreamClient(origin, timeouts=timeouts, limits=limits, tls=context, proxy=proxy, steps=steps)


def default_limits(config: Config) -> dict[str, int]:
    """Kind -> ceiling of keys that have no limits of their own."""
    limits = config.limits
    pairs = {REQUESTS: limits.requests_per_minute, TOKENS: limits.tokens_per_minute, CONCURRENT: limits.concurrent}
    return {kind: ceiling for kind, ceiling in pairs.items() if ceiling is not None}
