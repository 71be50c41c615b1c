"""A reply in Anthropic's messages dialect: one document, or named events. Pure: a reply in, JSON out.

Source: https://docs.anthropic.com/en/api/messages and /en/docs/build-with-claude/streaming.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from proxy.providers.sim.writer import Reply

_ENDINGS = {"stop": "end_turn", "stop_sequence": "stop_sequence", "length": "max_tokens", "tool": "tool_use"}
_NO_CACHE = {
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
}


def document(identity: str, model: str, reply: Reply, input_tokens: int | None) -> dict[str, Any]:
    """The plain answer; without usage where `input_tokens` is None."""
    answer = _message(identity, model)
    answer["content"] = [_block(identity, reply, "".join(reply.pieces))]
    answer |= _ending(reply)
    if input_tokens is not None:
        answer["usage"] = _usage(input_tokens, reply.tokens)
    return answer


def beginning(identity: str, model: str, reply: Reply, input_tokens: int | None) -> Iterator[dict[str, Any]]:
    """The events before the first token. The output tokens of `message_start` are a placeholder."""
    message = _message(identity, model)
    if input_tokens is not None:
        message["usage"] = _usage(input_tokens, 1)
    yield {"type": "message_start", "message": message}
    yield {"type": "content_block_start", "index": 0, "content_block": _block(identity, reply, "")}
    yield {"type": "ping"}


def delta(reply: Reply, piece: str) -> dict[str, Any]:
    """The event of one token."""
    change = {"type": "text_delta", "text": piece}
    if reply.tool is not None:
        change = {"type": "input_json_delta", "partial_json": piece}
    return {"type": "content_block_delta", "index": 0, "delta": change}


def end(reply: Reply, input_tokens: int | None) -> Iterator[dict[str, Any]]:
    """The events after the last token, with the usage of the whole message."""
    yield {"type": "content_block_stop", "index": 0}
    last: dict[str, Any] = {"type": "message_delta", "delta": _ending(reply)}
    if input_tokens is not None:
        used = _usage(input_tokens, reply.tokens)
        last["usage"] = {name: count for name, count in used.items() if name != "cache_creation"}
    yield last
    yield {"type": "message_stop"}


def _message(identity: str, model: str) -> dict[str, Any]:
    return {
        "id": f"msg_{identity}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _ending(reply: Reply) -> dict[str, Any]:
    return {"stop_reason": _ENDINGS[reply.ending], "stop_sequence": reply.stop_sequence}


def _usage(input_tokens: int, output_tokens: int) -> dict[str, Any]:
    return {"input_tokens": input_tokens, **_NO_CACHE, "output_tokens": output_tokens}


def _block(identity: str, reply: Reply, text: str) -> dict[str, Any]:
    if reply.tool is None:
        return {"type": "text", "text": text}
    try:
        given = msgspec.json.decode(text) if text else {}
    except msgspec.DecodeError:  # the token limit cut the arguments short
        given = {}
    return {"type": "tool_use", "id": f"toolu_{identity}", "name": reply.tool.name, "input": given}
