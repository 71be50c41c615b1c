"""Answers of our own: errors in the caller's dialect, with what a client needs to act on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.errors import MethodNotAllowed, Unavailable, UpgradeRefused
from proxy.providers.errors import error_body, error_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.core.errors import FareboxError
    from proxy.pipeline.exchange import Exchange, RawHeaders

_JSON = (b"content-type", b"application/json")
_UNAVAILABLE_RETRY_MS = 1000

_NOT_HTTP = (
    b'{"error":{"message":"The HTTP request could not be read.","type":"invalid_request_error","param":null,'
    b'"code":"bad_http_request"}}'
)
BAD_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nx-should-retry: false\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%b"
) % (len(_NOT_HTTP), _NOT_HTTP)
"""The whole answer to what is no request at all, in whatever dialect it was meant."""


def send_error(exchange: Exchange, error: FareboxError, dialect: str, call_id: str, limits: Sequence[bytes]) -> None:
    """Sends an error as the dialect's SDKs expect it; `limits` are the lines of their headers. Raises ClientLeft."""
    headers: RawHeaders = [_JSON, (b"x-farebox-call-id", call_id.encode()), *error_headers(dialect, error)]
    if error.should_retry is False:
        headers.append((b"x-should-retry", b"false"))
    retry_after_ms = error.retry_after_ms
    if retry_after_ms is None and isinstance(error, Unavailable):
        retry_after_ms = _UNAVAILABLE_RETRY_MS
    if retry_after_ms is not None:
        headers.append((b"retry-after", b"%d" % -(-retry_after_ms // 1000)))
        headers.append((b"retry-after-ms", b"%d" % retry_after_ms))
    if isinstance(error, UpgradeRefused):
        headers.append((b"upgrade", b"HTTP/1.1"))  # which a 426 has to say (RFC 9110, 15.5.22)
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", str(error.metadata.get("allow", "")).encode()))
    exchange.answer(error.status, headers, error_body(dialect, error, call_id), limits)


def send_json(exchange: Exchange, status: int, body: bytes) -> None:
    """Sends a small JSON document. Raises ClientLeft."""
    exchange.answer(status, [_JSON, (b"cache-control", b"no-store")], body)
