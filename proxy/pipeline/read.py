"""The head of a request: what its headers say of the call, its trace and its tags. Header names are lower-case bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from proxy.core.errors import InvalidRequest, UpgradeRefused
from proxy.providers.dialect import JSON, NO_HEAD, Head

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.pipeline.exchange import Exchange
    from proxy.pipeline.paths import Target

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_TAG = re.compile(r"[A-Za-z0-9_.\-]{1,64}=[A-Za-z0-9_.\-:/@+ ]{0,256}")
# In another charset (UTF-7) the same bytes can be another JSON document, and some servers go by what the header says.
_CHARSET = re.compile(rb"charset[*0-9]*\s*=\s*\"?([^\s\";]*)", re.IGNORECASE)
_CHARSETS = frozenset((b"utf-8", b"utf8", b"us-ascii"))
_MAX_TAGS = 16
_MAX_TAG_BYTES = 4096


def refuse_websocket(named: Mapping[bytes, bytes]) -> None:
    """Raises UpgradeRefused for a request that wants to become a WebSocket."""
    if b"upgrade" in named and b"websocket" in named[b"upgrade"].lower():
        raise UpgradeRefused


def read_head(exchange: Exchange, target: Target, named: Mapping[bytes, bytes]) -> Head:
    """What the request says outside its body. Raises InvalidRequest."""
    content_type = named.get(b"content-type", JSON)
    if len(named) < len(exchange.headers) and sum(name == b"content-type" for name, _ in exchange.headers) > 1:
        # All of them would go on, and the provider may go by the other one: another boundary, another model.
        raise InvalidRequest("The header Content-Type must be given once.", param="content-type")
    if content_type == JSON and not target.params and not exchange.query:
        return NO_HEAD
    if b"charset" in content_type.lower() and any(
        one.lower() not in _CHARSETS for one in _CHARSET.findall(content_type)
    ):
        raise InvalidRequest("Request bodies are read as UTF-8.", code="unsupported_charset", param="content-type")
    return Head(target.params, exchange.query, content_type)


def read_trace(named: Mapping[bytes, bytes]) -> str | None:
    """The W3C trace id of `traceparent`, None where there is none. https://www.w3.org/TR/trace-context/"""
    header = named.get(b"traceparent")
    match = _TRACEPARENT.fullmatch(header) if header else None
    return None if match is None or match[1] == b"0" * 32 else match[1].decode()


def read_tags(named: Mapping[bytes, bytes]) -> dict[str, str]:
    """`x-farebox-tags: k=v,...` as a dictionary. Raises InvalidRequest."""
    header = named.get(b"x-farebox-tags")
    if not header:
        return {}
    pairs = [pair.strip() for pair in header.decode("latin-1").split(",")]
    if len(header) > _MAX_TAG_BYTES or len(pairs) > _MAX_TAGS or not all(_TAG.fullmatch(pair) for pair in pairs):
        msg = f"x-farebox-tags must be at most {_MAX_TAGS} pairs k=v of plain characters, separated by commas."
        raise InvalidRequest(msg, param="x-farebox-tags")
    return dict(pair.split("=", 1) for pair in pairs)


def printable(path: str) -> str:
    """A path as it may appear in a message: bounded, no control characters, nothing that could be a key in a query."""
    return "".join(character if character.isprintable() else "?" for character in path[:100])
