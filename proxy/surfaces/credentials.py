"""Where each vendor's callers put their credential: exactly one, compared as bytes, never logged."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from proxy.core.errors import InvalidKey

if TYPE_CHECKING:
    from proxy.pipeline.exchange import Exchange

_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})
_MAX_CREDENTIAL_BYTES = 512
MAX_QUERY_MEMBERS = 100


def bearer(exchange: Exchange) -> bytes:
    """`Authorization: Bearer KEY`. Raises InvalidKey."""
    return _only(exchange, _bearers(exchange))


def x_api_key(exchange: Exchange) -> bytes:
    """`X-API-Key: KEY`. Raises InvalidKey."""
    return _only(exchange, _x_api_keys(exchange))


def x_api_key_or_bearer(exchange: Exchange) -> bytes:
    """`X-API-Key: KEY`, or `Authorization: Bearer KEY`. Raises InvalidKey."""
    return _only(exchange, _x_api_keys(exchange) + _bearers(exchange))


def x_api_key_or_query(exchange: Exchange) -> bytes:
    """`X-API-Key: KEY`, or `?key=KEY`. Raises InvalidKey."""
    return _only(exchange, _x_api_keys(exchange), [key.encode() for key in read_query(exchange.query).get("key", ())])


def read_query(query: str) -> dict[str, list[str]]:
    """The members of a raw query, decoded, each with all of its values. Raises InvalidKey where it cannot be read.

    InvalidKey, because this is read before anybody has said who they are.
    """
    found: dict[str, list[str]] = {}
    try:
        members = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_MEMBERS, errors="strict")
    except ValueError as error:
        raise InvalidKey("The query of the request cannot be read.") from error
    for name, value in members:
        found.setdefault(name, []).append(value)
    return found


def _x_api_keys(exchange: Exchange) -> list[bytes]:
    return [value.strip() for name, value in exchange.headers if name == b"x-api-key"]


def _bearers(exchange: Exchange) -> list[bytes]:
    found = []
    for name, value in exchange.headers:
        scheme, _, credential = value.partition(b" ")
        if name == b"authorization" and scheme.lower() == b"bearer":
            found.append(credential.strip())
    return found


def _only(exchange: Exchange, in_headers: list[bytes], in_query: list[bytes] | None = None) -> bytes:
    """The one credential, where the vendor's callers put it and none is anywhere else."""
    keys = in_headers + (in_query or [])
    if not keys:
        raise InvalidKey("No API key was sent.", code="missing_api_key")
    if len(keys) > 1 or sum(name in _HEADERS for name, _ in exchange.headers) > len(in_headers):
        raise InvalidKey("More than one credential was sent; send exactly one.", code="ambiguous_api_key")
    if not keys[0] or len(keys[0]) > _MAX_CREDENTIAL_BYTES:
        raise InvalidKey
    return keys[0]
