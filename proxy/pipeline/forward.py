"""Forwarding: what goes to the provider, and nothing else. Headers by allow-list, our credential, the bytes that came."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus

from proxy.core.errors import NotFound, UpstreamFailed
from proxy.pipeline.paths import MODEL_PARTS, fill
from proxy.providers.quirks import as_sent
from proxy.providers.signing import SigningError

if TYPE_CHECKING:
    from proxy.pipeline.call import Call
    from proxy.pipeline.candidates import Endpoint, Route
    from proxy.pipeline.exchange import RawHeaders
    from proxy.pipeline.upstream.exchange import Exchange as UpstreamExchange
    from proxy.providers.signing import Signer

log = logging.getLogger("farebox.forward")

# Of a client's head: how many providers' heads are kept with it, and up to which size.
_MAX_KEPT, _MAX_KEPT_BYTES = 4, 2048

# What may stand in a query on the wire (RFC 3986); a member with anything else stays here.
_MEMBER = re.compile(r"[A-Za-z0-9\-._~!$'()*+,;:@/?=%\[\]]*")


def open_upstream(call: Call) -> UpstreamExchange:
    """The exchange with the provider of `call.route`, with nothing sent yet; for a provider whose key is sent as it is."""
    endpoint, method = call.route.endpoint, call.operation.method.encode()
    target, body = target_for(call, call.route), _body(call)
    kept, key = call.exchange.head.sent, (endpoint, target, not body)
    lines = kept.get(key)
    if lines is None:
        headers = request_headers(call, endpoint, with_body=bool(body))
        lines = endpoint.client.lines(method, target.encode("ascii"), headers)
        if len(kept) < _MAX_KEPT and len(lines) < _MAX_KEPT_BYTES:
            kept[key] = lines
    return endpoint.client.open_again(lines, method, body)


async def open_signed(call: Call, signer: Signer) -> UpstreamExchange:
    """The same for a provider whose calls are signed; signing may wait. Raises UpstreamFailed where it cannot be done."""
    endpoint, method = call.route.endpoint, call.operation.method
    target, body = target_for(call, call.route), _body(call)
    headers = request_headers(call, endpoint, with_body=bool(body))
    try:
        headers += await signer.headers(method, endpoint.origin + target, headers, body)
    except SigningError as error:
        log.error("a call could not be signed: %s", error)  # noqa: TRY400 - the message says it all
        raise UpstreamFailed(
            "The credential for the model provider could not be had.", code="upstream_credential"
        ) from error
    return endpoint.client.open(method.encode(), target.encode("ascii"), headers, body)


def _body(call: Call) -> bytes:
    """The body for the provider."""
    route = call.route
    ask = as_sent(call.ask, route.endpoint.provider)
    if route.own_model is None:
        return call.operation.outgoing(call.body, ask)
    return call.operation.outgoing(call.body, ask, route.own_model)


def request_headers(call: Call, endpoint: Endpoint, *, with_body: bool = True) -> RawHeaders:
    """The headers for the provider: the client's that are allowed, what it requires, and the provider's credential."""
    allowed = endpoint.allowed_headers
    headers = [pair for pair in call.exchange.headers if pair[0] in allowed]
    if with_body:
        headers += [pair for pair in endpoint.defaults if pair[0] not in call.exchange.named]
    else:
        headers += [
            pair for pair in endpoint.defaults if pair[0] not in call.exchange.named and pair[0] != b"content-type"
        ]
    headers += endpoint.tail
    return headers


def target_for(call: Call, route: Route) -> str:
    """Path and query for the provider: the captured parts as they came, but for what the configuration says instead."""
    endpoint, target = route.endpoint, call.target
    if not target.raw:
        path = endpoint.targets.get(target.suffix)
        if path is None:
            path = endpoint.targets[target.suffix] = endpoint.base_path + target.suffix
    else:
        if endpoint.signer is not None and "project" in target.raw and "project" not in endpoint.parts:
            # Our credential may open several projects, and a caller must not choose which one pays.
            raise NotFound("This path names a project, and the configuration of its provider names none.")
        raw = {name: endpoint.parts.get(name, value) for name, value in target.raw.items()}
        if endpoint.dialect == "bedrock":
            # As AWS's own SDKs write it: only of that spelling is it certain which path a signature is checked for.
            raw["model"] = quote(route.own_model or target.params["model"], safe="")
        elif route.own_model is not None:
            raw |= {name: quote(route.own_model, safe=":@") for name in raw if name in MODEL_PARTS}
        path = endpoint.base_path + fill(target.suffix, raw)
    return path + _query(call.exchange.query, endpoint.allowed_query) if call.exchange.query else path


def _query(query: str, allowed: frozenset[str]) -> str:
    """The query members that the dialect allows, as they came; `key` and everything unknown stay here."""
    kept = [
        member
        for member in query.split("&")
        if unquote_plus(member.partition("=")[0]) in allowed and _MEMBER.fullmatch(member)
    ]
    return "?" + "&".join(kept) if kept else ""
