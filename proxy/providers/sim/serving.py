"""How the simulated provider answers over HTTP: a document or a stream, at the pace and with the failures that a call asks for."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import ClientConnectionResetError, web

from proxy.core.errors import FareboxError, NotFound, TooLarge
from proxy.core.ids import new_call_id
from proxy.providers.encodings import count_now
from proxy.providers.errors import error_body, stream_error
from proxy.providers.sim.models import Behaviour
from proxy.providers.sim.request import Request

encode = msgspec.json.Encoder().encode

FAILED = "The simulated model was told to fail."
SSE = "text/event-stream; charset=utf-8"

Event = tuple[bytes, bool]
"""What to write, and whether it carries a token: tokens are paced and counted."""

Handler = Callable[[web.Request, bytes], Any]


def answering(dialect: str, handler: Handler) -> Callable[[web.Request], Any]:
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


async def hesitate(behaviour: Behaviour) -> None:
    """The delay and the refusal that the call asks for."""
    if behaviour.delay_ms:
        await asyncio.sleep(behaviour.delay_ms / 1000)
    if behaviour.status is not None:
        error = NotFound if behaviour.status == NotFound.status else FareboxError
        refusal = error(FAILED, code="simulated_failure")
        refusal.status = behaviour.status
        raise refusal


async def input_tokens(asked: Request) -> int:
    """The input of a request as it is billed."""
    return await count(asked.prompt) + asked.overhead_tokens


async def count(text: str) -> int:
    """Tokens of a text, off the event loop."""
    return await asyncio.to_thread(count_now, text, "sim")


async def send(request: web.Request, behaviour: Behaviour, document: Any) -> web.StreamResponse:
    """A plain answer, or half of it."""
    body = encode(document)
    if behaviour.fail_after is None:
        return web.Response(body=body, content_type="application/json")
    response = web.StreamResponse(headers={"content-type": "application/json", "content-length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return _broken_off(request, response)


async def stream(
    request: web.Request,
    behaviour: Behaviour,
    events: Iterable[Event],
    failure: bytes,
    content_type: str = SSE,
) -> web.StreamResponse:
    """A streamed answer; `failure` is the dialect's way to say in the middle that it went wrong. It ends where the client has left."""
    response = web.StreamResponse(headers={"content-type": content_type, "cache-control": "no-cache"})
    with suppress(ClientConnectionResetError):  # aiohttp would log it as an error of the server
        await response.prepare(request)
        await _write(request, response, behaviour, events, failure)
    return response


async def _write(
    request: web.Request,
    response: web.StreamResponse,
    behaviour: Behaviour,
    events: Iterable[Event],
    failure: bytes,
) -> None:
    tokens = 0
    for event, is_token in events:
        if is_token:
            if tokens == behaviour.fail_after:
                _broken_off(request, response)
                return
            if tokens == behaviour.error_after:
                await response.write(failure)
                break
            if behaviour.pace_ms:
                await asyncio.sleep(behaviour.pace_ms / 1000)
            tokens += 1
        await response.write(event)
    await response.write_eof()


def failure_event(dialect: str) -> bytes:
    """An error inside a stream, as the dialect writes it."""
    return stream_error(dialect, "unavailable", FAILED)


def data(chunk: Any) -> bytes:
    """An event without a name."""
    return b"data: %b\n\n" % encode(chunk)


def named(event: dict[str, Any]) -> bytes:
    """An event that is named by its type."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), encode(event))


def _broken_off(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """End the connection without an end of the answer."""
    if request.transport is not None:
        request.transport.close()
    return response
