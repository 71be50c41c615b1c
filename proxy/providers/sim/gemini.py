"""A reply in Gemini's dialect: one document, or chunks. Pure: replies in, JSON out.

Source: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse, /api/tokens and /api/embeddings.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from proxy.providers.sim.writer import Reply

# A called function is an ordinary end here.
_ENDINGS = {"stop": "STOP", "stop_sequence": "STOP", "length": "MAX_TOKENS", "tool": "STOP"}


def usage(input_tokens: int, output_tokens: int) -> dict[str, Any]:
    """The usage of a call, or of a stream so far."""
    return {
        "promptTokenCount": input_tokens,
        "candidatesTokenCount": output_tokens,
        "totalTokenCount": input_tokens + output_tokens,
        "promptTokensDetails": modalities(input_tokens),
    }


def modalities(tokens: int) -> list[dict[str, Any]]:
    """Tokens by modality: all of them text."""
    return [{"modality": "TEXT", "tokenCount": tokens}]


def document(identity: str, model: str, replies: Sequence[Reply], input_tokens: int | None) -> dict[str, Any]:
    """The plain answer; without usage where `input_tokens` is None."""
    candidates = [_candidate(index, _parts(reply), reply.ending) for index, reply in enumerate(replies)]
    used = None if input_tokens is None else usage(input_tokens, sum(reply.tokens for reply in replies))
    return _answer(identity, model, candidates, used)


def chunks(
    identity: str, model: str, replies: Sequence[Reply], input_tokens: int | None
) -> Iterator[tuple[dict[str, Any], bool]]:
    """The chunks of a stream with the usage so far; True for those that carry a token. A function's call comes whole."""
    written = 0
    for index, reply in enumerate(replies):
        pieces: Sequence[list[dict[str, Any]]] = [[{"text": piece}] for piece in reply.pieces]
        if reply.tool is not None:
            pieces = [_parts(reply)]
        for parts in pieces:
            written += 1 if reply.tool is None else reply.tokens
            used = None if input_tokens is None else usage(input_tokens, written)
            yield _answer(identity, model, [_candidate(index, parts, None)], used), True
        used = None if input_tokens is None else usage(input_tokens, written)
        yield _answer(identity, model, [_candidate(index, [{"text": ""}], reply.ending)], used), False


def model_row(name: str) -> dict[str, Any]:
    """A model of the list."""
    return {
        "name": f"models/{name}",
        "version": "1",
        "displayName": name,
        "inputTokenLimit": 1_000_000,
        "outputTokenLimit": 100_000,
        "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent", "batchEmbedContents"],
    }


def _answer(identity: str, model: str, candidates: list[dict[str, Any]], used: dict[str, Any] | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"candidates": candidates}
    if used is not None:
        answer["usageMetadata"] = used
    return {**answer, "modelVersion": model, "responseId": identity}


def _candidate(index: int, parts: list[dict[str, Any]], ending: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}}
    if ending is not None:
        candidate["finishReason"] = _ENDINGS[ending]
    return {**candidate, "index": index}


def _parts(reply: Reply) -> list[dict[str, Any]]:
    text = "".join(reply.pieces)
    if reply.tool is None:
        return [{"text": text}]
    try:
        arguments = msgspec.json.decode(text)
    except msgspec.DecodeError:  # the token limit cut the arguments short
        arguments = {}
    return [{"functionCall": {"name": reply.tool.name, "args": arguments}}]
