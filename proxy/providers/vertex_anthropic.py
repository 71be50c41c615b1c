"""Anthropic's messages on Vertex AI: the same bodies and answers, but that the model is in the path and not in the body.

`rawPredict` answers with one document, `streamRawPredict` with server-sent events; tokens are counted under the name
`count-tokens` in a model's place, and there the body names the model.

Source: https://docs.anthropic.com/en/api/claude-on-vertex-ai, https://github.com/anthropics/anthropic-sdk-python (lib/vertex).
"""

import msgspec

from proxy.providers.anthropic_messages import CountTokens, Messages
from proxy.providers.dialect import BILLED, FREE, NO_HEAD, Ask, Head, Meter, Path
from proxy.providers.gemini_requests import model_of, require_json_answer
from proxy.providers.rows import Names

_MESSAGES, _COUNT = Messages(), CountTokens()


class RawPredict:
    """`POST .../publishers/anthropic/models/{model}:rawPredict`, and with `stream` its streamed sister."""

    method = "POST"
    billing = BILLED

    def __init__(self, dialect: str, paths: tuple[Path, ...], *, stream: bool = False) -> None:
        self.dialect = dialect
        self.paths = paths
        self._stream = stream

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """What the request asks for: the message's own reading, with the path's model put in front of its members."""
        require_json_answer(head, events=self._stream)
        ask = _MESSAGES.read(_with_model_named(body, model_of(head)))
        return msgspec.structs.replace(ask, stream=ask.stream or self._stream)

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:  # noqa: ARG002 - the model is in the path
        """The same bytes."""
        return body

    def clamp(self, body: bytes, limit: int, names: Names) -> bytes:
        """See `clamping.Clamps`."""
        return _MESSAGES.clamp(body, limit, names)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:
        """Anthropic's own meters."""
        return _MESSAGES.meter(ask, content_type)

    def prompt_text(self, body: bytes) -> str:
        """System prompt, messages and tools."""
        return _MESSAGES.prompt_text(body)


class RawCountTokens:
    """`POST .../publishers/anthropic/models/count-tokens:rawPredict`: free, and the model is in the body."""

    method = "POST"
    billing = FREE

    def __init__(self, dialect: str, paths: tuple[Path, ...]) -> None:
        self.dialect = dialect
        self.paths = paths

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """Which model counts."""
        return _COUNT.read(body, head)

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:
        """The same bytes, but for another name of the model."""
        return _COUNT.outgoing(body, ask, model)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:
        """A meter that finds nothing used."""
        return _COUNT.meter(ask, content_type)

    def prompt_text(self, body: bytes) -> str:
        """System prompt, messages and tools."""
        return _COUNT.prompt_text(body)


def _with_model_named(body: bytes, model: str) -> bytes:
    """The body with the model as its first member; one that names a model itself then names two, and is refused for it."""
    brace = body.find(b"{") + 1
    if body[:brace].strip() != b"{":
        return body
    return b'%b"model":"%b",%b' % (body[:brace], model.encode(), body[brace:])
