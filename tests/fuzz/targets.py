"""What is fuzzed: each target a function of bytes that fails by raising, with inputs to begin from and words to try."""

import importlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.fuzz.documents import ANSWERS
from tests.fuzz.requests import REQUESTS
from tests.support.answers import HOSTILE

Run = Callable[[bytes], None]


class Target(NamedTuple):
    """Where a target is, how much of an input is control (see each target), and what it is given to begin with."""

    module: str
    function: str
    control: int
    most_bytes: int = 1024

    def load(self) -> Run:
        """The function; its module is imported first here, so that what it imports can be instrumented."""
        run: Run = getattr(importlib.import_module(f"tests.fuzz.{self.module}"), self.function)
        return run


_CUTS = 7
TARGETS: dict[str, Target] = {
    "sse": Target("splitters", "events", 2 + _CUTS, 400),
    "json-array": Target("splitters", "elements", 1 + _CUTS, 400),
    "event-stream": Target("splitters", "frames", 2 + _CUTS, 400),
    **{
        f"{dialect}-answers": Target("answers", dialect, 6 + _CUTS, 2048)
        for dialect in ("openai", "anthropic", "gemini", "bedrock", "cohere")
    },
    **{
        f"{dialect}-requests": Target("bodies", dialect, 6, 2048)
        for dialect in ("openai", "anthropic", "gemini", "bedrock", "cohere")
    },
    "forms": Target("bodies", "forms", 1),
    "large-bodies": Target("bodies", "large_bodies", 5),
    "compressed": Target("answers", "compressed", 5 + _CUTS),
    "paths": Target("wire", "paths", 6),
    "headers": Target("wire", "headers_out", 4 + _CUTS),
    "http-answers": Target("wire", "answers", 1 + _CUTS),
    "http-requests": Target("wire", "requests", _CUTS),
}

_BLOCKS = (
    b"data: a\n\ndata: take me\n\ndata: b",
    b"\xef\xbb\xbfdata: a\r\n\r\n: comment\r\nevent: x\r\ndata: 1\r\ndata: 2\r\n\r\n\r\n",
    b"data: a\r\rdata: take me\r\r\ndata:b\n\r\n",
)
_ARRAYS = (b'[{"a":"}\\"]"},\r\n{"b":[{}]}\n]', b"{}", b'[1,{"a":"\\\\"},null]', b'[{"a":"' + b"x" * 80 + b'"}]')
_FORMS = (
    b'model"\r\n\r\nm\x01n"\r\n\r\n2\x01image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG',
    b"--4f2-AbC\r\nContent-Disposition: form-data; name=size\r\n\r\n1x1\r\n--4f2-AbC--\r\n",
)
_HEADERS = (
    b"accept: */*\r\ncontent-type: application/json\r\nOpenAI-Organization: o\r\nx-farebox-tags: a=b\r\ntraceparent: 00-"
    + b"a" * 32
    + b"-bbbbbbbbbbbbbbbb-01",
    b"content-length: 0\r\nconnection: upgrade\r\nupgrade: websocket\r\nanthropic-version: 1\r\nanthropic-beta: b\r\nhost: h",
    b"transfer-encoding: chunked\r\nx-goog-user-project: p\r\nx-goog-api-client: c\r\nuser-agent: \tu \r\n\r\n5\r\nhello\r\n0\r\n",
)
_ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a\r\n\r\n5;x\r\nhello\r\n0\r\nt: 1\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nx-ratelimit-limit: 5\r\nContent-Encoding: gzip\r\n\r\n",
    b"HTTP/1.0 500 X\r\nContent-Length: 5\r\nX-Farebox-Charge: 5\r\nServer: s\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nopenai-organization: o\r\nConnection: close\r\n\r\nuntil the end",
)
_REQUESTS = (
    b"POST /v1/chat/completions?a=b HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nhost: h\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n3\r\nabc\r\n0\r\nt: x\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: h\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nrest",
    b"HEAD /\xff HTTP/1.1\r\nhost: h\r\nconnection: keep-alive\r\n\r\n\r\n\r\nPUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc",
)
_PATHS = (
    b"gpt-4o",
    b"alt=sse&key=x%2e%2e|m",
    b"a%2Fb:c@1|p|l",
    b"../..|%2e%2e|.",
    b"/v1/models",
    b"alt=json/v1/chat/completions",
)
_BODIES = {
    "sse": _BLOCKS,
    "json-array": _ARRAYS,
    "event-stream": (b"\0\0\0\x20\0\0\0\x10" + b"\0" * 24, b"a\nb\n", bytes(range(64))),
    "forms": _FORMS,
    "compressed": (
        *_BLOCKS,
        b"\x1f\x8b",
        b"(\xb5/\xfd",
        b'data: {"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
    ),
    "paths": _PATHS,
    "headers": _HEADERS,
    "http-answers": _ANSWERS,
    "http-requests": _REQUESTS,
}
_WORDS = {
    "sse": (
        b"data:",
        b"data: take me",
        b"\r\n",
        b"\n\n",
        b"\r\r",
        b"event: ",
        b": ",
        b"\xef\xbb\xbf",
        b"id:",
        b"\r\n\r\n",
    ),
    "json-array": (b"{", b"}", b"[", b"]", b",", b'"', b'\\"', b"\\\\", b'{"a":1}', b",\r\n"),
    "event-stream": (b"\x07\0\x05", b"\x06\0\x02", b":event-type", b":message-type", b"\0\0\0\x10\0\0\0\0"),
    "compressed": (b"data: ", b"\n\n", b'{"usage":', b"\x1f\x8b", b"(\xb5/\xfd", b"data: [DONE]\n\n"),
    "forms": (
        b"\x01",
        b"\r\n\r\n",
        b'"; filename="x',
        b"filename*=",
        b"--4f2-AbC",
        b'name="',
        b"MODEL",
        b"content-transfer-encoding: base64",
    ),
    "paths": (b"%2f", b"%2F", b"%2e", b"..", b"%25", b"|", b":generateContent", b"%00", b"%ff", b"alt=", b"&", b"key="),
    "headers": tuple(
        name + b": x\r\n"
        for name in (
            b"authorization",
            b"Host",
            b"cookie",
            b"x-api-key",
            b"te",
            b"accept",
            b"content-length",
            b"X-Farebox-Tags",
        )
    ),
    "http-answers": (
        b"\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
        b"HTTP/1.1 ",
        b"304 ",
        b"101 ",
        b"Set-Cookie: x\r\n",
        b"Connection: keep-alive\r\n",
    ),
    "http-requests": (
        b"\r\n",
        b"content-length: 5\r\n",
        b"transfer-encoding: chunked\r\n",
        b"0\r\n\r\n",
        b" HTTP/1.1\r\n",
        b"GET / ",
        b"POST / ",
        b"expect: 100-continue\r\n",
        b"connection: close\r\n",
    ),
}


