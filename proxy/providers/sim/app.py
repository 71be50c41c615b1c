"""The simulated provider's HTTP: OpenAI chat completions and Anthropic messages, plain and streamed, errors in the dialect.

Runs as a process of its own. Answers are the same bytes for the same request; the key may be anything.
"""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import uvloop
from aiohttp import web

from proxy.core.errors import FareboxError, InvalidRequest, NotFound, TooLarge
from proxy.core.ids import new_call_id
from proxy.providers.encodings import count_now
from proxy.providers.errors import error_body, stream_error
from proxy.providers.sim import chat, messages
from proxy.providers.sim.models import SIM_MODELS
from proxy.providers.sim.request import CHAT, MESSAGES, Request
from proxy.providers.sim.writer import Reply, identity, write

READY_FD = "FAREBOX_READY_FD"
MAX_BODY_BYTES = 64 * 1024 * 1024

_encode = msgspec.json.Encoder().encode

Event = tuple[bytes, bool]
"""What to write, and whether it carries a token: tokens are paced and counted."""


def make_app() -> web.Application:
    """The application, to be served by whoever wants it."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.on_startup.append(_warm)
    app.router.add_post("/v1/chat/completions", _answering("openai", _chat))
    app.router.add_post("/v1/messages", _answering("anthropic", _messages))
    app.router.add_post("/v1/messages/count_tokens", _answering("anthropic", _count_tokens))
    app.router.add_get("/v1/models", _models)
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


Handler = Callable[[web.Request, bytes], Any]


def _answering(dialect: str, handler: Handler) -> Callable[[web.Request], Any]:
    """The handler, with its errors said in the dialect."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request, await request.read())
        except FareboxError as error:
            return refused(error)
        except web.HTTPRequestEntityTooLarge:
            return refused(TooLarge())
        return response

    def refused(error: FareboxError) -> web.Response:
        body = error_body(dialect, error, new_call_id())
        return web.Response(status=error.status, body=body, content_type="application/json")

    return answer


async def _chat(request: web.Request, body: bytes) -> web.StreamResponse:
    asked = Request(CHAT, body)
    await _hesitate(asked)
    input_tokens = await _input_tokens(asked)
    replies = [write(asked.task(choice)) for choice in range(asked.ask.choices)]
    name, model = identity(asked.task(0)), asked.ask.model
    used = None if asked.behaviour.omit_usage else chat.usage(input_tokens, replies)
    if not asked.ask.stream:
        return await _send(request, asked, chat.document(name, model, replies, used))

    async def events() -> AsyncIterator[Event]:
        for index, reply in enumerate(replies):
            for chunk in chat.chunks(name, model, index, reply, usage_asked=asked.ask.usage_asked):
                delta = chunk["choices"][0]["delta"]
                yield _data(chunk), bool(delta) and "role" not in delta
        if used is not None and asked.ask.usage_asked:
            yield _data(chat.usage_chunk(name, model, used)), False
        yield b"data: [DONE]\n\n", False

    return await _stream(request, asked, "openai", events())


async def _messages(request: web.Request, body: bytes) -> web.StreamResponse:
    asked = Request(MESSAGES, body)
    await _hesitate(asked)
    counted = await _input_tokens(asked)
    input_tokens = None if asked.behaviour.omit_usage else counted
    reply: Reply = write(asked.task(0))
    name, model = identity(asked.task(0)), asked.ask.model
    if not asked.ask.stream:
        return await _send(request, asked, messages.document(name, model, reply, input_tokens))

    async def events() -> AsyncIterator[Event]:
        for event in messages.beginning(name, model, reply, input_tokens):
            yield _named(event), False
        for piece in reply.pieces:
            yield _named(messages.delta(reply, piece)), True
        for event in messages.end(reply, input_tokens):
            yield _named(event), False

    return await _stream(request, asked, "anthropic", events())


async def _count_tokens(_request: web.Request, body: bytes) -> web.StreamResponse:
    try:
        members = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("The request body is not valid JSON.") from None
    asked = Request(MESSAGES, _encode({"max_tokens": 1, **members}))
    return web.json_response({"input_tokens": await _input_tokens(asked)})


async def _models(request: web.Request) -> web.StreamResponse:
    if "anthropic-version" in request.headers:
        rows = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2023-11-14T22:13:20Z"}
            for name in SIM_MODELS
        ]
        page = {"data": rows, "has_more": False, "first_id": SIM_MODELS[0], "last_id": SIM_MODELS[-1]}
        return web.json_response(page)
    listed = [{"id": name, "object": "model", "created": chat.CREATED_AT, "owned_by": "sim"} for name in SIM_MODELS]
    return web.json_response({"object": "list", "data": listed})


async def _hesitate(asked: Request) -> None:
    """The delay and the refusal that the call asks for."""
    if asked.behaviour.delay_ms:
        await asyncio.sleep(asked.behaviour.delay_ms / 1000)
    if asked.behaviour.status is not None:
        error = NotFound if asked.behaviour.status == NotFound.status else FareboxError
        refusal = error("The simulated model was told to fail.", code="simulated_failure")
        refusal.status = asked.behaviour.status
        raise refusal


async def _input_tokens(asked: Request) -> int:
    return await asyncio.to_thread(count_now, asked.prompt, asked.ask.model) + asked.overhead_tokens


async def _send(request: web.Request, asked: Request, document: dict[str, Any]) -> web.StreamResponse:
    body = _encode(document)
    if asked.behaviour.fail_after is None:
        return web.Response(body=body, content_type="application/json")
    response = web.StreamResponse(headers={"content-type": "application/json", "content-length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return _broken_off(request, response)


async def _stream(
    request: web.Request, asked: Request, dialect: str, events: AsyncIterator[Event]
) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    )
    await response.prepare(request)
    wanted = asked.behaviour
    tokens = 0
    async for event, is_token in events:
        if is_token:
            if tokens == wanted.fail_after:
                return _broken_off(request, response)
            if tokens == wanted.error_after:
                await response.write(stream_error(dialect, "unavailable", "The simulated model was told to fail."))
                break
            if wanted.pace_ms:
                await asyncio.sleep(wanted.pace_ms / 1000)
            tokens += 1
        await response.write(event)
    await response.write_eof()
    return response


def _broken_off(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """End the connection without an end of the answer."""
    if request.transport is not None:
        request.transport.close()
    return response


def _data(chunk: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % _encode(chunk)


def _named(event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), _encode(event))
