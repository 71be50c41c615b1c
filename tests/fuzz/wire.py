"""What is read off a connection and written to the other one: heads, filters, paths, framing; from both sides."""

import asyncio
from collections.abc import Iterable, Iterator
from functools import cache
from posixpath import normpath
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

from httptools import HttpParserError, HttpRequestParser, HttpResponseParser

from proxy.core.errors import FareboxError
from proxy.pipeline import request_head
from proxy.pipeline.authenticate import credential_of
from proxy.pipeline.client import ClientConnection
from proxy.pipeline.departures import Departures
from proxy.pipeline.exchange import ClientLeft, Exchange
from proxy.pipeline.forward import request_headers, target_for
from proxy.pipeline.paths import Paths, Target, fill
from proxy.pipeline.read import read_head, read_tags, read_trace, refuse_websocket
from proxy.pipeline.relay import _read_head
from proxy.pipeline.request_head import KnownHeads, RequestHead
from proxy.pipeline.turnstile import Turnstile
from proxy.pipeline.upstream.answer import MAX_HEADERS, MAX_OVERHEAD, AnswerReader
from proxy.pipeline.upstream.errors import BadAnswer
from proxy.pipeline.upstream.request import Heads
from proxy.pipeline.upstream.settings import Origin
from proxy.providers.registry import (
    OPERATIONS,
    allowed_query,
    allowed_request_headers,
    credential_headers,
    default_headers,
    drop_response_header,
)
from proxy.providers.rows import PROVIDERS
from tests.fuzz.control import Control, Cuts

