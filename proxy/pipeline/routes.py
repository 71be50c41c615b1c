"""What a reload replaces: providers with their connections, paths, prices and default limits. Built whole, swapped at once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from proxy.core.errors import ConfigError
from proxy.core.limits import CONCURRENT, REQUESTS, TOKENS
from proxy.pipeline.read import Paths
from proxy.pipeline.route import Endpoint, Router, base_path, base_paths
from proxy.pipeline.upstream.client import UpstreamClient
from proxy.pipeline.upstream.dialer import client_tls
from proxy.pipeline.upstream.settings import Origin, PoolLimits, Timeouts
from proxy.providers.registry import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.accounts.authenticator import Authenticator
    from proxy.config import Config, Provider
    from proxy.pipeline.handle import Pipeline

log = logging.getLogger("farebox.routes")


class Routes:
    """Everything of the configuration that a reload replaces: providers with their connections, paths, prices."""

    def __init__(self, config: Config) -> None:
        self._endpoints = make_endpoints(config)
        self.paths = Paths(OPERATIONS, base_paths(config.providers))
        self.router = Router(self._endpoints, config.price_book(), config)

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
    ) -> None:
        self._read_again = read_again
        self.routes = routes
        self._pipeline = pipeline
        self._authenticator = authenticator

    def reload(self) -> None:
        """Takes the configuration up as it stands; one that is wrong changes nothing."""
        try:
            config = self._read_again()
            fresh = Routes(config)
        except ConfigError as error:
            log.error("not reloaded: %s", error.message)  # noqa: TRY400 - the message says it all
            return
        before, self.routes = self.routes, fresh
        self._pipeline.reroute(fresh.paths, fresh.router)
        self._authenticator.use_default_limits(default_limits(config))
        before.retire()
        log.info("reloaded: %d providers, %d prices", len(config.providers), len(config.prices))


def make_endpoints(config: Config) -> list[Endpoint]:
    """Every provider in every dialect that it speaks; one connection pool for each address."""
    endpoints = []
    for name, provider in config.providers.items():
        clients: dict[Origin, UpstreamClient] = {}
        for dialect, url in provider.endpoints().items():
            origin = Origin.parse(url)
            if origin not in clients:
                clients[origin] = _upstream_client(config, provider, origin)
            endpoints.append(
                Endpoint(name, dialect, base_path(url), provider.api_key, tuple(provider.models), clients[origin])
            )
    return endpoints


def _upstream_client(config: Config, provider: Provider, origin: Origin) -> UpstreamClient:
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
    tls = client_tls(provider.ca_file) if origin.tls else None
    return UpstreamClient(origin, timeouts=timeouts, limits=limits, tls=tls)


def default_limits(config: Config) -> dict[str, int]:
    """Kind -> ceiling of keys that have no limits of their own."""
    limits = config.limits
    pairs = {REQUESTS: limits.requests_per_minute, TOKENS: limits.tokens_per_minute, CONCURRENT: limits.concurrent}
    return {kind: ceiling for kind, ceiling in pairs.items() if ceiling is not None}
