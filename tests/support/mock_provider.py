"""A provider for tests: real HTTP on a port of its own, in a thread; it asserts nothing, it remembers what it received.

What it does is asked for in the request body's member `mock`, which Farebox passes on untouched: {"chunks", "pace_ms",
"delay_ms", "gated" (until `gate` is set), "status", "break_after", "omit_usage", "usage", "error_after"}.
Usage: 7 input tokens, one output token a chunk.
"""

import asyncio
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.threaded import WebServer

PROVIDER_KEY = "provider-key-canary-5f1d"
INPUT_TOKENS = 7


@dataclass
class Received:
    """One request as it arrived."""

    path: str
    query: str
    headers: dict[str, str]
    raw: bytes
    body: dict[str, Any] = field(default_factory=dict)


class MockProvider(WebServer):
    """Serves OpenAI chat completions and Anthropic messages until the block ends; `url` has no path."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Received] = []
        self.finished = 0
        self.dropped = 0
        self.open = 0
        self.gate = threading.Event()

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/chat/completions", self._chat), web.post("/v1/messages", self._messages)]

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, _chat_plain, _chat_events)

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, _messages_plain, _messages_events)

    async def _answer(self, request: web.Request, plain: Any, events: Any) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw)
        seen = Received(
            request.path, request.query_string, {k.lower(): v for k, v in request.headers.items()}, raw, body
        )
        self.received.append(seen)
        mock = body.get("mock", {})
        self.open += 1
        try:
            await asyncio.sleep(mock.get("delay_ms", 0) / 1000)
            if mock.get("gated"):
                await asyncio.to_thread(self.gate.wait, 60)
            if mock.get("status", 200) >= 400:
                error = {
                    "error": {"message": f"no: {PROVIDER_KEY}", "type": "server_error", "code": None, "param": None}
                }
                return web.json_response(
                    error, status=mock["status"], headers={"set-cookie": "a=b", "openai-organization": "org-x"}
                )
            if not body.get("stream"):
                return web.json_response(plain(body, mock))
            return await self._stream(request, mock, events(body, mock))
        except (asyncio.CancelledError, ConnectionError):
            self.dropped += 1
            raise
        finally:
            self.open -= 1

    async def _stream(self, request: web.Request, mock: dict[str, Any], events: list[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number, event in enumerate(events):
            if number == mock.get("break_after"):
                assert request.transport is not None
                request.transport.abort()
                return response
            await response.write(event)
            if mock.get("pace_ms"):
                await asyncio.sleep(mock["pace_ms"] / 1000)
        await response.write_eof()
        self.finished += 1
        return response


def expected_usage(body: dict[str, Any]) -> tuple[int, int]:
    """Input and output tokens that the provider reports for a request."""
    return INPUT_TOKENS, body.get("mock", {}).get("chunks", 5)


def _data(payload: object, event: str | None = None) -> bytes:
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(payload)}\n\n".encode()


def _chat_usage(body: dict[str, Any], mock: dict[str, Any]) -> Any:
    given, output = expected_usage(body)
    usage = {"prompt_tokens": given, "completion_tokens": output, "total_tokens": given + output}
    return mock.get("usage", usage)


def _chat_plain(body: dict[str, Any], mock: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": "word " * mock.get("chunks", 5)}
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"]}
    answer["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return answer if mock.get("omit_usage") else {**answer, "usage": _chat_usage(body, mock)}


def _chat_events(body: dict[str, Any], mock: dict[str, Any]) -> list[bytes]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    asked = (body.get("stream_options") or {}).get("include_usage") and not mock.get("omit_usage")
    extra = {"usage": None} if asked else {}
    events = []
    for number in range(mock.get("chunks", 5)):
        if number == mock.get("error_after"):
            events.append(_data({"error": {"message": "overloaded", "type": "server_error", "code": None}}))
            return events
        events.append(
            _data({**base, "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}], **extra})
        )
    events.append(_data({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **extra}))
    if asked:
        events.append(_data({**base, "choices": [], "usage": _chat_usage(body, mock)}))
    return [*events, b"data: [DONE]\n\n"]


def _messages_plain(body: dict[str, Any], mock: dict[str, Any]) -> dict[str, Any]:
    given, output = expected_usage(body)
    content = [{"type": "text", "text": "word " * mock.get("chunks", 5)}]
    answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": content}
    return {
        **answer,
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": given, "output_tokens": output},
    }


def _messages_events(body: dict[str, Any], mock: dict[str, Any]) -> list[bytes]:
    given, output = expected_usage(body)
    message = {**_messages_plain(body, mock), "content": [], "stop_reason": None}
    message["usage"] = {"input_tokens": given, "output_tokens": 1}
    events = [_data({"type": "message_start", "message": message}, "message_start")]
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    events.append(_data(block, "content_block_start"))
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word "}}
    events += [_data(delta, "content_block_delta")] * output
    events.append(_data({"type": "content_block_stop", "index": 0}, "content_block_stop"))
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": output},
    }
    return [*events, _data(end, "message_delta"), _data({"type": "message_stop"}, "message_stop")]
