r"""A JSON array whose elements are objects, split incrementally: bytes in, whole elements out, whatever the pieces.

Google's `streamGenerateContent` answers with one where it is not asked for server-sent events: `[{...}\n,\r\n{...}\n]`. A
lone object is an array of one. Only objects are elements; anything else between them is passed over, for a decoder to
complain about. Memory is bounded by `limit` bytes; a longer element is announced without its bytes. Work is linear in the
bytes, however they are cut. Grammar: RFC 8259.
"""

import re

_OPENING = re.compile(rb"[\[{,\]]")
# As much of a string as is there, an escape only whole; and all up to the next bracket, strings only whole. Both are
# possessive, so that nothing is looked at twice.
_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_FLAT = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_QUOTE, _COMMA, _OPEN_ARRAY, _CLOSE_ARRAY = b'",[]'
_OPENS, _CLOSES = b"{[", b"}]"


class ElementSplitter:
    """Finds the ends of elements in a stream of pieces.

    `begun` says that the array is open, `seen` counts its finished elements, `idle` is true between two of them, `comma` where
    the next one was announced, and `closed` when the array has ended: nothing can follow then.
    """

    __slots__ = (
        "_depth",
        "_escaped",
        "_in_string",
        "_length",
        "_limit",
        "_pending",
        "begun",
        "closed",
        "comma",
        "idle",
        "seen",
    )

    def __init__(self, limit: int = 1 << 20) -> None:
        self.begun = False
        self.closed = False
        self.comma = False
        self.idle = True
        self.seen = 0
        self._limit = limit
        self._pending = bytearray()
        self._length = 0  # of the open element, also of what was not kept
        self._depth = 0
        self._in_string = False
        self._escaped = False  # the piece ended behind a backslash: the next byte belongs to it

    def feed(self, piece: bytes) -> list[bytes | None]:
        """The elements that end in this piece; None for one that was longer than the limit."""
        found: list[bytes | None] = []
        position = 0
        while True:
            if self.idle:
                position = self._open(piece, position)
                if self.idle:
                    return found
            end = self._end(piece, position)
            if end is None:
                self._keep(piece, position)
                return found
            found.append(self._take(piece, position, end))
            self.seen += 1
            position = end

    def _open(self, piece: bytes, position: int) -> int:
        """Where the next element begins, which is open then; else the piece holds none."""
        while (match := _OPENING.search(piece, position)) is not None:
            byte, position = piece[match.start()], match.end()
            if byte == _OPEN_ARRAY:
                self.begun = True
            elif byte == _CLOSE_ARRAY:
                self.closed = True
            elif byte == _COMMA:
                self.comma = True
            else:
                self.idle = self.comma = False
                return match.start()
        return position

    def _end(self, piece: bytes, position: int) -> int | None:
        """Where the open element ends, if it does in this piece."""
        if self._escaped and position < len(piece):
            self._escaped = False
            position += 1
        while position < len(piece):
            if self._in_string:
                position = self._string_end(piece, position)
                continue
            position = _end_of(_FLAT, piece, position)
            if position == len(piece):
                return None
            byte = piece[position]
            position += 1
            if byte == _QUOTE:
                self._in_string = True
            elif byte in _OPENS:
                self._depth += 1
            else:
                self._depth -= 1
                if not self._depth:
                    self.idle = True
                    return position
        return None

    def _string_end(self, piece: bytes, position: int) -> int:
        """Where the string ends, behind its quote, or the piece does."""
        end = _end_of(_STRING, piece, position)
        if end == len(piece):
            return end
        if piece[end] == _QUOTE:
            self._in_string = False
        else:  # a backslash whose other half is in the next piece
            self._escaped = True
        return end + 1

    def _take(self, piece: bytes, start: int, end: int) -> bytes | None:
        length = self._length + end - start
        if length > self._limit:
            element = None
        elif self._pending:
            self._pending += memoryview(piece)[start:end]
            element = bytes(self._pending)
        else:
            element = piece[start:end]
        self._pending = bytearray()
        self._length = 0
        return element

    def _keep(self, piece: bytes, start: int) -> None:
        self._length += len(piece) - start
        if self._length > self._limit:
            self._pending = bytearray()
        else:
            self._pending += memoryview(piece)[start:]


def _end_of(pattern: re.Pattern[bytes], piece: bytes, position: int) -> int:
    """How far a pattern reaches that always matches."""
    match = pattern.match(piece, position)
    return position if match is None else match.end()
