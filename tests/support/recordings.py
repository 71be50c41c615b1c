"""Recorded provider traffic: exchanges that replay what real providers answered. The data is not part of the project."""

import base64
import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call as it was recorded."""

    id: str
    host: str
    path: str
    status: int
    content_type: str
    request: bytes
    response: bytes
    binary: bool = False  # one side of it is no text

    @property
    def sse(self) -> bool:
        return self.content_type.startswith("text/event-stream")

    @property
    def ok(self) -> bool:
        return self.status < 400


def exchanges() -> tuple[Exchange, ...]:
    """All recorded exchanges with text on both sides; skips the test where the recordings are not there."""
    return tuple(exchange for exchange in every_exchange() if not exchange.binary)


@cache
def every_exchange() -> tuple[Exchange, ...]:
    """All recorded exchanges; skips the test where the recordings are not there."""
    return tuple(_exchange(row) for row in rows())


def rows() -> Iterator[dict[str, Any]]:
    """The recordings as they are written down, one after another; skips the test where they are not there."""
    folder = os.environ.get("FAREBOX_RECORDINGS", "")
    file = Path(folder) / "provider-exchanges.jsonl.gz"
    if not folder or not file.exists():
        pytest.skip("FAREBOX_RECORDINGS does not name a folder with provider-exchanges.jsonl.gz")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _exchange(row: dict[str, Any]) -> Exchange:
    headers = {name.lower(): value for name, value in row["response_headers"].items()}
    request, response = row["request"], row["response"]
    return Exchange(
        id=row["id"],
        host=row["host"],
        path=row["path"],
        status=int(row["status"]),
        content_type=headers.get("content-type", ""),
        request=body_of(request),
        response=body_of(response),
        binary=not (isinstance(request, str) and isinstance(response, str)),
    )


def body_of(body: str | dict[str, str] | None) -> bytes:
    """A body as it was on the wire, from how it is written down: as text, or in base64."""
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else base64.b64decode(body["b64"])


def openai_chat() -> list[Exchange]:
    """Chat completions of every provider that speaks the dialect."""
    return [exchange for exchange in exchanges() if exchange.path.endswith("/chat/completions")]


def anthropic_messages() -> list[Exchange]:
    """Anthropic's messages."""
    return [exchange for exchange in exchanges() if exchange.path.endswith("/v1/messages")]


def bedrock() -> list[Exchange]:
    """Bedrock's own operations, streams included, behind another gateway too."""
    return [exchange for exchange in every_exchange() if "/model/" in exchange.path and "/converse" in exchange.path]


def cohere() -> list[Exchange]:
    """Cohere, all operations."""
    return [exchange for exchange in every_exchange() if exchange.host == "api.cohere.com"]
