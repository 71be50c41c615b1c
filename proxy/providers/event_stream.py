"""The binary event stream of AWS, incrementally: bytes in, whole frames out, whatever the pieces.

A frame is a prelude (total length, length of the headers, CRC-32 of both), headers, a payload, and the CRC-32 of all
before it; integers are big-endian. Both checksums are checked. Memory is bounded by `limit` bytes; a longer frame is
counted through and announced unread, and so is one whose checksum or headers are wrong. After a wrong prelude nobody can
say where the next frame begins: the splitter is `lost` and reads no more.

Source: https://smithy.io/2.0/aws/amazon-eventstream.html
"""

import struct
import zlib
from collections.abc import Mapping

import msgspec

PRELUDE = struct.Struct(">III")
_CHECKSUM = struct.Struct(">I")
_LEAST_BYTES = PRELUDE.size + _CHECKSUM.size
_STRING_HEADER = 7
# Bytes of the value by type: true, false, byte, short, integer, long, timestamp, UUID. Types 6 and 7 carry their length.
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_SIZED = {6, _STRING_HEADER}


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One event: its headers that are strings (`:event-type`, `:message-type`, ...), and its payload."""

    headers: Mapping[str, str]
    payload: bytes


class FrameSplitter:
    """Finds the ends of frames in a stream of pieces."""

    __slots__ = ("_limit", "_pending", "_skip", "lost")

    def __init__(self, limit: int = 1 << 20) -> None:
        self.lost = False
        self._limit = limit
        self._pending = bytearray()
        self._skip = 0  # bytes that the open frame, too long to be kept, still has

    @property
    def idle(self) -> bool:
        """Exactly between two frames."""
        return not (self._pending or self._skip or self.lost)

    @property
    def keeping(self) -> bool:
        """The bytes of the open frame so far are kept, so that a caller may hold them back as well."""
        return not (self._skip or self.lost)

    def feed(self, piece: bytes) -> list[tuple[int, Frame | None]]:
        """The frames that end in this piece, each as (offset in the piece behind its last byte, the frame).

        The frame is None where it could not be read. A wrong prelude is announced with the offset where it was noticed.
        """
        found: list[tuple[int, Frame | None]] = []
        position = 0
        while position < len(piece) and not self.lost:
            position = self._step(piece, position, found)
        return found

    def _step(self, piece: bytes, position: int, found: list[tuple[int, Frame | None]]) -> int:
        """Take one frame, or what there is of it; return where the rest begins."""
        if self._skip:
            taken = min(self._skip, len(piece) - position)
            self._skip -= taken
            if not self._skip:
                found.append((position + taken, None))
            return position + taken
        if not self._pending:
            # The usual case, without a copy of what is only gathered: the piece holds the whole frame.
            total = _length(piece, position)
            if 0 < total <= min(self._limit, len(piece) - position):
                found.append((position + total, read_frame(piece[position : position + total])))
                return position + total
        return self._gather(piece, position, found)

    def _gather(self, piece: bytes, position: int, found: list[tuple[int, Frame | None]]) -> int:
        """Keep what belongs to the open frame; finish it where it ends."""
        position = self._keep(piece, position, PRELUDE.size)
        total = _length(self._pending, 0)
        if total > self._limit:
            self._skip = total - len(self._pending)
            self._pending = bytearray()
        elif total > 0:
            position = self._keep(piece, position, total)
            if len(self._pending) == total:
                found.append((position, read_frame(bytes(self._pending))))
                self._pending = bytearray()
        elif total < 0:
            self.lost = True
            self._pending = bytearray()
            found.append((position, None))
        return position

    def _keep(self, piece: bytes, position: int, upto: int) -> int:
        """Take over bytes until `upto` are pending; return where the rest begins."""
        end = max(position, min(len(piece), position + upto - len(self._pending)))
        self._pending += memoryview(piece)[position:end]
        return end


def _length(buffer: bytes | bytearray, at: int) -> int:
    """The length of the frame at `at`; 0 where its prelude is not whole yet, -1 where the prelude is wrong."""
    if len(buffer) - at < PRELUDE.size:
        return 0
    total, headers, checksum = PRELUDE.unpack_from(buffer, at)
    right = zlib.crc32(memoryview(buffer)[at : at + 8]) == checksum and total >= _LEAST_BYTES + headers
    return int(total) if right else -1


def read_frame(frame: bytes) -> Frame | None:
    """One whole frame; None where its checksum or its headers are wrong."""
    total, headers_length, _ = PRELUDE.unpack_from(frame)
    body_end = total - _CHECKSUM.size
    if zlib.crc32(memoryview(frame)[:body_end]) != _CHECKSUM.unpack_from(frame, body_end)[0]:
        return None
    headers_end = PRELUDE.size + headers_length
    try:
        headers = _read_headers(frame[PRELUDE.size : headers_end])
    except (IndexError, KeyError, UnicodeDecodeError, struct.error):
        return None
    return Frame(headers, frame[headers_end:body_end])


def write_frame(headers: Mapping[str, str], payload: bytes = b"") -> bytes:
    """A frame with string headers."""
    block = b"".join(_header(name.encode(), value.encode()) for name, value in headers.items())
    total = _LEAST_BYTES + len(block) + len(payload)
    prelude = struct.pack(">II", total, len(block))
    frame = b"".join((prelude, _CHECKSUM.pack(zlib.crc32(prelude)), block, payload))
    return frame + _CHECKSUM.pack(zlib.crc32(frame))


def _header(name: bytes, value: bytes) -> bytes:
    return b"".join((bytes((len(name),)), name, struct.pack(">BH", _STRING_HEADER, len(value)), value))


def _read_headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    at = 0
    while at < len(block):
        name_end = at + 1 + block[at]
        name = block[at + 1 : name_end].decode()
        kind = block[name_end]
        at = name_end + 1
        if kind in _SIZED:
            size = struct.unpack_from(">H", block, at)[0]
            at += 2
        else:
            size = _FIXED[kind]
        if at + size > len(block):
            raise IndexError
        if kind == _STRING_HEADER:
            headers[name] = block[at : at + size].decode()
        at += size
    return headers
