"""A bounded table of things that were read at some moment: the oldest unused goes first."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Bounded(Generic[T]):
    """Key -> value with the monotonic second at which it was read; at most `capacity` entries."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[str, tuple[T, float]] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def younger(self, key: str, than: float) -> T | None:
        """The value, if it was read after the monotonic second `than`; counts as a use."""
        entry = self._entries.get(key)
        if entry is None or entry[1] <= than:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def peek(self, key: str) -> T | None:
        """The value, however old."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def put(self, key: str, value: T, read_at: float) -> None:
        """Stores a value; the oldest unused makes room."""
        self._entries[key] = (value, read_at)
        self._entries.move_to_end(key)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def drop(self, key: str) -> None:
        """Forgets a key, known or not."""
        self._entries.pop(key, None)
