"""A large body of known length, received straight into the memory that the call keeps.

The usual way copies it twice, out of the loop's buffer and out of the pieces, into fresh memory each time; with prompts of
a megabyte that was a third of what a call cost. Here the kernel writes into the one buffer, whose size the head declared.
"""

from __future__ import annotations

import asyncio
import ctypes
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.pipeline.client import ClientConnection
    from proxy.pipeline.exchange import Exchange

LARGE_BODY_BYTES = 128 * 1024
# The kernel's copy of six megabytes into fresh memory took 10 ms of one turn.
_A_TURN_BYTES = 1024 * 1024

# A bytearray that is not cleared first, which `bytearray(size)` would take a tenth of the time of a large call for. Nobody
# sees it before its last byte has come. https://docs.python.org/3/c-api/bytearray.html
_allocate = ctypes.pythonapi.PyByteArray_FromStringAndSize
_allocate.restype = ctypes.py_object
_allocate.argtypes = (ctypes.c_char_p, ctypes.c_ssize_t)


class LargeBody(asyncio.BufferedProtocol):
    """Takes the place of the connection's protocol until the body is whole; never reads a byte beyond it."""

    def __init__(self, connection: ClientConnection, exchange: Exchange) -> None:
        self._connection = connection
        self._exchange = exchange
        self._body: bytearray = _allocate(None, exchange.declared_bytes)
        self._filled = 0
        for piece in exchange.take_pieces():
            self._body[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
        self._view = memoryview(self._body)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where more of it goes."""
        return self._view[self._filled : self._filled + _A_TURN_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """So much of it came."""
        self._filled += nbytes
        if self._filled == len(self._body):
            self._view.release()
            self._connection.large_body_received(self._exchange, self._body)
        elif nbytes == _A_TURN_BYTES:  # and there is more, which the loop would read on in the same turn
            self._connection._pause_reading()  # noqa: SLF001 - two halves of one thing
            self._connection.loop.call_soon(self._connection._resume_reading)  # noqa: SLF001

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """As the connection hears it."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """As the connection hears it."""
        self._connection.resume_writing()
