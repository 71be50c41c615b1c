"""The simulated provider's responses over HTTP: plain, streamed, in the background, fetched again, compacted, counted.

The last `KEPT` responses are kept in memory, so that they can be fetched and continued: a continued conversation costs
its earlier turns again, as OpenAI bills it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from proxy.core.errors import NotFound
from proxy.core.ids import new_call_id
from proxy.providers.sim import responses
from proxy.providers.sim.request import Request, read_responses
from proxy.providers.sim.serving import FAILED, Event, answering, encode, hesitate, input_tokens, named, send, stream
from proxy.providers.sim.writer import Reply, identity, write

KEPT = 1000
# How long a response of the background stays queued where the call does not say.
_BACKGROUND_S = 0.2


@dataclass(slots=True)
class _Kept:
    document: dict[str, Any]
    """As it is fetched; of one in the background, as it will be."""

    waiting: dict[str, Any] | None
    """As it is fetched before `ready_at`, on the loop's clock."""

    ready_at: float
    conversation_tokens: int


class Responses:
    """The responses of one server."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Everything below `/v1/responses`."""
        router.add_post("/v1/responses", answering("openai", self._create))
        router.add_post("/v1/responses/input_tokens", answering("openai", self._count))
        router.add_post("/v1/responses/compact", answering("openai", self._compact))
        router.add_get("/v1/responses/{id}", answering("openai", self._fetch))
        router.add_delete("/v1/responses/{id}", answering("openai", self._delete))
        router.add_post("/v1/responses/{id}/cancel", answering("openai", self._cancel))

    async def _create(self, request: web.Request, body: bytes) -> web.StreamResponse:
        asked = read_responses(body)
        background = asked.members.get("background") is True
        if not background:
            await hesitate(asked.behaviour)
        counted = await self._input_tokens(asked)
        reply = write(asked.task(0))
        used = None if asked.behaviour.omit_usage else responses.usage(counted, reply)
        # Responses are kept under their id, so two calls never share one; with `store: false` the bytes repeat.
        stored = asked.members.get("store") is not False
        name = f"resp_{new_call_id()}" if stored else f"resp_{identity(asked.task(0))}"
        begun = responses.begun(name, asked.ask.model, asked.members, "queued" if background else "in_progress")
        ended = responses.ended(begun, reply, used)
        if stored:
            self._keep(asked, begun, ended, counted + reply.tokens)
        if asked.ask.stream:
            return await stream(request, asked.behaviour, _events(begun, reply, used), _failure())
        return await send(request, asked.behaviour, begun if background else ended)

    def _keep(self, asked: Request, begun: dict[str, Any], ended: dict[str, Any], tokens: int) -> None:
        ready_at, waiting = 0.0, None
        if begun["background"]:
            delay = asked.behaviour.delay_ms / 1000 or _BACKGROUND_S
            ready_at, waiting = asyncio.get_running_loop().time() + delay, begun
        self._kept[begun["id"]] = _Kept(ended, waiting, ready_at, tokens)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    async def _input_tokens(self, asked: Request) -> int:
        previous = asked.members.get("previous_response_id")
        earlier = self._find(previous).conversation_tokens if isinstance(previous, str) else 0
        return await input_tokens(asked) + earlier

    async def _count(self, _request: web.Request, body: bytes) -> web.StreamResponse:
        counted = await self._input_tokens(read_responses(body))
        return web.json_response({"object": "response.input_tokens", "input_tokens": counted})

    async def _compact(self, request: web.Request, body: bytes) -> web.StreamResponse:
        asked = read_responses(body)
        await hesitate(asked.behaviour)
        counted = await self._input_tokens(asked)
        given = asked.members.get("input") or []
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        reply = write(asked.task(0))
        used = None if asked.behaviour.omit_usage else responses.usage(counted, reply)
        name = f"resp_{identity(asked.task(0))}"
        return await send(request, asked.behaviour, responses.compaction(name, asked.members, items, used))

    async def _fetch(self, request: web.Request, _body: bytes) -> web.StreamResponse:
        return web.Response(body=encode(self._now(request.match_info["id"])), content_type="application/json")

    async def _cancel(self, request: web.Request, _body: bytes) -> web.StreamResponse:
        kept, now = self._find(request.match_info["id"]), self._now(request.match_info["id"])
        if now is kept.waiting:
            kept.document, kept.waiting = {**now, "status": "cancelled"}, None
        return web.json_response(kept.document)

    async def _delete(self, request: web.Request, _body: bytes) -> web.StreamResponse:
        name = request.match_info["id"]
        self._find(name)
        del self._kept[name]
        return web.json_response({"id": name, "object": "response", "deleted": True})

    def _find(self, name: str) -> _Kept:
        kept = self._kept.get(name)
        if kept is None:
            raise NotFound("There is no response with this id.", code="response_not_found", param="response_id")
        return kept

    def _now(self, name: str) -> dict[str, Any]:
        kept = self._find(name)
        if kept.waiting is not None and asyncio.get_running_loop().time() < kept.ready_at:
            return kept.waiting
        return kept.document


def _events(begun: dict[str, Any], reply: Reply, used: dict[str, Any] | None) -> Iterator[Event]:
    for event, is_token in responses.events(begun, reply, used):
        yield named(event), is_token


def _failure() -> bytes:
    error = {"type": "server_error", "code": "unavailable", "message": FAILED, "param": None}
    return named({"type": "error", "sequence_number": 0, "error": error})
