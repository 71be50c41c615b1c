"""A reply in OpenAI's legacy completions dialect: one document, or chunks. Pure: replies in, JSON out.

Source: https://platform.openai.com/docs/api-reference/completions/object.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from proxy.providers.sim.chat import CREATED_AT
from proxy.providers.sim.writer import Reply

_ENDINGS = {"stop": "stop", "stop_sequence": "stop", "length": "length"}


def head(identity: str, model: str) -> dict[str, Any]:
    """What every chunk begins with; the plain answer is of the same kind."""
    return {
        "id": f"cmpl-{identity}",
        "object": "text_completion",
        "created": CREATED_AT,
        "model": model,
        "system_fingerprint": "fp_sim",
    }


def usage(input_tokens: int, replies: Sequence[Reply]) -> dict[str, Any]:
    """The usage of a call with all its choices."""
    output_tokens = sum(reply.tokens for reply in replies)
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }


def document(beginning: dict[str, Any], replies: Sequence[Reply], used: dict[str, Any] | None) -> dict[str, Any]:
    """The plain answer."""
    choices = [_choice("".join(reply.pieces), index, _ENDINGS[reply.ending]) for index, reply in enumerate(replies)]
    answer = {**beginning, "choices": choices}
    return answer if used is None else {**answer, "usage": used}


def chunks(
    beginning: dict[str, Any], index: int, reply: Reply, *, usage_asked: bool
) -> Iterator[tuple[dict[str, Any], bool]]:
    """The chunks of one choice, one for each token and one for its end; True for those that carry a token."""
    nothing: dict[str, Any] = {"usage": None} if usage_asked else {}
    for piece in reply.pieces:
        yield {**beginning, "choices": [_choice(piece, index, None)], **nothing}, True
    yield {**beginning, "choices": [_choice("", index, _ENDINGS[reply.ending])], **nothing}, False


def _choice(text: str, index: int, ending: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": ending}
