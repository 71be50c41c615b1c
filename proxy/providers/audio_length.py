"""How long a recording is at most, in whole seconds, from its bytes alone.

Uncompressed WAV says it exactly, and a provider reads the same header. Of anything compressed only its size is known: speech
is not coded below `LEAST_BYTES_A_SECOND` (8 kbit/s) by what records it, so that rate bounds the length.
"""

import struct

LEAST_BYTES_A_SECOND = 1000
_CHUNK = struct.Struct("<4sI")
_FORMAT = struct.Struct("<HHIIHH")
_MAX_CHUNKS = 32
_PCM_FORMATS = frozenset((1, 3, 0xFFFE))


def seconds_at_most(body: bytes, start: int, end: int) -> int:
    """An upper bound of the length of the recording in `body[start:end]`, in seconds, rounded up."""
    rate = _wave_bytes_a_second(body, start, end) or LEAST_BYTES_A_SECOND
    return -(-max(end - start, 0) // rate)


def _wave_bytes_a_second(body: bytes, start: int, end: int) -> int | None:
    """Bytes a second of uncompressed sound, from what is decoded by: sampling rate, channels and size of a sample."""
    if end - start < 12 or body[start : start + 4] != b"RIFF" or body[start + 8 : start + 12] != b"WAVE":
        return None
    at = start + 12
    for _ in range(_MAX_CHUNKS):
        if at + _CHUNK.size > end:
            return None
        name, size = _CHUNK.unpack_from(body, at)
        at += _CHUNK.size
        if name == b"fmt ":
            if size < _FORMAT.size or at + _FORMAT.size > end:
                return None
            kind, channels, rate, _, _, bits = _FORMAT.unpack_from(body, at)
            return channels * rate * bits // 8 or None if kind in _PCM_FORMATS else None
        at += size + size % 2
    return None
