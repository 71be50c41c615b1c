"""A way to Redis that can fail: it loses replies, holds them back, or cuts the line, when a test says so."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path


class Relay:
    """Passes bytes between clients and the server's socket. `lose` counts how many next replies are lost with their line."""

    def __init__(self, upstream: Path, path: Path) -> None:
        self._upstream = upstream
        self._path = path
        self._lines: set[asyncio.StreamWriter] = set()
        self.lose = 0
        self.connections = 0

    @property
    def url(self) -> str:
        return f"unix://{self._path}"

    def cut(self) -> None:
        """Ends every line now."""
        for writer in self._lines:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._lines.add(writer)
        up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
        back = asyncio.get_running_loop().create_task(self._back(up_reader, writer))
        with contextlib.suppress(OSError):
            while piece := await reader.read(1 << 16):
                up_writer.write(piece)
        back.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await back
        for each in (up_writer, writer):
            each.transport.abort()
        self._lines.discard(writer)

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1 << 16):
            if self.lose:
                self.lose -= 1
                writer.transport.abort()
                return
            writer.write(piece)


@contextlib.asynccontextmanager
async def relay_to(socket_path: Path) -> AsyncIterator[Relay]:
    """A relay in front of a server's socket."""
    with tempfile.TemporaryDirectory(prefix="fb-", dir="/tmp") as directory:
        relay = Relay(socket_path, Path(directory) / "r")
        server = await asyncio.start_unix_server(relay.serve, Path(directory) / "r")
        try:
            yield relay
        finally:
            server.close()
            relay.cut()
            await asyncio.sleep(0.01)
