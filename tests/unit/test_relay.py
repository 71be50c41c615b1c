"""Relaying, where the order of two events decides: stand-ins for both sides of the wire fail in exactly that order."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core import records
from proxy.core.errors import UpstreamFailed
from proxy.pipeline.ended import CreditsExhausted, outcome_of
from proxy.pipeline.exchange import ClientLeft
from proxy.pipeline.parting import Parting, client_left
from proxy.pipeline.relay import _guessed, _read_head, relay
from proxy.providers.dialect import JSON, SSE, Ask
from proxy.providers.openai_chat import ChatCompletions

WORD = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
TORN = b'data: {"choi'


class Client:
    """The client's side: `gone_after` pieces it is gone, and nobody has said so yet."""

    def __init__(self, gone_after: int = 1000) -> None:
        self.sent: list[bytes] = []
        self.stalled = self.was_cut = self.ended = False
        self.connection = SimpleNamespace(paused_since=None)
        self.on_left: Callable[[], None] | None = None
        self._gone_after = gone_after

    def begin(self, _status: int, headers: list[tuple[bytes, bytes]], _lines: list[bytes]) -> None:
        self.headers = headers

    async def send(self, piece: bytes) -> None:
        self.write(piece)

    def write(self, piece: bytes) -> None:
        if len(self.sent) >= self._gone_after:
            raise ClientLeft
        self.sent.append(piece)

    async def drained(self) -> None:
        assert self.connection.paused_since is None

    def part(self) -> None:
        assert self.on_left is not None
        self.on_left()

    def cut(self) -> None:
        self.was_cut = True

    def end(self) -> None:
        self.ended = True


class Provider:
    """The provider's side: pieces, then an error or the end."""

    def __init__(
        self, *pieces: bytes, error: Exception | None = None, headers: list[tuple[bytes, bytes]] | None = None
    ):
        self.status = 200
        self.headers = [(b"Content-Type", b"text/event-stream")] if headers is None else headers
        self.read_pieces = 0
        self.aborted = False
        self._pieces = list(pieces)
        self._error = error

    async def read(self) -> bytes:
        if self._pieces:
            self.read_pieces += 1
            return self._pieces.pop(0)
        if self._error is not None:
            raise self._error
        return b""

    async def read_each(self, each: Callable[[bytes], bool]) -> bool:
        while piece := await self.read():
            if not each(piece):
                return True
        return False

    def abort(self, error: BaseException) -> None:
        self.aborted = True


class Hold:
    token_limit = None
    standings = ()
    charge = balance = None
    settled = False

    def __init__(self, exhausted_after: int | None = None) -> None:
        self._left = exhausted_after

    def needs_more(self) -> bool:
        if self._left is None:
            return False
        self._left -= 1
        return self._left <= 0

    async def grow(self) -> None:
        raise CreditsExhausted

    async def settle(self) -> None:
        self.settled = True


def make_call(client: Client, parting: Parting | None = None) -> Any:
    endpoint = SimpleNamespace(parting=parting or Parting(), api_key="k", provider="p")
    return SimpleNamespace(
        call_id="c", at_ms=1, exchange=client, operation=ChatCompletions(), ask=Ask(model="m", stream=True), meter=None,
        status=None, first_byte_at=None, caller=SimpleNamespace(on_client_left=None), left_early=False, dialect="openai", route=SimpleNamespace(endpoint=endpoint),
    )  # fmt: skip


async def ended(call: Any, provider: Provider, hold: Hold) -> str:
    """The outcome of the call, whatever relaying raised."""
    call.exchange.on_left = partial(client_left, call, provider)
    try:
        await relay(call, provider, hold)  # type: ignore[arg-type]
    except (ClientLeft, UpstreamFailed, CreditsExhausted) as error:
        return outcome_of(call, error)
    return outcome_of(call, None)


async def test_a_client_that_is_gone_when_the_torn_tail_is_sent_does_not_hide_the_providers_failure() -> None:
    client = Client(gone_after=1)  # it takes the first piece; the tail that was held back finds it gone
    call = make_call(client)
    assert await ended(call, Provider(WORD + TORN, error=UpstreamFailed()), Hold()) == records.UPSTREAM_FAILED
    assert (client.was_cut, client.ended) == (True, False)


