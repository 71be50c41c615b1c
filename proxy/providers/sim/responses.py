"""A reply in OpenAI's Responses dialect: one document, or events. Pure: a reply in, JSON out.

Source: https://platform.openai.com/docs/api-reference/responses/object and /responses-streaming.
"""

from collections.abc import Iterator
from typing import Any

from proxy.providers.sim.chat import CREATED_AT
from proxy.providers.sim.writer import Reply

# Repeated from the request; what it does not say is null or what OpenAI assumes.
_ECHOED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}

Document = dict[str, Any]


def begun(identity: str, model: str, members: Document, status: str = "in_progress") -> Document:
    """The response before its first token; `status` is queued for one that works in the background."""
    echoed = {name: members[name] if members.get(name) is not None else usual for name, usual in _ECHOED.items()}
    return {
        "id": identity,
        "object": "response",
        "created_at": CREATED_AT,
        "status": status,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        **echoed,
        "service_tier": "default",
        "usage": None,
    }


def ended(beginning: Document, reply: Reply, used: Document | None) -> Document:
    """The response with everything in it."""
    whole = reply.ending != "length"
    return {
        **beginning,
        "status": "completed" if whole else "incomplete",
        "completed_at": CREATED_AT if whole else None,
        "incomplete_details": None if whole else {"reason": "max_output_tokens"},
        "output": [_item(beginning["id"], reply, "".join(reply.pieces), "completed" if whole else "incomplete")],
        "usage": used,
    }


def usage(input_tokens: int, reply: Reply) -> Document:
    """The usage of a call."""
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": reply.tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + reply.tokens,
    }


def events(beginning: Document, reply: Reply, used: Document | None) -> Iterator[tuple[Document, bool]]:
    """The events of a stream in their order, numbered; True for those that carry a token."""
    for number, (event, is_token) in enumerate(_unnumbered(beginning, reply, used)):
        yield {"type": event.pop("type"), "sequence_number": number, **event}, is_token


def compaction(identity: str, members: Document, items: list[Any], used: Document | None) -> Document:
    """The answer to `compact`: the user's messages and one item that stands for the rest."""
    said = [item for item in items if isinstance(item, dict) and item.get("role") == "user"]
    kept = [
        {
            "type": "message",
            "id": f"msg_{identity[5:]}{index:02d}",
            "status": "completed",
            "role": "user",
            "content": _input_parts(item.get("content")),
        }
        for index, item in enumerate(said)
    ]
    folded = {"type": "compaction", "id": f"cmp_{identity[5:]}", "encrypted_content": f"sim-{identity[5:]}"}
    answer = {"id": identity, "object": "response.compaction", "created_at": CREATED_AT, "output": [*kept, folded]}
    return answer if used is None else {**answer, "usage": used, "model": members.get("model")}


def _unnumbered(beginning: Document, reply: Reply, used: Document | None) -> Iterator[tuple[Document, bool]]:
    yield {"type": "response.created", "response": beginning}, False
    yield {"type": "response.in_progress", "response": beginning}, False
    finished = ended(beginning, reply, used)
    item = finished["output"][0]
    place = {"item_id": item["id"], "output_index": 0}
    opened = _item(beginning["id"], reply, "", "in_progress")
    if reply.tool is None:
        opened["content"] = []
    yield {"type": "response.output_item.added", "output_index": 0, "item": opened}, False
    yield from _text(place, reply) if reply.tool is None else _arguments(place, reply)
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}, False
    yield {"type": f"response.{finished['status']}", "response": finished}, False


def _text(place: Document, reply: Reply) -> Iterator[tuple[Document, bool]]:
    part, text = {**place, "content_index": 0}, "".join(reply.pieces)
    yield {"type": "response.content_part.added", **part, "part": _part("")}, False
    for piece in reply.pieces:
        yield {"type": "response.output_text.delta", **part, "delta": piece, "logprobs": []}, True
    yield {"type": "response.output_text.done", **part, "text": text, "logprobs": []}, False
    yield {"type": "response.content_part.done", **part, "part": _part(text)}, False


def _arguments(place: Document, reply: Reply) -> Iterator[tuple[Document, bool]]:
    for piece in reply.pieces:
        yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}, True
    name = reply.tool.name if reply.tool else ""
    arguments = "".join(reply.pieces)
    yield {"type": "response.function_call_arguments.done", **place, "name": name, "arguments": arguments}, False


def _item(identity: str, reply: Reply, text: str, status: str) -> Document:
    own = identity.removeprefix("resp_")
    if reply.tool is not None:
        call = {"arguments": text, "call_id": f"call_{own}", "name": reply.tool.name}
        return {"type": "function_call", "id": f"fc_{own}", "status": status, **call}
    return {"type": "message", "id": f"msg_{own}", "status": status, "role": "assistant", "content": [_part(text)]}


def _part(text: str) -> Document:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _input_parts(content: Any) -> list[Any]:
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else list(content or ())
