"""The errors of surfaces whose callers expect OpenAI's: `{"error": {"message", "type", "param", "code"}}` under the HTTP status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Raw

from proxy.providers.errors import error_body
from proxy.surfaces.vendor import Answer

if TYPE_CHECKING:
    from proxy.core.errors import FareboxError


def refuse(error: FareboxError, call_id: str) -> Answer:
    """The error as OpenAI's SDKs read it."""
    return Answer(error.status, Raw(error_body("openai", error, call_id)))
