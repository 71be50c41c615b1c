"""Forwarding: what goes to the provider, and nothing else. Headers by allow-list, our credential, the bytes that came."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from proxy.providers.registry import allowed_query, allowed_request_headers, credential_headers, default_headers

if TYPE_CHECKING:
    from proxy.pipeline.call import Call
    from proxy.pipeline.exchange import RawHeaders
    from proxy.pipeline.upstream.exchange import Exchange as UpstreamExchange


def open_upstream(call: Call) -> UpstreamExchange:
    """The exchange with the provider, with nothing sent yet."""
    endpoint = call.route.endpoint
    target = endpoint.base_path + call.suffix + _query(call)
    body = call.operation.outgoing(call.body, call.ask)
    return endpoint.client.open(b"POST", target.encode("latin-1"), request_headers(call), body)


def request_headers(call: Call) -> RawHeaders:
    """The headers for the provider: the client's that are allowed, the provider's credential, the trace."""
    endpoint = call.route.endpoint
    allowed = allowed_request_headers(endpoint.dialect)
    headers = [pair for pair in call.exchange.headers if pair[0] in allowed]
    sent = {name for name, _ in headers}
    headers += [pair for pair in default_headers(endpoint.dialect) if pair[0] not in sent]
    headers += credential_headers(endpoint.provider, endpoint.dialect, endpoint.api_key)
    # Identity: usage is read from the bytes that pass, and a compressed answer would have to be unpacked for it.
    headers.append((b"accept-encoding", b"identity"))
    return headers


def _query(call: Call) -> str:
    """The query members that the dialect allows; `key` and everything unknown stay here."""
    if not call.exchange.query:
        return ""
    allowed = allowed_query(call.dialect)
    kept = [(name, value) for name, value in parse_qsl(call.exchange.query, keep_blank_values=True) if name in allowed]
    return f"?{urlencode(kept)}" if kept else ""
