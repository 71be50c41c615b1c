"""The head of a request: what is added, and that nothing a caller passes becomes a line of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidRequest
from proxy.pipeline.upstream import ForwardProxy, Origin
from proxy.pipeline.upstream.request import Heads

HOST = b"api.example.test"


def request_head(
    method: bytes, target: bytes, host: bytes, headers: list[tuple[bytes, bytes]], content_length: int
) -> bytes:
    """A head as it is made the first time, and as it is known from then on."""
    heads = Heads(Origin("http", host.decode(), 80))
    first = heads.head(method, target, headers, content_length)
    assert heads.head(method, target, list(headers), content_length) == first
    return first


def test_head_is_built_with_host_and_length() -> None:
    head = request_head(b"POST", b"/v1/chat?x=1", HOST, [(b"authorization", b"Bearer k"), (b"Accept", b"*/*")], 12)
    assert head == (
        b"POST /v1/chat?x=1 HTTP/1.1\r\nhost: api.example.test\r\n"
        b"authorization: Bearer k\r\nAccept: */*\r\ncontent-length: 12\r\n\r\n"
    )


def test_length_is_said_for_an_empty_post_and_not_for_a_get() -> None:
    assert (
        request_head(b"POST", b"/", HOST, [], 0)
        == b"POST / HTTP/1.1\r\nhost: api.example.test\r\ncontent-length: 0\r\n\r\n"
    )
    assert request_head(b"GET", b"/", HOST, [], 0) == b"GET / HTTP/1.1\r\nhost: api.example.test\r\n\r\n"
    assert b"content-length: 3" in request_head(b"GET", b"/", HOST, [], 3)


@pytest.mark.parametrize("bad", [b"\r\n", b"\n", b"\r", b"\0", b"x\r\nevil: 1", b"\r\n\r\nGET / HTTP/1.1"])
def test_line_ends_and_nul_are_refused_everywhere(bad: bytes) -> None:
    for method, target, headers in [
        (b"POST" + bad, b"/", []),
        (b"POST", b"/" + bad, []),
        (b"POST", b"/", [(b"a" + bad, b"1")]),
        (b"POST", b"/", [(b"a", b"1" + bad)]),
        (b"POST", b"/", [(b"a", bad), (b"b", b"2")]),
    ]:
        with pytest.raises(InvalidRequest):
            request_head(method, target, HOST, headers, 5)


@pytest.mark.parametrize(
    "name", [b"Host", b"content-length", b"Transfer-Encoding", b"connection", b"Upgrade", b"expect", b"", b"a b", b"a:"]
)
def test_framing_is_not_the_callers(name: bytes) -> None:
    for _ in range(2):  # a refused name is not remembered as a checked one
        with pytest.raises(InvalidRequest):
            request_head(b"POST", b"/", HOST, [(name, b"1")], 5)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"HEAD", b"/"),
        (b"CONNECT", b"/"),
        (b"", b"/"),
        (b"GET", b"x"),
        (b"GET", b""),
        (b"GET", b"/ HTTP/1.1"),
        (b"G T", b"/"),
    ],
)
def test_request_lines_that_are_not_one_are_refused(method: bytes, target: bytes) -> None:
    with pytest.raises(InvalidRequest):
        request_head(method, target, HOST, [], 0)


@given(st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=12)), max_size=4), st.binary(max_size=12))
def test_whatever_is_accepted_has_as_many_lines_as_headers(headers: list[tuple[bytes, bytes]], target: bytes) -> None:
    try:
        head = request_head(b"POST", b"/" + target, HOST, headers, 7)
    except InvalidRequest:
        return
    lines = head.split(b"\r\n")
    assert lines[-2:] == [b"", b""]
    assert [tuple(line.split(b": ", 1)) for line in lines[2:-3]] == headers
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)


def test_errors_do_not_repeat_what_was_passed() -> None:
    with pytest.raises(InvalidRequest) as caught:
        request_head(b"POST", b"/?key=s3cret", HOST, [(b"x-api-key", b"s3cret\r\n")], 0)
    assert "s3cret" not in str(caught.value) + caught.value.message


def test_a_plain_call_through_a_proxy_says_where_to_and_who_asks() -> None:
    proxy = ForwardProxy.parse("http://us%40er:p%3Aw@proxy.test:3128")
    plain = Heads(Origin("http", "llm.test", 8000), proxy).head(b"POST", b"/v1?x=1", [(b"accept", b"*/*")], 2)
    assert plain == (
        b"POST http://llm.test:8000/v1?x=1 HTTP/1.1\r\nhost: llm.test:8000\r\naccept: */*\r\n"
        b"proxy-authorization: Basic dXNAZXI6cDp3\r\ncontent-length: 2\r\n\r\n"
    )
    tunnelled = Heads(Origin("https", "llm.test", 443), proxy).head(b"POST", b"/v1", [], 2)
    assert tunnelled == b"POST /v1 HTTP/1.1\r\nhost: llm.test\r\ncontent-length: 2\r\n\r\n"
