"""A wire tap in front of an upstream: passes every call on, and remembers the bytes of both directions.

So that a test can hold what a client got against what the upstream sent in that very call, also where answers differ each time.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from aiohttp import web

_PASSED_ON = ("content-type", "content-length", "retry-after")


@dataclass
class Tapped:
    """One call: what the upstream was sent and what it answered so far. `dropped`: who asked did not wait for the end."""

    path: str
    request: bytes
    status: int | None = None
    answer: bytes = b""
    ended: bool = False
    dropped: bool = False

    def document(self) -> Any:
        """The plain answer."""
        return json.loads(self.answer)

    def events(self) -> list[Any]:
        """The data of a streamed answer's events, without the end mark."""
        return [json.loads(data) for data in self._data() if data != b"[DONE]"]

    def _data(self) -> Iterator[bytes]:
        for line in self.answer.splitlines():
            if line.startswith(b"data: "):
                yield line.removeprefix(b"data: ")


class Tap:
    """Listens on a port of its own, in a thread, until the block ends; `url` has no path, `calls` has the newest call last."""

    def __init__(self, upstream_url: str) -> None:
        self.url = ""
        self.calls: list[Tapped] = []
        self._upstream_url = upstream_url
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._stop())
        self._loop.close()

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=2**28)
        app.router.add_post("/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        server = site._server
        assert isinstance(server, asyncio.Server)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        call = Tapped(request.path, await request.read())
        self.calls.append(call)
        try:
            return await self._exchange(request, call)
        except (asyncio.CancelledError, ConnectionError):
            call.dropped = True
            raise

    async def _exchange(self, request: web.Request, call: Tapped) -> web.StreamResponse:
        headers = {"content-type": "application/json"}
        async with self._session.post(self._upstream_url + call.path, data=call.request, headers=headers) as answer:
            call.status = answer.status
            kept = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            with contextlib.suppress(aiohttp.ClientPayloadError):
                async for piece in answer.content.iter_any():
                    call.answer += piece
                    await response.write(piece)
                call.ended = True
                await response.write_eof()
                return response
        assert request.transport is not None
        request.transport.abort()  # the upstream broke off, so the tap does
        return response