def seeds(name: str) -> Iterator[bytes]:
    """Inputs that the fuzzer begins with: every operation and template of a dialect, every body made for a target."""
    target = TARGETS[name]
    texts = _texts(name)
    if name == "large-bodies":
        for dialect in range(3):
            for operation in range(20):
                for template in range(len(REQUESTS["openai"])):
                    yield bytes([dialect, operation, 1, template, 0, 0])
    elif not texts:
        for number, body in enumerate(_BODIES.get(name, (b"",))):
            for first in range(4):
                yield bytes([first, *[number + 1] * (target.control - 1)]) + body
    else:
        yield from _steered(name, texts)


def _steered(name: str, texts: tuple[bytes, ...]) -> Iterator[bytes]:
    target = TARGETS[name]
    for operation in range(40):
        for template in range(len(texts)):
            steering = bytearray(target.control + 12)
            steering[0] = operation
            if target.module == "bodies":
                steering[3] = 1  # a template
                steering[6] = template
            else:
                steering[1], steering[2], steering[4] = template % 8, 1 + template % 2, 1
                steering[target.control] = template
            yield bytes(steering)
    for body in texts:
        if len(body) <= target.most_bytes - target.control:
            yield bytes(target.control) + body


def words(name: str) -> Iterator[bytes]:
    """What a fuzzer of bytes would not guess: members' names, values, lines."""
    yield from _WORDS.get(name, ())
    texts = REQUESTS["openai"] if name == "large-bodies" else _texts(name)
    yield from sorted({word for text in texts for word in re.findall(rb'"[\w.-]{1,40}":?', text)})
    if texts:
        yield from (value.encode() for value in HOSTILE if len(value) < 60)


def _texts(name: str) -> tuple[bytes, ...]:
    """The templates of a dialect's target; none for another."""
    dialect, _, kind = name.partition("-")
    return (REQUESTS if kind == "requests" else ANSWERS).get(dialect, ())
