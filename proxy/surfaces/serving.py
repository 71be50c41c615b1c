"""One request of a surface, from its path to its answer in the vendor's shape.

In this order: which endpoint, is the surface switched on, is there maintenance, who asks, may they ask now, what do they ask.
Nothing here is on the path of a call: the pipeline finds a surface by one look into a dictionary that it makes anyway.
Guarantees: an answer always has the vendor's shape and `x-farebox-call-id`; the query of a request (where a key may stand)
is in no log and in no answer; a defect is a 500 that shows nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from proxy.accounts.administrators import Administrator
from proxy.accounts.keys import kind_of
from proxy.accounts.model_prices import ModelPrices
from proxy.core.errors import FareboxError, MethodNotAllowed, NotFound, Unavailable
from proxy.core.ids import new_call_id
from proxy.pipeline.allowed import check_reach
from proxy.pipeline.exchange import ClientLeft
from proxy.pipeline.read import printable
from proxy.surfaces.credentials import read_query
from proxy.surfaces.fields import read_object
from proxy.surfaces.house import MaintenanceSwitch
from proxy.surfaces.throttle import Throttle
from proxy.surfaces.vendor import Answer, Endpoint, Maintenance, Query, SurfaceDisabled, Vendor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from proxy.accounts.caller import Caller
    from proxy.config import Config
    from proxy.pipeline.exchange import Exchange, Headers
    from proxy.prices.book import PriceBook
    from proxy.surfaces.house import House

    Serve = Callable[[Exchange], Awaitable[None]]

log = logging.getLogger("farebox.surfaces")

MAX_BODY_BYTES = 262_144
_AT_ONCE_BYTES = 262_144
_UNAVAILABLE_RETRY_MS = 1000
_COMPAT = "/compat/"
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Surfaces:
    """The surfaces of one worker. `otherwise` answers requests on shared paths that no vendor claims: the pipeline."""

    def __init__(self, house: House, vendors: Iterable[Vendor], otherwise: Serve) -> None:
        settings = house.config.surfaces
        self._house = house
        self._otherwise = otherwise
        self._off = frozenset(settings.disabled)
        self._maintenance = MaintenanceSwitch(house.database, house.clock)
        self._throttle = Throttle(house.clock, per_minute=settings.queries_per_minute, at_once=settings.queries_at_once)
        self._places: dict[str, list[tuple[Vendor, Endpoint]]] = {}
        self._vendors: dict[str, Vendor] = {}
        for vendor in vendors:
            self._vendors[vendor.name] = vendor
            for endpoint in vendor.endpoints:
                self._places.setdefault(endpoint.path, []).append((vendor, endpoint))
                under = f"{_COMPAT}{vendor.name}{endpoint.path}"
                alone = Endpoint(endpoint.method, under, endpoint.handler)
                self._places.setdefault(under, []).append((vendor, alone))

    def paths(self) -> dict[str, Serve]:
        """Exact path -> what serves it, for the pipeline."""
        return dict.fromkeys(self._places, self.serve)

    def reload(self, config: Config, prices: PriceBook) -> None:
        """Takes up new prices."""
        self._house.desk.recorded.use_prices(ModelPrices.of(config, prices))

    def refused_stray(self, exchange: Exchange, call_id: str) -> bool:
        """Answers 404 in the vendor's shape where a path under its prefix is none of its paths. Raises ClientLeft."""
        prefix, _, rest = exchange.path.removeprefix(_COMPAT).partition("/")
        vendor = self._vendors.get(prefix) if rest and exchange.path.startswith(_COMPAT) else None
        if vendor is None:
            return False
        error = NotFound(f"Cannot {exchange.method} {printable(exchange.path)}")
        self._send(exchange, _refusal(vendor, error, call_id), call_id)
        return True

    async def serve(self, exchange: Exchange) -> None:
        """Answers one request, or hands it on where no vendor claims it. Raises ClientLeft."""
        place = self._places[exchange.path]
        for vendor, endpoint in place:
            if endpoint.method != exchange.method:
                continue
            if endpoint.claims is None or (vendor.name not in self._off and endpoint.claims(exchange)):
                await self._answer(exchange, vendor, endpoint)
                return
        if any(endpoint.claims is not None for _, endpoint in place):
            await self._otherwise(exchange)
            return
        methods = ", ".join(sorted({endpoint.method for _, endpoint in place}))
        error = MethodNotAllowed(f"{exchange.method} is not allowed here; use {methods}.", metadata={"allow": methods})
        vendor, call_id = place[0][0], new_call_id()
        self._send(
            exchange, _refusal(vendor, SurfaceDisabled() if vendor.name in self._off else error, call_id), call_id
        )

    async def _answer(self, exchange: Exchange, vendor: Vendor, endpoint: Endpoint) -> None:
        call_id = new_call_id()
        try:
            answer = await self._ask(exchange, vendor, endpoint, call_id)
        except FareboxError as error:
            answer = _refusal(vendor, error, call_id)
        except ClientLeft:
            raise
        except (
            Exception
        ):  # the one home of a broad except among the surfaces: a defect is ours, and is said so in the vendor's shape
            log.exception("query %s: unexpected error at %s", call_id, endpoint.path)
            answer = vendor.refuse(FareboxError(), call_id)
        content = answer.content
        if isinstance(content, Raw) and len(memoryview(content)) > _AT_ONCE_BYTES:
            await _send_long(exchange, answer.status, _headers(answer, call_id), memoryview(content))
        else:
            self._send(exchange, answer, call_id)

    async def _ask(self, exchange: Exchange, vendor: Vendor, endpoint: Endpoint, call_id: str) -> Answer:
        if vendor.name in self._off:
            raise SurfaceDisabled
        if await self._maintenance.is_on():
            raise Maintenance
        who = await self._identify(exchange, vendor)
        with self._throttle.query(who.actor if isinstance(who, Administrator) else who.digest):
            query = Query(exchange=exchange, call_id=call_id, at_ms=self._house.clock.now_ms(), who=who)
            query.params = read_query(exchange.query)
            if exchange.method in _BODY_METHODS:
                query.body = await self._read_body(exchange)
            found = await endpoint.handler(query)
        return found if isinstance(found, Answer) else Answer(200, found)

    async def _identify(self, exchange: Exchange, vendor: Vendor) -> Caller | Administrator:
        key = vendor.credential(exchange)
        if vendor.administrators and kind_of(key) is None:
            return await self._house.administrators.identify(key)
        caller = await self._house.caller(key, vendor.kind)
        check_reach(caller, exchange)
        return caller

    async def _read_body(self, exchange: Exchange) -> dict[str, object]:
        body = await exchange.read_body(MAX_BODY_BYTES, self._house.config.server.body_timeout_s)
        return read_object(body)

    @staticmethod
    def _send(exchange: Exchange, answer: Answer, call_id: str) -> None:
        exchange.answer(answer.status, _headers(answer, call_id), _encode(answer.content))


def _headers(answer: Answer, call_id: str) -> Headers:
    return [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"x-farebox-call-id", call_id.encode()),
        *answer.headers,
    ]


async def _send_long(exchange: Exchange, status: int, headers: Headers, body: memoryview) -> None:
    """A piece a turn of the event loop: six megabytes at once are 10 ms of copying. Raises ClientLeft."""
    exchange.begin(status, headers)
    for start in range(0, len(body), _AT_ONCE_BYTES):
        await exchange.send(bytes(body[start : start + _AT_ONCE_BYTES]))
        await asyncio.sleep(0)
    exchange.end()


def _refusal(vendor: Vendor, error: FareboxError, call_id: str) -> Answer:
    """The vendor's answer to an error, with the headers that HTTP wants beside it."""
    answer = vendor.refuse(error, call_id)
    headers = list(answer.headers)
    retry_after_ms = error.retry_after_ms
    if retry_after_ms is None and isinstance(error, Unavailable):
        retry_after_ms = _UNAVAILABLE_RETRY_MS
    if retry_after_ms is not None:
        headers.append((b"retry-after", b"%d" % -(-retry_after_ms // 1000)))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", str(error.metadata.get("allow", "")).encode()))
    return Answer(answer.status, answer.content, tuple(headers))
