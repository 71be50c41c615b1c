"""The story of a call: authenticate, read, route, hold, forward, relay, settle.

This file narrates; every step lives in the file of its name. Each way out of a call passes the hold's block, which
settles or releases it once. Refusals before the hold cost nothing and leave no record.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from proxy.core.errors import FareboxError, UpstreamFailed, UpstreamTimeout
from proxy.core.ids import new_call_id
from proxy.pipeline.admit import rate_limit_headers
from proxy.pipeline.authenticate import credential_of
from proxy.pipeline.call import Call
from proxy.pipeline.exchange import ClientLeft
from proxy.pipeline.forward import open_upstream
from proxy.pipeline.hold import CreditsExhausted
from proxy.pipeline.read import read_tags, read_trace
from proxy.pipeline.relay import relay
from proxy.pipeline.reply import send_error
from proxy.pipeline.route import check_model_allowed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from proxy.accounts.authenticator import Authenticator
    from proxy.config import Config
    from proxy.core.clock import Clock
    from proxy.metrics import Metrics
    from proxy.pipeline.exchange import Exchange, RawHeaders
    from proxy.pipeline.health import Health
    from proxy.pipeline.hold import Credits, Hold
    from proxy.pipeline.read import Paths
    from proxy.pipeline.route import Router

log = logging.getLogger("farebox.call")


class Pipeline:
    """Everything that a worker needs to serve calls."""

    def __init__(
        self,
        config: Config,
        *,
        paths: Paths,
        router: Router,
        authenticator: Authenticator,
        credits_: Credits,
        metrics: Metrics,
        clock: Clock,
        health: Health,
    ) -> None:
        self._server = config.server
        self._paths = paths
        self.router = router
        self._authenticator = authenticator
        self._credits = credits_
        self._metrics = metrics
        self._clock = clock
        self._health = health
        self._own_paths: Mapping[str, Callable[[Exchange], Awaitable[None]]] = {
            "/healthz": health.healthz,
            "/readyz": health.readyz,
        }

    def reroute(self, paths: Paths, router: Router) -> None:
        """Takes up new routes and prices; calls in progress keep theirs."""
        self._paths, self.router = paths, router

    async def handle(self, exchange: Exchange) -> None:
        """Answers one request, whatever happens."""
        own = self._own_paths.get(exchange.path)
        if own is not None:
            await own(exchange)
            return
        call_id = new_call_id()
        try:
            await self._answer(exchange, call_id)
        except ClientLeft:
            log.debug("call %s: the client left", call_id)
        except Exception:  # the one home of a broad except on the path of a call: a defect is ours, and is said so
            log.exception("call %s: unexpected error", call_id)
            self._fail(exchange, FareboxError(), call_id, [])

    async def _answer(self, exchange: Exchange, call_id: str) -> None:
        limits: RawHeaders = []
        try:
            await self._serve(exchange, call_id, limits)
        except CreditsExhausted:
            log.info("call %s: cut, its credits ran out", call_id)
        except FareboxError as error:
            self._fail(exchange, error, call_id, limits)

    async def _serve(self, exchange: Exchange, call_id: str, limits: RawHeaders) -> None:
        call = await self._read_call(exchange, call_id)
        self._health.check()
        hold = self._credits.hold(call)
        try:
            async with hold:  # 402, 429 or 503 before anything is sent
                await self._forward(call, hold)  # leaving the block settles or releases, however we leave it
        except FareboxError:
            limits += rate_limit_headers(hold.standings, call.dialect, call.at_ms)
            raise

    async def _read_call(self, exchange: Exchange, call_id: str) -> Call:
        at_ms, started = self._clock.now_ms(), self._clock.monotonic()
        target = self._paths.match(exchange)
        credential = credential_of(exchange.headers)
        caller = await self._authenticator.identify(credential)
        trace_id, tags = read_trace(exchange), read_tags(exchange)
        body = await exchange.read_body(self._server.max_body_bytes, self._server.body_timeout_s)
        ask = target.operation.read(body)
        check_model_allowed(caller, ask.model)
        route = self.router.find(target.operation.dialect, ask.model, target.provider)
        return Call(
            call_id=call_id,
            at_ms=at_ms,
            started=started,
            exchange=exchange,
            operation=target.operation,
            suffix=target.suffix,
            credential=credential,
            caller=caller,
            body=body,
            ask=ask,
            route=route,
            tariff=self.router.tariff(route, caller.markup_ppm),
            trace_id=trace_id,
            tags=tags,
        )

    async def _forward(self, call: Call, hold: Hold) -> None:
        exchange = call.exchange
        if exchange.left:
            raise ClientLeft
        upstream = open_upstream(call)
        exchange.on_left = lambda: upstream.abort(ClientLeft())
        call.forwarded_at = self._clock.monotonic()
        self._metrics.overhead.observe((), call.forwarded_at - call.started)
        try:
            try:
                await upstream.start()
            finally:
                call.sent = upstream.sent
            await relay(call, upstream, hold)
        finally:
            exchange.on_left = None
            upstream.close()
            self._observe(call, self._clock.monotonic())

    def _observe(self, call: Call, now: float) -> None:
        provider = (call.route.endpoint.provider,)
        self._metrics.upstream.observe(provider, now - call.forwarded_at)
        if call.first_byte_at is not None:
            self._metrics.first_byte.observe(provider, call.first_byte_at - call.started)

    def _fail(self, exchange: Exchange, error: FareboxError, call_id: str, limits: RawHeaders) -> None:
        if not isinstance(error, UpstreamFailed | UpstreamTimeout):  # those were forwarded, and count as calls
            self._metrics.refused.add((error.code,))
        if exchange.head_sent or exchange.left:
            exchange.cut()
            return
        try:
            send_error(exchange, error, self._paths.dialect_of(exchange), call_id, limits)
        except ClientLeft:
            log.debug("call %s: the client left before it was told: %s", call_id, error.code)
