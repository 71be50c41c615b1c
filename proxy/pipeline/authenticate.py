"""The credential of a request, in every place where SDKs put it: exactly one, compared as bytes, never logged or passed on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from proxy.core.errors import InvalidKey

if TYPE_CHECKING:
    from proxy.pipeline.exchange import RawHeaders

CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})
# AWS's SDKs send a Bearer over TLS only; without, an API key can stand where they have the id of an access key, which they
# send in the clear as well. Their signature proves nothing here: it is made for the provider's address, and dropped.
_AWS_SCHEME = b"aws4-hmac-sha256"
_AWS_KEY_ID = re.compile(rb"\s*Credential=([^/,\s]+)/")
_MAX_CREDENTIAL_BYTES = 512
_MAX_QUERY_MEMBERS = 100


def credential_of(headers: RawHeaders, query: str = "") -> bytes:
    """The API key that a request carries. Raises InvalidKey when there is none, or more than one.

    `query` is the raw query of a call in Gemini's dialect, whose older clients send `?key=`; no other dialect's is given.
    """
    found = [
        _bearer(value) if name == b"authorization" else value.strip()
        for name, value in headers
        if name in CREDENTIAL_HEADERS
    ]
    if query:
        found += _keys_in(query)
    if not found:
        msg = "No API key was sent. Use the Authorization: Bearer header, or x-api-key."
        raise InvalidKey(msg, code="missing_api_key")
    if len(found) > 1:
        msg = "More than one credential was sent; send exactly one."
        raise InvalidKey(msg, code="ambiguous_api_key")
    if not found[0] or len(found[0]) > _MAX_CREDENTIAL_BYTES:
        raise InvalidKey
    return found[0]


def _keys_in(query: str) -> list[bytes]:
    try:
        members = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_QUERY_MEMBERS)
    except ValueError as error:
        raise InvalidKey from error
    return [value.encode("utf-8", "replace") for name, value in members if name == "key"]


def _bearer(value: bytes) -> bytes:
    scheme, _, credential = value.partition(b" ")
    if scheme.lower() == _AWS_SCHEME and (key_id := _AWS_KEY_ID.match(credential)):
        return key_id[1]
    if scheme.lower() != b"bearer":
        msg = "The Authorization header must be: Bearer followed by an API key."
        raise InvalidKey(msg)
    return credential.strip()
