"""Vectors of texts: the same for the same text, of length one, and meaningless. Pure.

Source of the shape: https://platform.openai.com/docs/api-reference/embeddings/object.
"""

import array
import base64 as base64_
import hashlib
import math
import random
import sys
from collections.abc import Sequence
from typing import Any

from proxy.core.errors import InvalidRequest

DIMENSIONS = 256
MAX_DIMENSIONS = 4096


def read_dimensions(value: Any, name: str) -> int:
    """How long the vectors are to be; raises InvalidRequest."""
    if value is None:
        return DIMENSIONS
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_DIMENSIONS:
        raise InvalidRequest(f"`{name}` must be an integer from 1 to {MAX_DIMENSIONS}.", param=name)
    return value


def vector(text: str, dimensions: int) -> list[float]:
    """The embedding of a text."""
    dice = random.Random(hashlib.sha256(text.encode("utf-8", "replace")).digest())  # noqa: S311 - sameness is the point
    raw = [dice.gauss(0, 1) for _ in range(dimensions)]
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    return [round(value / length, 8) for value in raw]


def document(model: str, vectors: Sequence[list[float]], *, base64: bool, input_tokens: int | None) -> dict[str, Any]:
    """OpenAI's answer; without usage where `input_tokens` is None."""
    rows = [
        {"object": "embedding", "index": index, "embedding": packed(values) if base64 else values}
        for index, values in enumerate(vectors)
    ]
    answer: dict[str, Any] = {"object": "list", "data": rows, "model": model}
    if input_tokens is not None:
        answer["usage"] = {"prompt_tokens": input_tokens, "total_tokens": input_tokens}
    return answer


def packed(values: Sequence[float]) -> str:
    """Little-endian 32-bit floats in base64, as OpenAI packs them."""
    floats = array.array("f", values)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64_.b64encode(floats.tobytes()).decode()
