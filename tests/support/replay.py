"""An upstream that replays recorded traffic: the recorded answer for the exchange that a request belongs to.

A request says which exchange it is in its trace id (Farebox passes `traceparent` on). What arrived is held against what
was recorded: method, path, query and body, but for the usage that Farebox asks a stream for; differences are kept in
`complaints`. An answer goes out whole, or in pieces at random places.
"""

import asyncio
import json
import random
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from aiohttp import web

from tests.support.recordings import body_of, rows

_PIECES = (1, 2, 3, 17, 200, 1460, 4096, 65536)
_PAUSE_EVERY = 8  # pieces: between pauses the system may join what was written apart
_MAX_BODY_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded exchange; bodies are bytes, header names lower case."""

    id: str
    host: str
    method: str
    path: str
    query: str
    request_type: str
    request: bytes
    status: int
    headers: dict[str, str]
    response: bytes
    stand_in: bool = False
    """The recorder lost the request, or wrote down something else than JSON: one that asks for the same stands for it."""

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    @property
    def sse(self) -> bool:
        return self.content_type.startswith("text/event-stream")

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def trace_id(self) -> str:
        """The id as a W3C trace id, which stands on the usage record too."""
        return self.id.rjust(32, "f")

    @property
    def asked(self) -> Any:
        """The request as JSON; None where it has no body."""
        return json.loads(self.request) if self.request else None


@cache
def recordings() -> tuple[Recorded, ...]:
    """Every recorded exchange; skips the test where the recordings are not there."""
    return tuple(_recorded(row) for row in rows())


def _recorded(row: dict[str, Any]) -> Recorded:
    method, request, response = row["method"].upper(), body_of(row["request"]), body_of(row["response"])
    stand_in = method == "POST" and not _is_json(request)
    asked = {name.lower(): value for name, value in row["request_headers"].items()}
    return Recorded(
        id=row["id"],
        host=row["host"],
        method=method,
        path=row["path"],
        query=row["query"] or "",
        request_type=asked.get("content-type", "application/json"),
        request=_stand_in(response) if stand_in else request,
        status=int(row["status"]),
        headers={name.lower(): value for name, value in row["response_headers"].items()},
        response=response,
        stand_in=stand_in,
    )


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _stand_in(response: bytes) -> bytes:
    """A request that this answer could be for, in the dialects whose requests were lost (OpenAI's chat and Bedrock's)."""
    return json.dumps({"model": json.loads(response).get("model", ""), "messages": []}).encode()


@dataclass
class Replayer:
    """The upstream. `split` sends answers in pieces; `url` is its address once it runs."""

    exchanges: tuple[Recorded, ...]
    split: bool = False
    seed: int = 0
    url: str = ""
    complaints: dict[str, str] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._by_trace = {exchange.trace_id: exchange for exchange in self.exchanges}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        trace = request.headers.get("traceparent", "--").split("-")[1]
        exchange = self._by_trace.get(trace)
        if exchange is None:
            return web.json_response({"error": {"message": f"no exchange {trace}"}}, status=418)
        complaint = different(exchange, request.method, request.raw_path, await request.read())
        if complaint:
            self.complaints[exchange.id] = complaint
        self.answered.add(exchange.id)
        return await self._answer(exchange, request)

    async def _answer(self, exchange: Recorded, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=exchange.status, headers=exchange.headers)
        if not exchange.sse:
            answer.content_length = len(exchange.response)
        await answer.prepare(request)
        for number, piece in enumerate(self._pieces(exchange)):
            await answer.write(piece)
            if number % _PAUSE_EVERY == 1:
                await asyncio.sleep(0)
        await answer.write_eof()
        return answer

    def _pieces(self, exchange: Recorded) -> list[bytes]:
        body = exchange.response
        if not self.split:
            return [body] if body else []
        dice = random.Random(f"{self.seed} {exchange.id}")
        smallest = 0 if len(body) < 20_000 else 3  # a byte at a time would take minutes for the largest
        pieces, at = [], 0
        while at < len(body):
            size = dice.choice(_PIECES[smallest:])
            pieces.append(body[at : at + size])
            at += size
        return pieces


def different(exchange: Recorded, method: str, target: str, body: bytes) -> str | None:
    """What of a forwarded request is not as it was recorded; None where it is the same."""
    path, _, query = target.partition("?")
    if method != exchange.method:
        return f"method {method} instead of {exchange.method}"
    if path != exchange.path:
        return f"path {path} instead of {exchange.path}"
    if query != exchange.query:
        return f"query {query!r} instead of {exchange.query!r}"
    if body == exchange.request or same_but_for_usage(body, exchange.request):
        return None
    return "the body is another"


def same_but_for_usage(sent: bytes, recorded: bytes) -> bool:
    """Whether a body is the recorded one, asked for its stream's usage on top of it."""
    try:
        with_ask, plain = json.loads(sent), json.loads(recorded)
    except ValueError:
        return False
    if not isinstance(with_ask, dict) or not isinstance(plain, dict) or not plain.get("stream"):
        return False
    options = dict(with_ask.pop("stream_options", None) or {})
    asked = options.pop("include_usage", None)
    given = dict(plain.pop("stream_options", None) or {})
    given.pop("include_usage", None)
    return asked is True and options == given and with_ask == plain
