"""A wire tap in front of an upstream: passes every call on, and remembers the bytes of both directions.

So that a test can hold what a client got against what the upstream sent in that very call, also where answers differ each time.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from tests.support.threaded import WebServer

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


class Tap(WebServer):
    """Listens on a port of its own, in a thread, until the block ends; `url` has no path, `calls` has the newest call last."""

    def __init__(self, upstream_url: str) -> None:
        super().__init__()
        self.calls: list[Tapped] = []
        self._upstream_url = upstream_url

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/{path:.*}", self._pass_on)]

    async def listen(self) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        await super().listen()

    async def leave(self) -> None:
        await super().leave()
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
