"""How a fuzzer's bytes steer a target: a few bytes of control in front, the rest is what is read.

Everything is decided by plain indexing, so that a small change of the input is a small change of the case.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


class Control:
    """Takes bytes from the front of an input; where it is used up, zeros follow."""

    __slots__ = ("_at", "_data", "_size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._size = len(data)
        self._at = 0

    def byte(self) -> int:
        """The next byte."""
        at = self._at
        self._at = at + 1
        return self._data[at] if at < self._size else 0

    def short(self) -> int:
        """The next two bytes."""
        at = self._at
        self._at = at + 2
        if self._at <= self._size:
            return self._data[at] << 8 | self._data[at + 1]
        return self._data[at] << 8 if at < self._size else 0

    def pick(self, choices: Sequence[T]) -> T:
        """One of at most 256 choices."""
        at = self._at
        self._at = at + 1
        return choices[self._data[at] % len(choices)] if at < self._size else choices[0]

    def rest(self) -> bytes:
        """What is left of the input."""
        return self._data[self._at :]


class Cuts:
    """Where a body is cut: nowhere, at up to three places, every so many bytes, or at every byte of a short one."""

    __slots__ = ("_places", "_step")

    def __init__(self, control: Control) -> None:
        kind = control.byte() % 8
        self._places = (control.short(), control.short(), control.short())
        self._step = 0 if kind == 0 else 1 if kind == 1 else 2 + self._places[0] % 61 if kind < 4 else -1

    def of(self, body: bytes, most: int = 24) -> list[bytes]:
        """The pieces, fewer than twice `most` of them where each is one byte, else a third of that; none of them empty."""
        size = len(body)
        if not size or not self._step:
            return [body] if size else []
        if self._step > 0:
            step = max(self._step, size // most if self._step == 1 else 3 * size // most)
            return [body[at : at + step] for at in range(0, size, step)]
        places = sorted({0, size, *(place % (size + 1) for place in self._places)})
        return [body[start:end] for start, end in pairwise(places)]