OUR_KEY = "sk-ours-5b1f"
_THEIR_KEY = b"sk-fb-theirs-77"
_CREDENTIALS = frozenset(
    (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie", b"proxy-authorization")
)
_FRAMING = frozenset((b"host", b"content-length", b"accept-encoding"))
_BASES = ("", "/v1", "/openai/v1", "/base/x")


@cache
def endpoints() -> tuple[Any, ...]:
    """Every known provider in each of its dialects, with our key, as the configuration makes them."""
    made = []
    for number, (name, row) in enumerate(PROVIDERS.items()):
        for dialect in row.base_urls:
            tail = (*credential_headers(name, dialect, OUR_KEY), (b"accept-encoding", b"identity"))
            made.append(
                SimpleNamespace(
                    provider=name,
                    dialect=dialect,
                    base_path=_BASES[number % len(_BASES)],
                    allowed_headers=allowed_request_headers(dialect, name),
                    allowed_query=allowed_query(dialect, name),
                    defaults=default_headers(dialect),
                    tail=tail,
                    signer=None,
                    parts={},
                    targets={},
                )
            )
    return tuple(made)


@cache
def _paths() -> Paths:
    bases: dict[str, dict[str, str]] = {}
    for endpoint in endpoints():
        bases.setdefault(endpoint.provider, {})[endpoint.dialect] = endpoint.base_path
    return Paths(OPERATIONS, bases)


@cache
def _endpoint_for(provider: str | None, dialect: str) -> Any:
    return next(one for one in endpoints() if one.dialect == dialect and provider in {None, one.provider})


_METHODS = ("POST", "GET", "DELETE", "PUT")
_HEADS = (
    [],
    [(b"authorization", b"Bearer x")],
    [(b"x-api-key", b"x"), (b"anthropic-version", b"1")],
    [(b"x-goog-api-key", b"x")],
)


@cache
def _templates() -> tuple[str, ...]:
    shared = {path.shared for one in OPERATIONS for path in one.paths if path.shared}
    own = {
        f"/{endpoint.provider}{endpoint.base_path}{path.suffix}"
        for endpoint in endpoints()
        for one in OPERATIONS
        if one.dialect == endpoint.dialect
        for path in one.paths
    }
    return tuple(sorted(shared | own))


def paths(data: bytes) -> None:
    """A path leads to one operation or nowhere, and what goes on to the provider is that operation's path and no other."""
    control = Control(data)
    method, headers = control.pick(_METHODS), control.pick(_HEADS)
    kind, number, query_bytes = control.byte(), control.short(), control.byte()
    raw = control.rest()
    cut = query_bytes % (len(raw) + 1)
    query, rest = raw[:cut].decode("latin-1"), raw[cut:].decode("latin-1")
    if kind % 4 == 0:
        path = rest
    else:
        template = _templates()[number % len(_templates())]
        values = rest.split("|")
        filled = template
        for at in range(template.count("{")):
            start, end = filled.index("{"), filled.index("}")
            filled = filled[:start] + values[at % len(values)].replace("{", "(").replace("}", ")") + filled[end + 1 :]
        path = filled
    exchange: Any = SimpleNamespace(method=method, path=path, query=query, headers=headers)
    assert _paths().dialect_of(exchange)
    try:
        target = _paths().match(exchange)
        read_head(exchange, target, dict(headers))
    except FareboxError as error:
        assert error.status in {400, 404, 405}
        assert len(error.message) < 500
        assert error.message.isprintable()
        return
    _leads_there(target, exchange)


def _leads_there(target: Target, exchange: Any) -> None:
    endpoint = _endpoint_for(target.provider, target.operation.dialect)
    ours = [path for path in target.operation.paths if path.suffix == target.suffix]
    prefix = "" if target.provider is None else f"/{target.provider}{endpoint.base_path}"
    spelled = [path.shared if target.provider is None else path.suffix for path in ours]
    assert exchange.path in {prefix + fill(one, target.raw) for one in spelled if one is not None}
    call: Any = SimpleNamespace(target=target, exchange=exchange)
    for own_model in (None, "own/model:1"):
        sent = target_for(call, SimpleNamespace(endpoint=endpoint, own_model=own_model))  # type: ignore[arg-type]
        path, _, query = sent.partition("?")
        assert sent.isascii()
        assert not set(sent) & set(" \r\n\t#\\\0")
        assert path.startswith(endpoint.base_path + target.suffix.partition("{")[0])
        for read in (path, unquote(path), unquote(unquote(path))):
            assert normpath(read).startswith(normpath(endpoint.base_path or "/")), "it leads out of the base URL"
            assert ".." not in read.split("/")
        names = {unquote(member.partition("=")[0]).replace("+", " ") for member in query.split("&") if member}
        assert names <= endpoint.allowed_query, "a query member that is not on the list"


def headers_out(data: bytes) -> None:
    """The header filter towards a provider: allowed names alone, our credential once and no other, one request on the wire.

    Headers come through the parser of the client's side, and as no parser would let them through.
    """
    control = Control(data)
    endpoint = control.pick(endpoints())
    place = control.pick((b"authorization: Bearer ", b"x-api-key: ", b"api-key:", b"x-goog-api-key:\t", b"cookie: "))
    body_bytes, kind = control.byte(), control.byte()
    cuts = Cuts(control)
    lines = place + _THEIR_KEY + b"\r\n" + control.rest()
    if kind % 2:
        raw = b"POST /v1/x?key=" + _THEIR_KEY + b" HTTP/1.1\r\n" + lines + b"\r\n\r\n"
        for exchange in Client(cuts.of(raw, most=8)).exchanges[:1]:
            _filtered(exchange, endpoint, body_bytes)
    else:
        pairs = [line.partition(b":") for line in lines.split(b"\r\n")]
        headers = [(name.lower(), value.strip(b" \t")) for name, _, value in pairs]
        query = "key=" + _THEIR_KEY.decode() + "&" + lines.decode("latin-1")
        _filtered(SimpleNamespace(headers=headers, named=dict(headers), query=query), endpoint, body_bytes)


def _filtered(exchange: Any, endpoint: Any, body_bytes: int) -> None:
    try:
        refuse_websocket(exchange.named)
        read_tags(exchange.named)
        credential_of(exchange.headers, exchange.query)
    except FareboxError as error:
        assert 400 <= error.status < 500
        assert _THEIR_KEY.decode() not in error.message
    assert len(read_trace(exchange.named) or "0" * 32) == 32
    call: Any = SimpleNamespace(exchange=exchange, target=SimpleNamespace(suffix="/x", raw={}, params={}))
    headers = request_headers(call, endpoint, with_body=bool(body_bytes))
    target = target_for(call, SimpleNamespace(endpoint=endpoint, own_model=None))  # type: ignore[arg-type]
    try:
        head = Heads(Origin("http", "provider.test", 80)).head(b"POST", target.encode("ascii"), headers, body_bytes)
    except FareboxError as error:
        assert error.status == 400
        return
    seen = _Seen()
    try:
        HttpRequestParser(seen).feed_data(head + b"x" * body_bytes)
    except HttpParserError:
        # Of control characters, only those that end a line are refused here: others no client's parser lets through.
        assert not isinstance(exchange, Exchange)
        return
    assert seen.messages == 1, "one head is one request"
    assert seen.url == target.encode("ascii")
    allowed = endpoint.allowed_headers | {name for name, _ in (*endpoint.defaults, *endpoint.tail)} | _FRAMING
    names = [name.lower() for name, _ in seen.headers]
    assert allowed.issuperset(names), (names, "a header that is not on the list")
    assert all(names.count(name) == 1 for name in _FRAMING)
    sent = [(name, value) for name, value in seen.headers if name.lower() in _CREDENTIALS]
    assert [pair for pair in sent if OUR_KEY.encode() not in pair[1]] == []
    assert len(sent) == len(endpoint.tail) - 1
    assert _THEIR_KEY not in b"".join([*[value for name, value in sent], target.encode("ascii")])


class _Seen:
    """What a parser of the other side makes of bytes."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.messages = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.messages += 1


class _Received:
    """The call that an answer is for."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.sent = self.heard = False
        self.pieces: list[bytes] = []
        self.buffered = 0

    def begun(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The reader's side: once, and before any of the body."""
        assert not self.heard
        self.status, self.headers, self.heard = status, headers, True

    def arrived(self, pieces: list[bytes], size: int) -> None:
        """The reader's side."""
        assert self.heard
        assert size >= sum(map(len, pieces))
        assert pieces
        assert all(pieces)
        self.pieces += pieces


def answers(data: bytes) -> None:
    """A provider's answer off the wire: the same at any cut, bounded; and of its headers the client sees none that stay here."""
    control = Control(data)
    kind = control.byte()
    cuts = Cuts(control)
    raw = control.rest()
    if kind % 2:
        raw = b"HTTP/1.1 200 OK\r\n" + raw
    whole = _read_answer([raw])
    parts = _read_answer(cuts.of(raw))
    if whole is None or parts is None:
        # Whole, what follows an answer is in the read that completed it; in pieces, it is in one that nobody takes.
        assert whole is parts or (parts or whole).done  # type: ignore[union-attr]
        return
    assert parts.fields() == whole.fields()
    if whole.received.status:
        _passed_on(whole.received)


class _Read:
    def __init__(self, reader: AnswerReader, received: _Received) -> None:
        self.done, self.keep, self.received = reader.done, reader.keep, received

    def fields(self) -> tuple[object, ...]:
        received = self.received
        return self.done, received.status, received.headers, b"".join(received.pieces), received.heard


def _read_answer(pieces: Iterable[bytes]) -> _Read | None:
    reader, received = AnswerReader(), _Received()
    reader.expect(received)  # type: ignore[arg-type]
    try:
        for piece in pieces:
            reader.feed(piece)
            if reader.done:
                break
    except BadAnswer:
        return None
    else:
        return _Read(reader, received)
    finally:
        assert len(received.headers) <= MAX_HEADERS
        assert sum(len(name) + len(value) for name, value in received.headers) <= MAX_OVERHEAD
        reader.close()


def _passed_on(received: _Received) -> None:
    headers, content_type, coding = _read_head(received)  # type: ignore[arg-type]
    assert content_type == content_type.lower()
    assert coding == coding.lower()
    exchange = Exchange(Connection(), RequestHead("POST", "/x", []))  # type: ignore[arg-type]
    body = b"".join(received.pieces)
    exchange.answer(received.status, headers, body)
    seen = _Seen()
    wire: bytes = exchange.connection.wire  # type: ignore[attr-defined]
    HttpResponseParser(seen).feed_data(wire)
    bodyless = received.status in {204, 304}
    assert seen.messages == 1, "one answer is one answer to the client"
    assert seen.body == (b"" if bodyless else body)
    names = [name.lower() for name, _ in seen.headers]
    own = [] if bodyless else [b"content-length"]
    assert [name for name in names if drop_response_header(name)] == own


class Connection:
    """What an exchange writes to."""

    writing_paused = False

    def __init__(self) -> None:
        self.wire = b""

    def send(self, data: bytes, *, soon: bool = False) -> None:
        self.wire += data


class _Transport:
    """A transport that keeps what is written; pausing is only noted, for what comes is all here."""

    def __init__(self) -> None:
        self.wire = bytearray()
        self.closed = False
        self.protocol: asyncio.BufferedProtocol | None = None

    def set_protocol(self, protocol: asyncio.BufferedProtocol) -> None:
        """Who is given what comes from now on."""
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.wire += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


def _reads(transport: _Transport, pieces: Iterable[bytes]) -> Iterator[None]:
    """Puts piece after piece where whoever reads wants it, and stops after each read."""
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            reader = transport.protocol
            assert reader is not None
            place = reader.get_buffer(-1)
            size = min(len(place), len(rest))
            place[:size] = rest[:size]
            rest = rest[size:]
            reader.buffer_updated(size)
            yield


class Client:
    """A connection of the data listener that is fed pieces; every request is answered with its body.

    Runs on a loop of its own that only turns while there is something to do.
    """

    def __init__(self, pieces: Iterable[bytes], *, serve: bool = False, heads: KnownHeads | None = None) -> None:
        self.heads = heads or KnownHeads(withheld=())
        self.open_calls = 0
        self.beginning = Turnstile(100)
        self.exchanges: list[Exchange] = []
        self.bodies: list[bytes | None] = []
        self._loop = _loop()
        self.departures = Departures(self._loop)
        self._serve = serve
        self._task: asyncio.Task[None] | None = None
        transport = _Transport()
        connection = ClientConnection(self, self._loop)  # type: ignore[arg-type]
        transport.protocol = connection
        connection.connection_made(transport)  # type: ignore[arg-type]
        for _ in _reads(transport, pieces):
            if serve:
                self._turn()
            if transport.closed:
                break
        held = sum(len(name) + len(value) for name, value in connection._headers)
        assert held <= 2 * request_head.MAX_OVERHEAD_BYTES
        if not serve:
            self.exchanges = [exchange for exchange in connection._line if exchange is not None]
        connection.connection_lost(None)
        if self._task is not None:
            self._turn(until_done=True)
        self.wire = bytes(transport.wire)

    def connected(self, connection: ClientConnection) -> None:
        """The listener's side."""
        if self._serve:
            self._task = self._loop.create_task(connection.serve())

    def disconnected(self, connection: ClientConnection) -> None:
        """The listener's side."""

    def left(self, exchange: Exchange) -> None:
        """The listener's side."""
        exchange.part()

    def call_ended(self, exchange: Exchange) -> None:
        """The listener's side."""

    async def handle(self, exchange: Exchange) -> None:
        """The listener's side: the answer is the body."""
        self.exchanges.append(exchange)
        self.heads.keep(exchange.head)
        try:
            body = await exchange.read_body(1 << 20, 1.0)
            self.bodies.append(bytes(body))
            exchange.answer(200, [], body)
        except FareboxError as error:
            self.bodies.append(None)
            exchange.keep_alive = False
            exchange.answer(error.status, [], b"")

    def _turn(self, *, until_done: bool = False) -> None:
        task = self._task
        assert task is not None
        loop: Any = self._loop
        if loop._ready:
            asyncio._set_running_loop(loop)
            try:
                while loop._ready:
                    loop._run_once()  # ten times quicker than starting the loop for each piece
            finally:
                asyncio._set_running_loop(None)
        if task.done():
            error = task.exception()
            assert error is None or isinstance(error, ClientLeft), error
        else:
            assert not until_done, "the connection is gone and its task is not"


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def requests(data: bytes) -> None:
    """A client's requests off the wire: the same ones at any cut, each answered once, in order, with what is its own.

    And the same ones where their heads were read before: then they are found again instead of being parsed.
    """
    control = Control(data)
    cuts = Cuts(control)
    raw = control.rest()
    whole = Client([raw], serve=True)
    parts = Client(cuts.of(raw, most=24), serve=True)
    again = Client(cuts.of(raw, most=24), serve=True, heads=parts.heads)
    assert _heads(parts) == _heads(whole)
    assert _heads(again) == _heads(whole)
    assert again.bodies == parts.bodies
    for client in (whole, parts, again):
        for exchange, body in zip(client.exchanges, client.bodies, strict=False):
            assert body is None or exchange.declared_bytes in {0, len(body)}
            assert len(exchange.headers) <= request_head.MAX_HEADERS
    _answered(whole)
    if parts.wire != whole.wire:
        _answered(parts)
    if again.wire != parts.wire:
        _answered(again)


def _heads(client: Client) -> list[tuple[object, ...]]:
    # Known heads have lost their length, which is that of another request.
    lengthless = ([pair for pair in one.headers if pair[0] != b"content-length"] for one in client.exchanges)
    return [
        (one.method, one.path, one.query, one.declared_bytes, headers)
        for one, headers in zip(client.exchanges, lengthless, strict=True)
    ]


def _answered(client: Client) -> None:
    """What was written is whole answers, no more of them than requests and one refusal."""
    if any(exchange.method in {"HEAD", "CONNECT"} for exchange in client.exchanges):
        return  # a reader of answers has to know what was asked
    seen = _Seen()
    try:
        HttpResponseParser(seen).feed_data(client.wire.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""))
    except HttpParserError:
        assert b"connection: close" in client.wire, "nothing follows but behind an end"
    assert seen.messages <= len(client.exchanges) + 1
