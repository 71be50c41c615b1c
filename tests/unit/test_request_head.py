"""Heads that were served once are found again by their bytes: only by the same ones, and without the key that was in them."""

import gc

import pytest

from proxy.pipeline.client import ClientConnection
from proxy.pipeline.request_head import MAX_KEPT_BYTES, KnownHeads, RequestHead
from tests.fuzz.wire import Client

KEY = b"sk-fb-secret"
HEAD = (
    b"POST /v1/x?a=1 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + KEY + b"\r\nContent-Length: %d\r\nX-Y: z\r\n\r\n"
)


def request(body: bytes, head: bytes = HEAD) -> bytes:
    return head % len(body) + body


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The targets that the parser has read."""
    seen = list[bytes]()
    on_url = ClientConnection.on_url

    def noted(self: ClientConnection, url: bytes) -> None:
        seen.append(url)
        on_url(self, url)

    monkeypatch.setattr(ClientConnection, "on_url", noted)
    return seen


def test_the_same_head_is_parsed_once_whatever_its_length_is(parsed: list[bytes]) -> None:
    client = Client([request(b"one"), request(b"a longer body"), request(b"")], serve=True)
    assert client.bodies == [b"one", b"a longer body", b""]
    assert parsed == [b"/v1/x?a=1"]
    first, second, third = client.exchanges
    assert first.head is second.head is third.head
    assert [one.declared_bytes for one in client.exchanges] == [3, 13, 0]
    assert (second.method, second.path, second.query) == ("POST", "/v1/x", "a=1")
    assert second.named == {b"host": b"h", b"authorization": b"Bearer " + KEY, b"x-y": b"z"}
    assert client.wire.count(b"HTTP/1.1 200 OK") == 3


def test_a_body_may_come_later_and_in_pieces(parsed: list[bytes]) -> None:
    long = bytes(range(256)) * 300
    whole = request(long)
    head = len(whole) - len(long)
    for cut in (head, head + 1, head + 40_000, len(whole) - 1):
        client = Client([request(b"x"), whole[:cut], whole[cut:], request(b"y")], serve=True)
        assert client.bodies == [b"x", long, b"y"]
    assert len(parsed) == 4


def test_a_large_body_is_received_as_it_would_be_behind_a_new_head(parsed: list[bytes]) -> None:
    large = b"large" * 50_000
    client = Client([request(b"x"), request(large), request(b"y")], serve=True)
    assert client.bodies == [b"x", large, b"y"]
    assert len(parsed) == 2


def test_what_follows_a_known_head_and_its_body_in_one_read_is_read_too(parsed: list[bytes]) -> None:
    client = Client([request(b"x"), request(b"first") + request(b"second"), request(b"z")], serve=True)
    assert client.bodies == [b"x", b"first", b"second", b"z"]
    assert len(parsed) == 3  # two that came together are the parser's
    tail = request(b"later")
    client = Client([request(b"x"), tail[:-2], tail[-2:] + request(b"behind it")], serve=True)
    assert client.bodies == [b"x", b"later", b"behind it"]


@pytest.mark.parametrize(
    "other",
    [
        HEAD.replace(b"X-Y: z", b"X-Y: Z"),
        HEAD.replace(b"secret", b"secreT"),
        HEAD.replace(b"Content-Length: ", b"Content-Length:  "),
        HEAD.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\n\r\n", 1),
        b"\r\n" + HEAD,
    ],
)
def test_other_bytes_are_another_head(parsed: list[bytes], other: bytes) -> None:
    Client([request(b"1"), request(b"2", other)], serve=True)
    assert len(parsed) == 2


@pytest.mark.parametrize(
    "header",
    [
        b"Expect: 100-continue",
        b"Connection: close",
        b"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"Idempotency-Key: 1",
        b"Cookie: a=b",
        b"X-Long: " + b"x" * MAX_KEPT_BYTES,
    ],
)
def test_heads_that_say_more_or_differ_from_call_to_call_are_not_kept(parsed: list[bytes], header: bytes) -> None:
    head = HEAD.replace(b"X-Y: z", header)
    heads = KnownHeads()
    for number in (1, 2):
        assert Client([request(b"body", head)], serve=True, heads=heads).bodies == [b"body"]
        assert len(parsed) == number


def test_a_key_in_the_query_is_not_kept(parsed: list[bytes]) -> None:
    head = HEAD.replace(b"?a=1", b"?key=" + KEY)
    Client([request(b"1", head), request(b"2", head)], serve=True)
    assert len(parsed) == 2


@pytest.mark.parametrize("length", [b"+1", b"0x1", b" 1", b"1 ", b"-1", b"", b"1\n", b"1;2"])
def test_a_length_that_is_no_number_is_the_parsers_to_judge(parsed: list[bytes], length: bytes) -> None:
    raw = HEAD.replace(b"%d", length) + b"x"
    fresh = Client([raw], serve=True)
    known = Client([request(b"1"), raw], serve=True)
    assert known.wire.removeprefix(Client([request(b"1")], serve=True).wire) == fresh.wire
    assert known.bodies[1:] == fresh.bodies


def test_no_key_is_kept(parsed: list[bytes]) -> None:
    heads = KnownHeads()
    Client([request(b"1")], serve=True, heads=heads)
    (head,) = heads._known.values()
    assert KEY not in b"".join(value for _, value in head.headers)
    assert (b"authorization", b"") in head.headers
    reachable = [head, *gc.get_referents(head), *head.headers, *heads._known]
    assert not [one for one in reachable if KEY in repr(one).encode()]
    assert Client([request(b"22")], serve=True, heads=heads).bodies == [b"22"]
    assert len(parsed) == 1


def test_what_is_kept_is_bounded_and_what_is_used_stays() -> None:
    heads = KnownHeads(capacity=4)
    used = RequestHead("POST", "/used", [], digest=b"used")
    heads.keep(used)
    for number in range(100):
        heads.keep(RequestHead("POST", "/x", [], digest=b"%d" % number))
        assert heads.find(b"used") is used
        assert len(heads._known) + len(heads._before) <= 8
    assert heads.find(b"0") is None
    heads.forget()
    assert heads.find(b"used") is None
