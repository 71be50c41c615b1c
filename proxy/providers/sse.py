"""Server-sent events, split incrementally: bytes in, whole events out, whatever the pieces (WHATWG HTML, section 9.2).

A block is one event as it came: its lines and the blank line that ends it. Line ends may be CRLF, LF or CR. Memory is
bounded by `limit` bytes; a longer block is announced without its bytes. Work is linear in the bytes, however they are cut.
"""

import re

BOM = b"\xef\xbb\xbf"
LF, CR = 10, 13

# Atomic groups: a CRLF must never be taken for a CR and a blank line made of its LF.
_LINE_END = re.compile(rb"(?>\r\n|\r|\n)")
_BLANK_LINE = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")


class Splitter:
    """Finds the ends of blocks in a stream of pieces.

    `idle` is true exactly between two blocks, when the next byte starts a new one.
    """

    __slots__ = ("_after_cr", "_length", "_limit", "_line_start", "_pending", "idle")

    def __init__(self, limit: int = 1 << 20) -> None:
        self.idle = True
        self._limit = limit
        self._pending = bytearray()
        self._length = 0  # of the open block, also of what was not kept
        self._line_start = True
        self._after_cr = False

    def feed(self, piece: bytes) -> list[tuple[int, bytes | None]]:
        r"""The blocks that end in this piece, each as (offset in the piece behind its last byte, its bytes).

        The bytes are None where the block was longer than the limit. The LF of a CRLF that was torn apart behind a
        finished block comes as a block of its own, `b"\n"`.
        """
        if not piece:
            return []
        found: list[tuple[int, bytes | None]] = []
        start = position = 0
        if self._after_cr and piece[0] == LF:
            position = 1
            if not self._length:
                found.append((1, b"\n"))
                start = 1
        while (end := self._block_end(piece, position)) is not None:
            found.append((end, self._take(piece, start, end)))
            start = position = end
        self._keep(piece, start)
        return found

    def rest(self) -> bytes | None:
        """The block that the stream ended in; None where it was longer than the limit."""
        return bytes(self._pending) if self._length <= self._limit else None

    def _block_end(self, piece: bytes, position: int) -> int | None:
        """Where the blank line ends that closes the open block, if it is in this piece."""
        if position >= len(piece):
            return None
        match = _LINE_END.match(piece, position) if self._line_start else None
        if match is None:
            match = _BLANK_LINE.search(piece, position)
        if match is None:
            return None
        self._line_start = True
        return match.end()

    def _take(self, piece: bytes, start: int, end: int) -> bytes | None:
        length = self._length + end - start
        if length > self._limit:
            block = None
        elif self._pending:
            self._pending += memoryview(piece)[start:end]
            block = bytes(self._pending)
        else:
            block = piece[start:end]
        self._pending = bytearray()
        self._length = 0
        return block

    def _keep(self, piece: bytes, start: int) -> None:
        size = len(piece) - start
        if size:
            self._length += size
            if self._length > self._limit:
                self._pending = bytearray()
            else:
                self._pending += memoryview(piece)[start:]
            self._line_start = piece[-1] in (LF, CR)
        self._after_cr = piece[-1] == CR
        self.idle = not self._length and not self._after_cr


def data_of(block: bytes) -> bytes:
    """The data of one block: its `data` lines joined by LF, empty where it has none (comments, bare event names)."""
    lines = []
    for line in block.removeprefix(BOM).splitlines():
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines)
