"""The story of a call: authenticate, read, route, hold, forward, relay, settle.

This file narrates; every step lives in the file of its name. Each way out of a call passes the hold's block, which
settles or releases it once. Refusals before the hold cost nothing and leave no record.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.core.errors import FareboxError, UpstreamFailed, UpstreamTimeout
from proxy.core.ids import new_call_id, trace_id_of
from proxy.pipeline.admit import rate_limit_lines, with_media_of
from proxy.pipeline.allowed import with_models, within_reach
from proxy.pipeline.alternatives import at_dearest
from proxy.pipeline.attempts import first_answer
from proxy.pipeline.authenticate import credential_of
from proxy.pipeline.call import Call
from proxy.pipeline.ended import CreditsExhausted
from proxy.pipeline.exchange import ClientLeft
from proxy.pipeline.obeyed import without_ignored
from proxy.pipeline.preamble import read_preamble
from proxy.pipeline.read import refuse_websocket
from proxy.pipeline.relay import relay
from proxy.pipeline.reply import send_error
from proxy.pipeline.request_head import KnownHeads
from proxy.pipeline.turnstile import CALLS_A_TURN, CROWD, Turnstile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from proxy.accounts.authenticator import Authenticator
    from proxy.accounts.caller import Caller
    from proxy.config import Config
    from proxy.core.clock import Clock
    from proxy.metrics import Metrics
    from proxy.pipeline.candidates import Candidates
    from proxy.pipeline.exchange import Exchange
    from proxy.pipeline.health import Health
    from proxy.pipeline.hold import Credits, Hold
    from proxy.pipeline.models import Models, Wanted
    from proxy.pipeline.paths import Paths, Target
    from proxy.pipeline.preamble import Preamble
    from proxy.pipeline.route import Router
    from proxy.pipeline.upstream.exchange import Exchange as UpstreamExchange
    from proxy.providers.dialect import Ask

log = logging.getLogger("farebox.call")

KEY_IN_QUERY = frozenset({"gemini", "vertex"})
"""Dialects whose clients may send their key as `?key=`: https://cloud.google.com/docs/authentication/api-keys-use"""

_FIRST_ERROR_STATUS = 400


