"""What a reload replaces: providers with their connections, paths, prices and default limits. Built whole, swapped at once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

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
from proxy.pipeline.upstream.client import UpstreamClient
from proxy.pipeline.upstream.dialer import client_tls
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
    from collections.abc import Callable, Iterator

    from proxy.accounts.authenticator import Authenticator
    from proxy.config import Config
    from proxy.pipeline.handle import Pipeline
    from proxy.provider_config import Provider

log = logging.getLogger("farebox.routes")

# Where clients of mountsea's chat service send what OpenAI's SDKs send elsewhere (docs.mountsea.ai, "Chat"): metered like it.
MOUNTSEA_PATHS = {
    "/chat/chat/completions": "/v1/chat/completions",
    "/chat/v1/chat/completions": "/v1/chat/completions",
    "/chat/v1/responses": "/v1/responses",
    "/chat/responses": "/v1/responses",
}
MOUNTSEA_PATHS |= {f"/compat/mountsea{path}": known for path, known in MOUNTSEA_PATHS.items()}


class Routes:
    """Everything of the configuration that a reload replaces: providers with their connections, paths, prices."""

    def __init__(self, config: Config) -> None:
        self._endpoints = make_endpoints(config)
        bases = base_paths(config.providers)
        self.paths = Paths(OPERATIONS, bases)
        for opened in config.open:
            dialect = opened.dialect or next(iter(bases[opened.provider]))
            operation = FlatRate(opened, dialect, config.credits.per_usd)
            self.paths.add(operation, opened.provider, bases[opened.provider][dialect])
        if "mountsea" not in config.surfaces.disabled:
            self.paths.alias(MOUNTSEA_PATHS)
        self.router = Router(self._endpoints, config.price_book(), config)
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
        *followers: Callable[[Config], None],
    ) -> None:
        """`followers` are told of the new configuration when everything else has it."""
        self._read_again = read_again
        self.routes = routes
        self._pipeline = pipeline
        self._authenticator = authenticator
        self._followers = followers

    def reload(self) -> None:
        """Takes the configuration up as it stands; one that is wrong changes nothing."""
        try:
            config = self._read_again()
            fresh = Routes(config)
        except ConfigError as error:
            log.error("not reloaded: %s", error.message)  # noqa: TRY400 - the message says it all
            return
        before, self.routes = self.routes, fresh
        self._pipeline.reroute(fresh.paths, fresh.router, fresh.models)
        self._authenticator.use_default_limits(default_limits(config))
        for follow in self._followers:
            follow(config)
        before.retire()
        log.info("reloaded: %d providers, %d prices", len(config.providers), len(config.prices))


def make_endpoints(config: Config) -> list[Endpoint]:
    """Every provider in every dialect that it speaks, with each of its keys; one connection pool for each address."""
    endpoints: list[Endpoint] = []
    upstream = config.upstream
    rules = RestRules(upstream.rest_after_failures, upstream.rest_s, upstream.longest_rest_s)
    for name, provider in config.providers.items():
        clients: dict[Origin, UpstreamClient] = {}
        for dialect, url in provider.endpoints().items():
            origin = Origin.parse(url)
            if origin not in clients:
                clients[origin] = _upstream_client(config, provider, origin)
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
    way = general.proxy if provider.proxy is None else provider.proxy
    return UpstreamClient(
        origin, timeouts=timeouts, limits=limits, tls=tls, proxy=ForwardProxy.parse(way) if way else None
    )


def default_limits(config: Config) -> dict[str, int]:
    """Kind -> ceiling of keys that have no limits of their own."""
    limits = config.limits
    pairs = {REQUESTS: limits.requests_per_minute, TOKENS: limits.tokens_per_minute, CONCURRENT: limits.concurrent}
    return {kind: ceiling for kind, ceiling in pairs.items() if ceiling is not None}
