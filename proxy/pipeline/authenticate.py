"""The credential of a request, in every header that SDKs use: exactly one, compared as bytes, never logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.errors import InvalidKey

if TYPE_CHECKING:
    from proxy.pipeline.exchange import RawHeaders

_PLAIN_HEADERS = frozenset({b"x-api-key", b"api-key", b"x-goog-api-key"})
_MAX_CREDENTIAL_BYTES = 512


def credential_of(headers: RawHeaders) -> bytes:
    """The API key that a request carries. Raises InvalidKey when there is none, or more than one."""
    found: list[bytes] = []
    for name, value in headers:
        if name == b"authorization":
            found.append(_bearer(value))
        elif name in _PLAIN_HEADERS:
            found.append(value.strip())
    if not found:
        msg = "No API key was sent. Use the Authorization: Bearer header, or x-api-key."
        raise InvalidKey(msg, code="missing_api_key")
    if len(found) > 1:
        msg = "More than one credential was sent; send exactly one."
        raise InvalidKey(msg, code="ambiguous_api_key")
    if not found[0] or len(found[0]) > _MAX_CREDENTIAL_BYTES:
        raise InvalidKey
    return found[0]


def _bearer(value: bytes) -> bytes:
    scheme, _, credential = value.partition(b" ")
    if scheme.lower() != b"bearer":
        msg = "The Authorization header must be: Bearer followed by an API key."
        raise InvalidKey(msg)
    return credential.strip()
