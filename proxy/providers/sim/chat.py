"""A reply in OpenAI's chat completions dialect: one document, or chunks. Pure: replies in, JSON out.

Source: https://platform.openai.com/docs/api-reference/chat/object and /chat/streaming.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from proxy.providers.sim.writer import Reply

# A fixed instant: the same request gets the same bytes.
CREATED_AT = 1_700_000_000
_ENDINGS = {"stop": "stop", "stop_sequence": "stop", "length": "length", "tool": "tool_calls"}


def usage(input_tokens: int, replies: Sequence[Reply]) -> dict[str, Any]:
    """The usage of a call with one reply a choice."""
    output_tokens = sum(reply.tokens for reply in replies)
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def document(identity: str, model: str, replies: Sequence[Reply], used: dict[str, Any] | None) -> dict[str, Any]:
    """The plain answer."""
    answer = _head(identity, model, "chat.completion")
    answer["choices"] = [_choice(index, reply, identity) for index, reply in enumerate(replies)]
    return answer if used is None else {**answer, "usage": used}


def chunks(identity: str, model: str, index: int, reply: Reply, *, usage_asked: bool) -> Iterator[dict[str, Any]]:
    """The chunks of one choice: the role, one for each token, the reason of its end."""
    head = _head(identity, model, "chat.completion.chunk")
    nothing: dict[str, Any] = {"usage": None} if usage_asked else {}

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**head, "choices": [choice], **nothing}

    if reply.tool is None:
        yield chunk({"role": "assistant", "content": "", "refusal": None})
        for piece in reply.pieces:
            yield chunk({"content": piece})
    else:
        call = _call(identity, index, reply) | {"index": 0}
        call["function"] = {"name": reply.tool.name, "arguments": ""}
        yield chunk({"role": "assistant", "content": None, "tool_calls": [call], "refusal": None})
        for piece in reply.pieces:
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    yield chunk({}, _ENDINGS[reply.ending])


def usage_chunk(identity: str, model: str, used: dict[str, Any]) -> dict[str, Any]:
    """The chunk that `include_usage` adds before the end."""
    return {**_head(identity, model, "chat.completion.chunk"), "choices": [], "usage": used}


def _head(identity: str, model: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{identity}",
        "object": kind,
        "created": CREATED_AT,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_sim",
    }


def _choice(index: int, reply: Reply, identity: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(reply.pieces), "refusal": None}
    if reply.tool is not None:
        message = {**message, "content": None, "tool_calls": [_call(identity, index, reply)]}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": _ENDINGS[reply.ending]}


def _call(identity: str, index: int, reply: Reply) -> dict[str, Any]:
    name = reply.tool.name if reply.tool else ""
    function = {"name": name, "arguments": "".join(reply.pieces)}
    return {"id": f"call_{identity[:22]}{index:02d}", "type": "function", "function": function}