class Pipeline:
    """Everything that a worker needs to serve calls."""

    def __init__(
        self,
        config: Config,
        *,
        paths: Paths,
        router: Router,
        models: Models,
        authenticator: Authenticator,
        credits_: Credits,
        metrics: Metrics,
        clock: Clock,
        health: Health,
    ) -> None:
        self._server = config.server
        self._answers = Turnstile(CALLS_A_TURN)
        self._retries = config.upstream.retries
        self._paths = paths
        self.router = router
        self._models = models
        self._authenticator = authenticator
        self._credits = credits_
        self._metrics = metrics
        self._clock = clock
        self._health = health
        self.heads = KnownHeads()
        self._own_paths: Mapping[str, Callable[[Exchange], Awaitable[None]]] = {
            "/healthz": health.healthz,
            "/readyz": health.readyz,
        }
        self._refused_elsewhere: Callable[[Exchange, str], bool] | None = None

    def reroute(self, paths: Paths, router: Router, models: Models) -> None:
        """Takes up new routes and prices; calls in progress keep theirs."""
        self._paths, self.router, self._models = paths, router, models
        self.heads.forget()

    def hang_in(
        self, own_paths: Mapping[str, Callable[[Exchange], Awaitable[None]]], refused: Callable[[Exchange, str], bool]
    ) -> None:
        """Exact paths that are no calls, with what answers them.

        `refused(exchange, call_id)` is asked before an error of another path is told: True where it has answered itself.
        """
        self._own_paths = {**self._own_paths, **own_paths}
        self._refused_elsewhere = refused
        self.heads.forget()

    def handle(self, exchange: Exchange) -> Awaitable[None]:
        """Answers one request, whatever happens."""
        return self._serve(exchange, self._own_paths.get(exchange.path))

    def serve(self, exchange: Exchange) -> Awaitable[None]:
        """Answers one request as if its path were nobody's own, whatever happens."""
        return self._serve(exchange, None)

    async def _serve(self, exchange: Exchange, own: Callable[[Exchange], Awaitable[None]] | None) -> None:
        call_id = new_call_id()
        limits: Sequence[bytes] = ()
        try:
            if own is not None:
                await own(exchange)
                return
            if exchange.method == "GET" and (wanted := self._models.wanted(exchange)) is not None:
                await self._list_models(exchange, wanted)
                return
            call = await self._read_call(exchange, call_id)
            self._health.check()
            hold = self._credits.hold(call)
            try:
                async with hold:  # 402, 429 or 503 before anything is sent
                    await self._forward(call, hold)  # leaving the block settles or releases, however we leave it
            except FareboxError:
                limits = rate_limit_lines(hold.standings, call.dialect, call.at_ms)
                raise
        except CreditsExhausted:
            log.info("call %s: cut, its credits ran out", call_id)
        except FareboxError as error:
            self._fail(exchange, error, call_id, limits)
        except ClientLeft:
            log.debug("call %s: the client left", call_id)
        except Exception:  # the one home of a broad except on the path of a call: a defect is ours, and is said so
            log.exception("call %s: unexpected error", call_id)
            self._fail(exchange, FareboxError(), call_id, ())

    async def _list_models(self, exchange: Exchange, wanted: Wanted) -> None:
        refuse_websocket(exchange.named)
        caller = await self._caller(exchange, self._key_digest(exchange, wanted.dialect))
        self._models.answer(exchange, wanted, caller, self._clock.now_ms())

    def _key_digest(self, exchange: Exchange, dialect: str) -> str:
        credential = credential_of(exchange.headers, exchange.query if dialect in KEY_IN_QUERY else "")
        return self._authenticator.digest(credential)

    async def _caller(self, exchange: Exchange, key_digest: str) -> Caller:
        caller = await self._authenticator.caller_of(key_digest)
        if caller.reach is not None:
            caller = await within_reach(caller, exchange, self._authenticator)
        return caller

    async def _read_preamble(self, exchange: Exchange) -> Preamble:
        """Of a head that is new here; once its key is known, it need not be read again."""
        refuse_websocket(exchange.named)
        paths, head = self._paths, exchange.head
        target = paths.match(exchange)
        key_digest = self._key_digest(exchange, target.operation.dialect)
        await self._caller(exchange, key_digest)
        preamble = head.preamble = read_preamble(exchange, target, key_digest)
        if self._paths is paths:  # else a reload came in between: the next call finds out what the head means now
            self.heads.keep(head)
        return preamble

    async def _read_call(self, exchange: Exchange, call_id: str) -> Call:
        at_ms, started = self._clock.now_ms(), self._clock.monotonic()
        preamble = exchange.head.preamble or await self._read_preamble(exchange)
        caller = self._authenticator.remembered(preamble.key_digest, started)
        if caller is None or caller.reach is not None:
            caller = await self._caller(exchange, preamble.key_digest)
        target = preamble.target
        operation = target.operation
        max_bytes = self._server.max_body_bytes
        if exchange.body_complete:
            body = exchange.whole_body(max_bytes)
        else:
            body = await exchange.read_body(max_bytes, self._server.body_timeout_s)
        ask = operation.read(body, preamble.head)
        if caller.models is not None:
            caller = await with_models(caller, operation, ask, self._authenticator)
        if ask.resources:
            keeper = await self._credits.resources.provider_of(caller.account_id, ask.resources, target.provider)
            target = replace(target, provider=keeper)
        candidates = self.router.find(target, ask.model, at_ms)
        if ask.others:
            candidates = self._at_dearest(candidates, target, ask, at_ms)
        if ask.media_parts:
            ask = with_media_of(ask, candidates.routes)
        if candidates.unsure and not self._credits.strict:
            ask = without_ignored(ask, operation, body, candidates.routes)
        candidates, route, tariff = self.router.dearest(candidates, ask, len(body), caller.markup_ppm)
        return Call(
            call_id=call_id,
            at_ms=at_ms,
            started=started,
            exchange=exchange,
            target=target,
            operation=operation,
            caller=caller,
            body=body,
            ask=ask,
            candidates=candidates,
            route=route,
            tariff=tariff,
            trace_id=preamble.trace_id or trace_id_of(call_id),
            tags=preamble.tags,
        )

    def _at_dearest(self, candidates: Candidates, target: Target, ask: Ask, at_ms: int) -> Candidates:
        """The candidates of a request that lets other models answer too, at the dearest price of them all."""
        return at_dearest(candidates, {other: self.router.find(target, other, at_ms) for other in ask.others})

    async def _forward(self, call: Call, hold: Hold) -> None:
        exchange = call.exchange
        call.forwarded_at = self._clock.monotonic()
        upstream: UpstreamExchange | None = None
        try:
            upstream = await first_answer(call, self.router, self._retries)
            if len(self._credits.open) > CROWD and not self._answers.passes():
                await self._answers.stand_in_line()
            await relay(call, upstream, hold)
        except (UpstreamFailed, UpstreamTimeout):
            if upstream is not None:  # an attempt that got no answer has said so itself
                call.route.endpoint.condition.failed(self._clock.monotonic())
            raise
        else:
            condition = call.route.endpoint.condition
            if upstream.status < _FIRST_ERROR_STATUS and condition.failures:
                condition.succeeded()
        finally:
            exchange.on_left = None
            if upstream is not None:
                upstream.close()
            instants = (call.started, call.forwarded_at, call.first_byte_at, self._clock.monotonic())
            self._metrics.timed[call.route.endpoint.provider].append(instants)

    def _fail(self, exchange: Exchange, error: FareboxError, call_id: str, limits: Sequence[bytes]) -> None:
        if not isinstance(error, UpstreamFailed | UpstreamTimeout):  # those were forwarded, and count as calls
            self._metrics.refused.add((error.code,))
        if exchange.head_sent or exchange.left:
            exchange.cut()
            return
        try:
            if self._refused_elsewhere is not None and self._refused_elsewhere(exchange, call_id):
                return
            send_error(exchange, error, self._dialect_of(exchange), call_id, limits)
        except ClientLeft:
            log.debug("call %s: the client left before it was told: %s", call_id, error.code)

    def _dialect_of(self, exchange: Exchange) -> str:
        wanted = self._models.wanted(exchange) if exchange.method == "GET" else None
        return self._paths.dialect_of(exchange) if wanted is None else wanted.dialect