async def test_a_torn_tail_reaches_a_client_that_is_there() -> None:
    client = Client()
    call = make_call(client)
    assert await ended(call, Provider(WORD, TORN, error=UpstreamFailed()), Hold()) == records.UPSTREAM_FAILED
    assert b"".join(client.sent) == WORD + TORN
    assert (client.was_cut, client.ended) == (True, False)


async def test_cancel_reads_no_further() -> None:
    provider = Provider(WORD, WORD, WORD)
    call = make_call(Client(gone_after=1))
    assert await ended(call, provider, Hold()) == records.CLIENT_LEFT
    assert provider.read_pieces == 2


@pytest.mark.parametrize(("first", "outcome"), [(WORD, records.CLIENT_LEFT), (STOP, records.COMPLETED)])
async def test_drain_reads_on_and_knows_whether_the_answer_was_whole(first: bytes, outcome: str) -> None:
    provider = Provider(first, b": ping\n\n", WORD, STOP)
    call = make_call(Client(gone_after=1), Parting(policy="drain"))
    assert await ended(call, provider, Hold()) == outcome
    assert provider.read_pieces == 4
    assert call.meter.complete


@pytest.mark.parametrize("error", [UpstreamFailed(), ClientLeft()])
async def test_what_ends_a_drain_is_not_what_ended_the_call(error: Exception) -> None:
    call = make_call(Client(gone_after=1), Parting(policy="drain"))
    assert await ended(call, Provider(WORD, WORD, WORD, error=error), Hold()) == records.CLIENT_LEFT
    assert call.meter.output_events == 3


async def test_drain_ends_with_its_tokens_and_with_the_credits() -> None:
    provider = Provider(*[WORD] * 50)
    await ended(make_call(Client(gone_after=1), Parting(policy="drain", drain_tokens=10)), provider, Hold())
    assert provider.read_pieces == 11  # bytes say that an event is a little more than a token
    provider = Provider(*[WORD] * 50)
    call = make_call(Client(gone_after=1), Parting(policy="drain"))
    assert await ended(call, provider, Hold(exhausted_after=20)) == records.CLIENT_LEFT
    assert provider.read_pieces < 30


async def test_a_client_that_was_cut_off_for_not_reading_is_never_drained_nor_free() -> None:
    for policy in ("drain", "free"):
        call, provider = make_call(Client(), Parting(policy=policy)), Provider()
        call.exchange.stalled = True
        client_left(call, provider)  # type: ignore[arg-type]
        assert provider.aborted


async def test_a_cut_ends_with_an_event_where_one_can_be_read_and_visibly_torn_elsewhere() -> None:
    client = Client()
    assert await ended(make_call(client), Provider(*[WORD] * 5), Hold(exhausted_after=2)) == records.CUT
    assert b"insufficient_credits" in client.sent[-1]
    assert (client.ended, client.was_cut) == (True, False)
    client = Client()
    headers = [(b"content-type", b"text/event-stream"), (b"Content-Encoding", b"GZIP")]
    assert (
        await ended(make_call(client), Provider(*[b"\x1f"] * 5, headers=headers), Hold(exhausted_after=2))
        == records.CUT
    )
    assert client.sent == [b"\x1f"] * 2
    assert (client.ended, client.was_cut) == (False, True)


def test_headers_are_read_in_one_pass() -> None:
    pairs = [
        (b"Content-Type", b"Text/Event-Stream"), (b"X-RateLimit-Limit-Requests", b"1"), (b"CONTENT-ENCODING", b"GZip"),
        (b"Set-Cookie", b"a=b"), (b"x-request-id", b"R"), (b"content-encoding", b"br"),
    ]  # fmt: skip
    headers, kind, coding = _read_head(Provider(headers=pairs))  # type: ignore[arg-type]
    assert headers == [pairs[0], pairs[2], pairs[4], pairs[5]]
    assert (kind, coding) == (b"text/event-stream", b"gzip,br")


@pytest.mark.parametrize(
    ("first", "guess"),
    [
        (b'{"a":1}', JSON), (b"\n [1]", JSON), (b'\xef\xbb\xbf{"a"', JSON), (b"data: {}\n\n", SSE),
        (b"\xef\xbb\xbf: hi", SSE), (b"event: x\n", SSE), (b"ID3\x04", b""), (b"", b""),
    ],
)  # fmt: skip
def test_an_answer_without_a_type_is_taken_for_what_it_looks_like(first: bytes, guess: bytes) -> None:
    assert _guessed(first) == guess
