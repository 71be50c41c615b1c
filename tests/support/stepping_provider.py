"""A provider that does on the wire what each request tells it to: the body's member `mock` is a list of steps.

["send", base64] writes bytes, ["sleep", ms] waits, ["repeat", base64, times] writes the same bytes again and again, ["hang"]
waits until the other side closes, ["reset"] aborts. After the last step the connection is closed in good order. Farebox
passes `mock` on untouched. Where it is a name it stands for `plays[name]`, and a request without a body plays
`plays[path]`. Runs in a thread of its own.
"""

import asyncio
import base64
import contextlib
import json
from typing import Any

from tests.support.threaded import LoopServer

Step = list[Any]


def send(data: bytes) -> Step:
    return ["send", base64.b64encode(data).decode()]


def repeat(data: bytes, times: int) -> Step:
    return ["repeat", base64.b64encode(data).decode(), times]


def sleep(ms: int) -> Step:
    return ["sleep", ms]


HANG: Step = ["hang"]
RESET: Step = ["reset"]


def head(
    content_type: str | None = "text/event-stream", *more: str, status: str = "200 OK", length: int | None = None
) -> bytes:
    """The head of an answer; without a length the body ends with the connection, as HTTP/1.1 allows.

    It says that the connection ends: a call that was sent on one just before its end would be lost.
    """
    lines = [f"HTTP/1.1 {status}"]
    if content_type is not None:
        lines.append(f"content-type: {content_type}")
    lines += ["connection: close", *([] if length is None else [f"content-length: {length}"]), *more]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def chunked(*more: str, content_type: str = "text/event-stream") -> bytes:
    """The head of an answer in chunks, whose end cannot be mistaken."""
    lines = [
        "HTTP/1.1 200 OK",
        f"content-type: {content_type}",
        "transfer-encoding: chunked",
        "connection: close",
        *more,
    ]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST = b"0\r\n\r\n"


class SteppingProvider(LoopServer):
    """`url` has no path; `open` counts connections with a request in progress, `closed_early` those that Farebox closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open = 0
        self.closed_early = 0
        self.bodies: list[dict[str, Any]] = []
        self.plays: dict[str, list[Step]] = {}

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def leave(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                steps = await self._request(reader)
                self.open += 1
                try:
                    await self._play(steps, reader, writer)
                except OSError:
                    self.closed_early += 1
                    raise
                finally:
                    self.open -= 1
                break
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _request(self, reader: asyncio.StreamReader) -> list[Step]:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = lines[0].split(" ")[1]
        length = next((int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")), 0)
        body = json.loads(await reader.readexactly(length)) if length else {}
        self.bodies.append(body)
        steps = body.get("mock", path)
        return self.plays[steps] if isinstance(steps, str) else steps

    async def _play(self, steps: list[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = asyncio.ensure_future(reader.read(1))  # noqa: TID251 - ends with the connection: whoever asks says no more
        try:
            for kind, *values in steps:
                if gone.done():
                    raise ConnectionResetError
                if kind == "sleep":
                    await asyncio.wait([gone], timeout=values[0] / 1000)
                elif kind == "hang":
                    await gone
                    raise ConnectionResetError
                elif kind == "reset":
                    writer.transport.abort()
                    return
                else:
                    await self._write(writer, base64.b64decode(values[0]), values[1] if kind == "repeat" else 1)
        finally:
            gone.cancel()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes, times: int) -> None:
        for _ in range(times):
            writer.write(data)
            await writer.drain()
