"""Servers for tests that run in a thread of their own: an event loop (`LoopServer`) or a thread a connection (`PlainServer`).

Both listen on a free port of 127.0.0.1 until their block ends.
"""

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from aiohttp import web


class LoopServer:
    """Runs `listen`, which sets `url` (without a path), then its loop until the block ends, then `leave`."""

    def __init__(self) -> None:
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    async def listen(self) -> None:
        """Starts to listen and sets `url`."""
        raise NotImplementedError

    async def leave(self) -> None:
        """Stops to listen; what still runs is cancelled afterwards."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.listen())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self.leave())
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()


class WebServer(LoopServer):
    """A LoopServer with aiohttp, of `routes`."""

    def routes(self) -> list[web.RouteDef]:
        """What it serves."""
        raise NotImplementedError

    async def listen(self) -> None:
        app = web.Application(client_max_size=2**28)
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def leave(self) -> None:
        await self._runner.cleanup()


class PlainServer(ThreadingHTTPServer):
    """http.server's, whose handler is a `PlainHandler`; `origin` is its address."""

    daemon_threads = True

    def __init__(self, handler: type["PlainHandler"]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.origin = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join(10)
        self.server_close()


class PlainHandler(BaseHTTPRequestHandler):
    """HTTP/1.1 with connections that are kept; nothing is said on standard error."""

    protocol_version = "HTTP/1.1"

    def read_body(self) -> bytes:
        """The request's body; empty where it announces none."""
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def serve(self) -> None:
        """Answers a request of any method."""
        raise NotImplementedError

    def do_POST(self) -> None:
        self.serve()

    do_GET = do_DELETE = do_PUT = do_PATCH = do_POST  # noqa: N815 - http.server finds them by these names

    def log_message(self, *_: Any) -> None:
        pass
