"""The preamble of a call: all that its head alone says. The same head says the same again, so it is read once (see request_head)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.pipeline.read import read_head, read_tags, read_trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.pipeline.exchange import Exchange
    from proxy.pipeline.paths import Target
    from proxy.providers.dialect import Head


@dataclass(frozen=True, slots=True)
class Preamble:
    """Which operation is called with whose key (its digest), and what the headers add.

    `trace_id` is that of the client's trace, None where the call is none's part.
    """

    target: Target
    key_digest: str
    head: Head
    trace_id: str | None
    tags: Mapping[str, str]


def read_preamble(exchange: Exchange, target: Target, key_digest: str) -> Preamble:
    """The preamble of a request whose path and key are known. Raises InvalidRequest."""
    named = exchange.named
    tags = read_tags(named)
    return Preamble(target, key_digest, read_head(exchange, target, named), read_trace(named), tags)
