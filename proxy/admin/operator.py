"""The operators' listener: `/metrics`, `/healthz`, `/readyz`, an overview page, and the admin API with its reference.

Behind a credential of its own: the root token, or an administrator's. Programs send it as Bearer, browsers as Basic.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from importlib import resources
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.admin.api import PREFIX, AdminApi, identify
from proxy.admin.body import MAX_BODY_BYTES
from proxy.admin.exposition import Reading, exposition
from proxy.admin.overview import overview_page
from proxy.admin.resources import ENDPOINTS
from proxy.core.errors import FareboxError, InvalidKey, Unavailable
from proxy.ledger.reaper import call_began_ms
from proxy.records.streams import lag

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from proxy.admin.call import Office
    from proxy.pipeline.health import Health
    from proxy.tasks import Tasks

MAX_LINE_BYTES = 65_536  # a path or a header beyond it is refused by the HTTP library, in words of its own
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

    def __init__(self, office: Office, *, health: Health, metrics: Path, open_metrics: bool) -> None:
        self._office = office
        self._open_metrics = open_metrics
        self._spool = metrics.parent / "spool"
        self._health = health
        self._metrics = metrics

    def start(self, tasks: Tasks) -> None:
        """Starts the audit that stands behind the drift metric."""
        self._office.auditor.start(tasks)

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._exposition)
        app.router.add_get("/", self._guarded(self._overview))
        app.router.add_get("/style.css", self._style)
        app.router.add_get(f"{PREFIX}/openapi.yaml", self._guarded(_file("openapi.yaml", "application/yaml")))
        app.router.add_get(f"{PREFIX}/reference", self._guarded(_file("reference.html", "text/html")))
        AdminApi(self._office, ENDPOINTS).add_to(app)
        return app

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        report = await self._health.report()
        return web.json_response(report, status=200 if report["ready"] else 503)

    async def _exposition(self, request: web.Request) -> web.StreamResponse:
        if self._open_metrics:
            return await self._scrape(request)
        return await self._guarded(self._scrape)(request)

    async def _scrape(self, _request: web.Request) -> web.Response:
        body = exposition(self._metrics, await self._readings())
        return web.Response(body=body, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _overview(self, _request: web.Request) -> web.Response:
        page = await overview_page(self._office.database, self._office.ledger)
        return web.Response(text=page, content_type="text/html", headers=_HEADERS)

    async def _style(self, _request: web.Request) -> web.Response:
        return web.Response(text=_STYLE, content_type="text/css")

    def _guarded(
        self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """For everybody with a credential of an administrator: each of their roles may look."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                await identify(request, self._office.administrators)
            except InvalidKey:
                return _refused("This listener needs the admin token.", 401)
            except FareboxError as error:
                return _refused(error.message, error.status)
            return await handler(request)

        return guarded

    async def _readings(self) -> list[Reading]:
        ledger, last = self._office.ledger, self._office.auditor.last
        readings = [Reading("farebox_spool_records", "Settlements that wait for Redis.", self._spooled())]
        if last is not None:
            text = "What the last audit found Redis and the ledger entries to differ by."
            drift = last.report.difference_microcredits
            readings.append(Reading("farebox_ledger_drift_microcredits", text, drift))
        try:
            due = [await ledger.due_holds(partition, 0) for partition in ledger.partitions]
            behind = await lag(self._office.redis, ledger.partitions)
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


def _file(name: str, content_type: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answers with a file of this package, read when the routes are made."""
    body = resources.files("proxy.admin").joinpath(name).read_bytes()

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=_HEADERS)

    return answer


def _refused(message: str, status: int) -> web.Response:
    headers = {"www-authenticate": 'Basic realm="Farebox"'} if status == InvalidKey.status else {}
    return web.json_response({"error": message}, status=status, headers=headers)


@asynccontextmanager
async def serve_operators(operator: Operator, sock: socket.socket) -> AsyncIterator[None]:
    """Serves while the block runs."""
    runner = web.AppRunner(
        operator.application(), access_log=None, max_line_size=MAX_LINE_BYTES, max_field_size=MAX_LINE_BYTES
    )
    await runner.setup()
    await web.SockSite(runner, sock).start()
    try:
        yield
    finally:
        await runner.cleanup()
