"""Recorded traffic as inputs to begin from, where it is at hand: short bodies, read by the operation that they belong to."""

import os
from collections.abc import Iterator

from proxy.providers.dialect import Operation
from tests.fuzz.answers import DIALECTS, TYPES, operations
from tests.fuzz.targets import TARGETS
from tests.support.recordings import Exchange, every_exchange


def recorded(name: str) -> Iterator[bytes]:
    """Inputs of a dialect's target; none for another, or without recordings."""
    dialect, _, kind = name.partition("-")
    if dialect not in DIALECTS or not os.environ.get("FAREBOX_RECORDINGS"):
        return
    target = TARGETS[name]
    for exchange in every_exchange():
        body = exchange.response if kind == "answers" else exchange.request
        number = next((at for at, one in enumerate(operations(dialect)) if _is_of(exchange, one)), None)
        if number is not None and 0 < len(body) <= target.most_bytes - target.control:
            steering = bytearray(target.control)
            steering[0] = number
            if kind == "answers":
                steering[1] = 1
                steering[2] = _type_of(exchange)
            yield bytes(steering) + body


def _is_of(exchange: Exchange, operation: Operation) -> bool:
    """Whether a path ends as the operation's does, behind the part that names a model."""
    return any(exchange.path.endswith(path.suffix.rpartition("}")[2] or "\0") for path in operation.paths)


def _type_of(exchange: Exchange) -> int:
    return next((at for at, one in enumerate(TYPES) if one and exchange.content_type.encode().startswith(one)), 0)
