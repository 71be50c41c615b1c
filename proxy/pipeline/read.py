"""The head of a request: which call it is, in which dialect, for which provider. Decided on the raw path, matched whole.

What is not metered is not open: a path that no operation claims is 404, whatever it looks like after decoding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.core.errors import InvalidRequest, MethodNotAllowed, NotFound
from proxy.core.ids import new_trace_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxy.pipeline.exchange import Exchange
    from proxy.providers.dialect import Operation

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_TAG = re.compile(r"[A-Za-z0-9_.\-]{1,64}=[A-Za-z0-9_.\-:/@+ ]{0,256}")
_MAX_TAGS = 16
_MAX_TAG_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """What a path means: an operation, what follows the provider's base URL, and the provider where the path names one."""

    operation: Operation
    suffix: str
    provider: str | None


class Paths:
    """Every path that is open: the shared ones, and `/{provider}` in front of each provider's own."""

    def __init__(self, operations: Iterable[Operation], endpoints: Mapping[str, Mapping[str, str]]) -> None:
        """`endpoints`: provider -> dialect -> path of its base URL (no trailing slash)."""
        self._targets: dict[str, Target] = {}
        self._dialects: dict[str, str] = {}
        for operation in operations:
            for path in operation.paths:
                if path.shared is not None:
                    self._targets[path.shared] = Target(operation, path.suffix, None)
                for provider, bases in endpoints.items():
                    if (base := bases.get(operation.dialect)) is not None:
                        self._targets[f"/{provider}{base}{path.suffix}"] = Target(operation, path.suffix, provider)
        for provider, bases in endpoints.items():
            self._dialects[provider] = next(iter(bases))

    def match(self, exchange: Exchange) -> Target:
        """The target of a request. Raises NotFound, MethodNotAllowed."""
        target = self._targets.get(exchange.path)
        if target is None:
            msg = (
                f"{exchange.method} {printable(exchange.path)} is not a path that this proxy meters, so it is not open."
            )
            raise NotFound(msg, code="unknown_path")
        if exchange.method != "POST":
            msg = f"{exchange.method} is not allowed here; use POST."
            raise MethodNotAllowed(msg)
        return target

    def dialect_of(self, exchange: Exchange) -> str:
        """The dialect in which to answer a request that no target matches."""
        target = self._targets.get(exchange.path)
        if target is not None:
            return target.operation.dialect
        first = exchange.path[1:].partition("/")[0]
        if first in self._dialects:
            return self._dialects[first]
        anthropic = exchange.path.startswith("/v1/messages") or exchange.header(b"anthropic-version") is not None
        return "anthropic" if anthropic else "openai"


def read_trace(exchange: Exchange) -> str:
    """The W3C trace id of `traceparent`, else a new one. https://www.w3.org/TR/trace-context/"""
    header = exchange.header(b"traceparent")
    match = _TRACEPARENT.fullmatch(header) if header else None
    if match is None or match[1] == b"0" * 32:
        return new_trace_id()
    return match[1].decode()


def read_tags(exchange: Exchange) -> dict[str, str]:
    """`x-farebox-tags: k=v,...` as a dictionary. Raises InvalidRequest."""
    header = exchange.header(b"x-farebox-tags")
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
