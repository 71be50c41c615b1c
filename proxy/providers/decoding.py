"""Reading an answer that came compressed: it is relayed as it is, and unpacked beside that only for the meter, in bounded memory.

Farebox asks for `identity`; some providers compress all the same. Codings: gzip, deflate, br, zstd (RFC 9110, section 8.4.1;
RFC 7932; RFC 9659, whose bound of 8 MiB holds for the window of zstd). Guarantees: what is relayed is what came, the very
same objects; about `STEP_BYTES` of unpacked bytes are held at once beside the decoder's window; an answer that unpacks to
far more than it is (a bomb: 194 kB to 200 MB) is no longer read, and flagged, so that its call is charged at its hold.
Nothing can be taken out of a compressed answer, and no event of ours can follow in one.
"""

import sys
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Protocol

from proxy.providers.dialect import Meter

STEP_BYTES = 64 * 1024
# Events that repeat each other shrink to a fiftieth; what shrinks more than this was made to.
MAX_RATIO = 100
SLACK_BYTES = 4 * 1024 * 1024
MAX_UNPACKED_BYTES = 256 * 1024 * 1024

_GZIP_MAGIC = 0x1F
_ZSTD_WINDOW_LOG = 23


class Undecodable(Exception):
    """The bytes are not of the coding that the answer named."""


class Decoder(Protocol):
    """Unpacks one answer."""

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """What the next bytes unpack to, in steps of at most twice `STEP_BYTES`. Raises Undecodable."""


def decoder_of(coding: bytes) -> Decoder | None:
    """A decoder for a `content-encoding` in lower case; None for one that is not known, or for several."""
    make = _DECODERS.get(coding.strip())
    return None if make is None else make()


def unpacked(body: bytes, coding: bytes, limit: int) -> bytes | None:
    """A whole body unpacked; None where that cannot be, or would be more than `limit` bytes."""
    decoder = decoder_of(coding)
    if decoder is None:
        return None
    plain = bytearray()
    try:
        for step in decoder.unpack(body):
            plain += step
            if len(plain) > limit:
                return None
    except Undecodable:
        return None
    return bytes(plain)


class Unpacking:
    """Stands in for a meter where the answer is compressed: the figures stay in the meter that it feeds."""

    __slots__ = ("_decoder", "_flag", "_meter", "_received", "_unpacked")

    def __init__(self, meter: Meter, coding: bytes) -> None:
        self._meter = meter
        self._decoder = decoder_of(coding)
        self._flag: str | None = None
        self._received = self._unpacked = 0
        if self._decoder is None:
            self._give_up("the answer has a content-encoding that is not known here")

    def feed(self, piece: bytes) -> bytes:
        """Meter what the piece unpacks to; relay the piece."""
        if self._flag is None and self._decoder is not None:
            self._received += len(piece)
            bound = min(SLACK_BYTES + MAX_RATIO * self._received, MAX_UNPACKED_BYTES)
            try:
                for plain in self._decoder.unpack(piece):
                    self._unpacked += len(plain)
                    if self._unpacked > bound:
                        self._give_up("the compressed answer unpacks to more than is read")
                        break
                    self._meter.feed(plain)
            except Undecodable as error:
                self._give_up(f"the compressed answer cannot be unpacked: {error}")
        return piece

    def finish(self) -> bytes:
        """Settle the figures; nothing was held back."""
        self._meter.finish()
        if self._flag is not None:
            self._meter.flag = self._flag
        return b""

    def farewell(self, event: bytes) -> bytes | None:  # noqa: ARG002 - see Meter.farewell
        """Nothing readable can follow compressed bytes."""
        return None

    def _give_up(self, why: str) -> None:
        self._flag = self._meter.flag = why
        self._decoder = None


class _Zlib:
    """gzip with any number of members; what follows the last one is ignored, as browsers do."""

    def __init__(self, window_bits: int = 31) -> None:
        self._window_bits = window_bits
        self._inflater = zlib.decompressobj(window_bits)

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """See Decoder."""
        while True:
            if self._inflater.eof:
                if not piece or self._window_bits != 31 or piece[0] != _GZIP_MAGIC:
                    return
                self._inflater = zlib.decompressobj(self._window_bits)
            try:
                plain = self._inflater.decompress(piece, STEP_BYTES)
            except zlib.error as error:
                raise Undecodable(str(error)) from error
            if plain:
                yield plain
            piece = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            if not piece and len(plain) < STEP_BYTES:
                return


class _Deflate:
    """`deflate` is zlib's format by the standard, and bare deflate with some servers: the first two bytes tell."""

    def __init__(self) -> None:
        self._start = b""
        self._zlib: _Zlib | None = None

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """See Decoder."""
        if self._zlib is None:
            piece = self._start + piece
            if len(piece) < 2:
                self._start = piece
                return
            wrapped = piece[0] & 0x0F == 8 and piece[0] >> 4 <= 7 and (piece[0] << 8 | piece[1]) % 31 == 0
            self._zlib = _Zlib(15 if wrapped else -15)
        yield from self._zlib.unpack(piece)


class _Brotli:
    def __init__(self) -> None:
        import brotli  # noqa: PLC0415 - most workers never meet a compressed answer, and need not hold the library

        self._error = brotli.error
        self._inflater = brotli.Decompressor()

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """See Decoder."""
        if self._inflater.is_finished():
            return  # what follows the end is ignored
        while True:
            try:
                # It stops a little short of the limit and says that it wants more; only nothing means that it has nothing.
                plain = self._inflater.process(piece, output_buffer_limit=STEP_BYTES)
            except self._error as error:
                raise Undecodable(str(error)) from error
            if not plain:
                return
            yield plain
            piece = b""


class _Zstd:
    """Any number of frames."""

    def __init__(self) -> None:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415 - see _Brotli
        else:
            from backports import zstd  # noqa: PLC0415 - see _Brotli

        self._error = zstd.ZstdError
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        self._make = partial(zstd.ZstdDecompressor, None, options)
        self._inflater = self._make()

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """See Decoder."""
        while True:
            if self._inflater.eof:
                if not piece:
                    return
                self._inflater = self._make()
            try:
                plain = self._inflater.decompress(piece, STEP_BYTES)
            except self._error as error:
                raise Undecodable(str(error)) from error
            if plain:
                yield plain
            if self._inflater.eof:
                piece = self._inflater.unused_data
            elif self._inflater.needs_input:
                return
            else:
                piece = b""


_DECODERS = {b"gzip": _Zlib, b"x-gzip": _Zlib, b"deflate": _Deflate, b"br": _Brotli, b"zstd": _Zstd}
