"""The simulated provider: OpenAI's, Anthropic's and Gemini's dialects on one port, as a process of its own.

Answers are the same bytes for the same request (but for the ids of stored responses); the key may be anything.
"""

import asyncio
import os
import signal
import socket
from typing import Any

import uvloop
from aiohttp import web

from proxy.core.errors import NotFound
from proxy.providers.encodings import count_now
from proxy.providers.sim import chat, gemini_calls, handlers
from proxy.providers.sim.models import SIM_MODELS, behaviour
from proxy.providers.sim.responses_calls import Responses
from proxy.providers.sim.serving import answering

READY_FD = "FAREBOX_READY_FD"
MAX_BODY_BYTES = 64 * 1024 * 1024


def make_app() -> web.Application:
    """The application, to be served by whoever wants it."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.on_startup.append(_warm)
    router = app.router
    router.add_post("/v1/chat/completions", answering("openai", handlers.answer_chat))
    router.add_post("/v1/completions", answering("openai", handlers.answer_completions))
    router.add_post("/v1/embeddings", answering("openai", handlers.answer_embeddings))
    router.add_post("/v1/messages", answering("anthropic", handlers.answer_messages))
    router.add_post("/v1/messages/count_tokens", answering("anthropic", handlers.answer_count_tokens))
    router.add_get("/v1/models", _models)
    router.add_get("/v1/models/{model}", answering("openai", _model))
    Responses().add_routes(router)
    gemini_calls.add_routes(router)
    router.add_route("*", "/{path:.*}", answering("openai", _nowhere))
    return app


def run_sim(listen_fd: int | None) -> int:
    """Serve on an inherited listening socket (None: 127.0.0.1:9001) until SIGTERM or SIGINT; returns the exit code."""
    listener = socket.socket(fileno=listen_fd) if listen_fd is not None else socket.create_server(("127.0.0.1", 9001))
    uvloop.run(_serve(listener))
    return 0


async def _serve(listener: socket.socket) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
    runner = web.AppRunner(make_app(), access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    if ready := os.environ.pop(READY_FD, ""):
        os.write(int(ready), b"1")
        os.close(int(ready))
    await stop.wait()
    await runner.cleanup()


async def _warm(_app: web.Application) -> None:
    await asyncio.to_thread(count_now, "", "sim")


async def _nowhere(request: web.Request, _body: bytes) -> web.StreamResponse:
    """Refuses a path that is not here, or not with this method, in JSON as providers do."""
    raise NotFound(f"Invalid URL ({request.method} {request.path})", code="unknown_url")


async def _models(request: web.Request) -> web.StreamResponse:
    """The list as the caller's SDK reads it, told by the header that only this SDK sends."""
    if "x-goog-api-key" in request.headers:
        return await gemini_calls.list_models(request)
    rows = [_row(request, name) for name in SIM_MODELS]
    if "anthropic-version" in request.headers:
        page = {"data": rows, "has_more": False, "first_id": SIM_MODELS[0], "last_id": SIM_MODELS[-1]}
        return web.json_response(page)
    return web.json_response({"object": "list", "data": rows})


async def _model(request: web.Request, body: bytes) -> web.StreamResponse:
    if "x-goog-api-key" in request.headers:
        return await gemini_calls.show_model(request, body)
    behaviour(request.match_info["model"], None)  # raises NotFound
    return web.json_response(_row(request, request.match_info["model"]))


def _row(request: web.Request, name: str) -> dict[str, Any]:
    if "anthropic-version" in request.headers:
        return {"type": "model", "id": name, "display_name": name, "created_at": "2023-11-14T22:13:20Z"}
    return {"id": name, "object": "model", "created": chat.CREATED_AT, "owned_by": "sim"}
