"""The admin API: `/admin/v1/*` on the operators' listener. This file takes a request from the wire to its handler and back.

Each endpoint is a row of a table (`Endpoint` in proxy/admin/call.py); a resource is a file with its shapes, its handlers and its rows.
To add one:

1.  proxy/admin/<resource>.py: msgspec Structs for what comes in (`forbid_unknown_fields=True`, bounds as `msgspec.Meta`) and what
    goes out, handlers `async def name(call: Call) -> Struct` (or a web.StreamResponse), and `ENDPOINTS`, a tuple of rows.
2.  One line in `RESOURCES` of proxy/admin/resources.py.
3.  `make openapi` writes openapi.yaml and the reference page anew; a test compares them with the rows.

What the rows get here: who asks (401, 403), the right (403 `forbidden_role`), bounds (413, 408), strict reading (400 with `param`),
idempotency (409), our shape of errors, a request id on every answer, and no caching. Handlers raise FareboxErrors and know of no HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import json
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from proxy.admin.body import MAX_BODY_BYTES, check_texts, read_json, read_query, shaped, shaped_query
from proxy.admin.call import Call, Endpoint, Office
from proxy.admin.once import claim, keep_answer
from proxy.core.errors import (
    FareboxError,
    Forbidden,
    InvalidKey,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    TooLarge,
)
from proxy.core.ids import new_call_id, new_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from proxy.accounts.administrators import Administrator, Administrators

    Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger("farebox.admin")

PREFIX = "/admin/v1"
BODY_TIMEOUT_S = 30.0
MAX_IDEMPOTENCY_KEY = 255
REQUEST_ID = "farebox_request_id"
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class UnsupportedMedia(FareboxError):
    """415: a body that is not JSON."""

    status = 415
    code = "unsupported_media_type"
    default_message = "Send the body as application/json, not compressed."


class AdminApi:
    """The routes of all endpoints, under `PREFIX`."""

    def __init__(self, office: Office, endpoints: Iterable[Endpoint]) -> None:
        self._office = office
        self._endpoints = tuple(endpoints)

    def add_to(self, app: web.Application) -> None:
        """Adds the routes, and the answers to what has none."""
        for endpoint in self._endpoints:
            app.router.add_route(endpoint.method, PREFIX + endpoint.path, self._answering(endpoint))
        known = {endpoint.path: self._methods(endpoint.path) for endpoint in self._endpoints}
        for path, methods in known.items():
            app.router.add_route("*", PREFIX + path, _answered(_refusing(MethodNotAllowed(), allow=", ".join(methods))))
        for path in (PREFIX, PREFIX + "/{path:.*}"):
            app.router.add_route("*", path, _answered(self._nothing_here))

    def _methods(self, path: str) -> list[str]:
        return [endpoint.method for endpoint in self._endpoints if endpoint.path == path]

    async def _nothing_here(self, request: web.Request) -> web.StreamResponse:
        await identify(request, self._office.administrators)
        raise NotFound(f"There is nothing here; {PREFIX}/reference has every path.")

    def _answering(self, endpoint: Endpoint) -> Answer:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await self._serve(endpoint, request)

        return _answered(answer)

    async def _serve(self, endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        administrator = await identify(request, self._office.administrators)
        _check_origin(request)
        administrator.require(endpoint.right)
        parts, given = dict(request.match_info), read_query(request.query.items())
        check_texts(parts)
        raw = await _read_body(request)
        if endpoint.body is None and raw:
            raise InvalidRequest("This request has no body.", code="unexpected_body")
        if endpoint.query is None and given:
            name = next(iter(given))[:100]
            raise InvalidRequest(f"{name} is not known here; this request has no parameters", param=name)
        key = _idempotency_key(request) if endpoint.makes or endpoint.takes_idempotency_key else None
        call = Call(
            request=request,
            request_id=request[REQUEST_ID],
            administrator=administrator,
            office=self._office,
            parts=parts,
            query=None if endpoint.query is None else shaped_query(given, endpoint.query),
            body=None if endpoint.body is None else shaped(raw, endpoint.body),
            idempotency_key=key,
            resource_id=new_id(endpoint.makes) if endpoint.makes else "",
            list_name=_list_name(request.path, given),
        )
        if endpoint.makes and key is not None:
            return await self._serve_once(endpoint, call, _digest(request, raw))
        return _response(await endpoint.handler(call), endpoint.status)

    async def _serve_once(self, endpoint: Endpoint, call: Call, digest: str) -> web.StreamResponse:
        assert call.idempotency_key is not None
        database, now_ms = self._office.database, self._office.clock.now_ms()
        claimed = await claim(database, call.actor, call.idempotency_key, digest, call.resource_id, now_ms)
        if claimed.answer is not None:
            return _json_response(claimed.answer.encode(), claimed.status, {"idempotency-replayed": "true"})
        answer = await endpoint.handler(dataclasses.replace(call, resource_id=claimed.resource_id))
        assert isinstance(answer, msgspec.Struct), "what makes something answers with it"
        kept = msgspec.structs.replace(answer, **dict.fromkeys(endpoint.shown_once))
        text = msgspec.json.encode(kept).decode()
        await keep_answer(database, call.actor, call.idempotency_key, endpoint.status, text)
        return _response(answer, endpoint.status)


async def identify(request: web.Request, administrators: Administrators) -> Administrator:
    """Who asks: `Authorization: Bearer`, `X-API-Key`, or Basic (user `admin`, or the administrator's name) for browsers.

    Raises InvalidKey, Forbidden (an account's API key).
    """
    given = request.headers.getall("authorization", [])
    keys = request.headers.getall("x-api-key", [])
    if len(given) + len(keys) != 1:
        message = "Send exactly one credential: Authorization: Bearer CREDENTIAL."
        raise InvalidKey(message, code="ambiguous_credential" if given or keys else "missing_credential")
    if keys:
        return await administrators.identify(keys[0].strip().encode("utf-8", "surrogateescape"))
    scheme, _, text = given[0].partition(" ")
    credential = text.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() == "bearer":
        return await administrators.identify(credential)
    if scheme.lower() != "basic":
        raise InvalidKey("The Authorization header must be: Bearer CREDENTIAL.", code="invalid_credential")
    try:
        user, _, password = base64.b64decode(credential, validate=True).partition(b":")
    except ValueError as error:
        raise InvalidKey("The Basic credential cannot be read.", code="invalid_credential") from error
    found = await administrators.identify(password)
    if user not in {b"admin", found.name.encode()}:
        raise InvalidKey("The user is `admin`, or the administrator's name.", code="invalid_credential")
    return found


def _answered(handler: Answer) -> Answer:
    """The handler with a request id, and with errors as answers."""

    async def answered(request: web.Request) -> web.StreamResponse:
        request[REQUEST_ID] = request_id = new_call_id()
        try:
            response = await handler(request)
        except FareboxError as error:
            response = error_response(error, request_id)
        except (asyncio.CancelledError, web.HTTPException):
            raise
        except Exception:  # the one home of a broad except in the admin API: a defect is ours, and is said so
            log.exception("request %s: unexpected error", request_id)
            response = error_response(FareboxError("Something went wrong in Farebox."), request_id)
        if not response.prepared:
            response.headers.update({**_HEADERS, **response.headers, "x-request-id": request_id})
        return response

    return answered


def _refusing(error: FareboxError, **headers: str) -> Answer:
    async def refuse(request: web.Request) -> web.StreamResponse:
        response = error_response(error, request[REQUEST_ID])
        response.headers.update(headers)
        return response

    return refuse


def error_response(error: FareboxError, request_id: str) -> web.Response:
    """`{"error": {"code", "message", "param"}, "request_id"}`."""
    said = {"code": error.code, "message": error.message, "param": error.param}
    headers = {}
    if error.retry_after_ms is not None:
        headers["retry-after"] = str(-(-error.retry_after_ms // 1000))
    if error.status == InvalidKey.status:
        headers["www-authenticate"] = 'Bearer realm="Farebox"'
    return _json_response(msgspec.json.encode({"error": said, "request_id": request_id}), error.status, headers)


def _response(answer: msgspec.Struct | web.StreamResponse, status: int) -> web.StreamResponse:
    return _json_response(msgspec.json.encode(answer), status) if isinstance(answer, msgspec.Struct) else answer


def _json_response(body: bytes, status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


async def _read_body(request: web.Request) -> dict[str, object]:
    """Raises UnsupportedMedia, TooLarge, RequestTimeout, InvalidRequest."""
    if not request.body_exists:
        return {}
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge(f"The body is larger than {MAX_BODY_BYTES} bytes.") from error
    except TimeoutError as error:
        raise RequestTimeout from error
    if body and request.content_type != "application/json":
        raise UnsupportedMedia
    return read_json(body)


def _check_origin(request: web.Request) -> None:
    """A browser sends its Basic credential wherever a page tells it to: another site's page may change nothing."""
    if request.method == "GET":
        return
    origin = request.headers.get("origin")
    if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"} or (
        origin is not None and urlsplit(origin).netloc != request.host
    ):
        raise Forbidden("This request comes from another site's page.", code="cross_origin")


def _idempotency_key(request: web.Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and (not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY or not key.isprintable()):
        raise InvalidRequest(
            f"Idempotency-Key has 1 to {MAX_IDEMPOTENCY_KEY} printable characters", param="Idempotency-Key"
        )
    if key is not None:
        check_texts(key)
    return key


def _list_name(path: str, given: dict[str, str]) -> str:
    filters = {name: value for name, value in given.items() if name not in {"limit", "cursor"}}
    return f"{path}?{json.dumps(filters, sort_keys=True)}"


def _digest(request: web.Request, body: dict[str, object]) -> str:
    same = json.dumps([request.method, request.path, body], sort_keys=True)
    return hashlib.sha256(same.encode()).hexdigest()
