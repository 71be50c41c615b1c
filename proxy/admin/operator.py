"""The operators' listener: `/metrics`, `/healthz`, `/readyz` and an overview page, behind a credential of its own."""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.admin.exposition import Reading, exposition
from proxy.admin.overview import overview_page
from proxy.core.errors import Unavailable
from proxy.ledger.reaper import call_began_ms
from proxy.records.audit import Audit
from proxy.records.streams import lag

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from proxy.config import Config
    from proxy.ledger.connection import RedisConnection
    from proxy.ledger.ledger import Ledger
    from proxy.pipeline.health import Health
    from proxy.sql.database import Database
    from proxy.tasks import Tasks

log = logging.getLogger("farebox.operator")

_AUDIT_RETRY_S = 5.0
_LISTED = 20  # differences that are logged one by one
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1a1a1a}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}td,th{padding:.3rem .8rem .3rem 0;text-align:left;"
    "border-bottom:1px solid #e3e3e3}td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}"
)


class Operator:
    """Answers the people and machines that run Farebox."""

    def __init__(
        self,
        config: Config,
        database: Database,
        redis: RedisConnection,
        ledger: Ledger,
        *,
        health: Health,
        metrics: Path,
    ) -> None:
        self._token = config.admin.token.encode()
        self._open_metrics = config.admin.open_metrics
        self._spool = metrics.parent / "spool"
        self._database = database
        self._redis = redis
        self._ledger = ledger
        self._health = health
        self._metrics = metrics
        self._audit_every_s = config.admin.audit_every_s
        self._drift_microcredits: int | None = None

    def start(self, tasks: Tasks) -> None:
        """Starts the audit that stands behind the drift metric."""
        tasks.spawn("audit", self._watch_drift())

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._exposition)
        app.router.add_get("/", self._guarded(self._overview))
        app.router.add_get("/style.css", self._style)
        return app

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        report = await self._health.report()
        return web.json_response(report, status=200 if report["ready"] else 503)

    async def _exposition(self, request: web.Request) -> web.Response:
        if not self._open_metrics and not self._authorised(request):
            return self._challenge()
        body = exposition(self._metrics, await self._readings())
        return web.Response(body=body, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _overview(self, _request: web.Request) -> web.Response:
        return web.Response(
            text=await overview_page(self._database, self._ledger), content_type="text/html", headers=_HEADERS
        )

    async def _style(self, _request: web.Request) -> web.Response:
        return web.Response(text=_STYLE, content_type="text/css")

    def _guarded(
        self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            return await handler(request) if self._authorised(request) else self._challenge()

        return guarded

    def _authorised(self, request: web.Request) -> bool:
        """Bearer for programs, Basic (user admin) for browsers; compared in constant time."""
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        given = credential.strip().encode()
        if scheme.lower() == "basic":
            try:
                user, _, given = base64.b64decode(given, validate=True).partition(b":")
            except ValueError:
                return False
            if user != b"admin":
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given, self._token)

    def _challenge(self) -> web.Response:
        return web.json_response(
            {"error": "This listener needs the admin token."},
            status=401,
            headers={"www-authenticate": 'Basic realm="Farebox"'},
        )

    async def _watch_drift(self) -> None:
        while True:
            try:
                report = await Audit(self._ledger, self._redis, self._database).run()
            except Unavailable as error:
                log.warning("the audit waits for its stores: %s", error.code)
                await asyncio.sleep(_AUDIT_RETRY_S)
                continue
            self._drift_microcredits = report.difference_microcredits
            for difference in report.differences[:_LISTED]:
                log.error("audit: %s", difference)
            await asyncio.sleep(self._audit_every_s)

    async def _readings(self) -> list[Reading]:
        readings = [Reading("farebox_spool_records", "Settlements that wait for Redis.", self._spooled())]
        if self._drift_microcredits is not None:
            text = "What the last audit found Redis and the ledger entries to differ by."
            readings.append(Reading("farebox_ledger_drift_microcredits", text, self._drift_microcredits))
        try:
            due = [await self._ledger.due_holds(partition, 0) for partition in self._ledger.partitions]
            behind = await lag(self._redis, self._ledger.partitions)
        except Unavailable:
            return [*readings, Reading("farebox_redis_up", "Whether Redis answers.", 0)]
        oldest = [began for holds in due if (began := call_began_ms(holds.oldest_call_id)) is not None]
        age_s = max(time.time() - min(oldest) / 1000, 0.0) if oldest else 0.0
        return [
            *readings,
            Reading("farebox_redis_up", "Whether Redis answers.", 1),
            Reading("farebox_open_holds", "Holds of calls in progress.", sum(holds.open_holds for holds in due)),
            Reading("farebox_oldest_hold_seconds", "Age of the oldest hold.", age_s),
            Reading("farebox_recorder_lag_records", "Events that are not in SQL yet.", behind),
        ]

    def _spooled(self) -> int:
        return sum(file.read_bytes().count(b"\n") for file in self._spool.glob("*.jsonl"))


@asynccontextmanager
async def serve_operators(operator: Operator, sock: socket.socket) -> AsyncIterator[None]:
    """Serves while the block runs."""
    runner = web.AppRunner(operator.application(), access_log=None)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    try:
        yield
    finally:
        await runner.cleanup()
