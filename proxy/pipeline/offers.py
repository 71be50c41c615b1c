"""A body behind an offer of another protocol is read all the same, for the offer is not taken up (RFC 9110, section 7.8).

The JDK's HTTP client offers HTTP/2 (`upgrade: h2c`) with its requests to servers without TLS, bodies included. The parser
takes what is behind such a head for the other protocol and stops; another one goes on with the body and what follows it.
"""

from typing import Protocol

from httptools import HttpRequestParser


class Receiver(Protocol):
    """What the parser calls; see `client.ClientConnection`."""

    def on_message_begin(self) -> None:
        """The first byte of a request."""

    def on_url(self, url: bytes) -> None:
        """The target, or a piece of it."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""

    def on_headers_complete(self) -> None:
        """A whole head."""

    def on_body(self, piece: bytes) -> None:
        """Bytes of a body."""

    def on_message_complete(self) -> None:
        """The end of a request."""


class _Behind:
    """Passes the parser's calls on, but for those of the head that it is begun with."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._begun = False
        self.on_body = receiver.on_body
        self.on_message_complete = receiver.on_message_complete

    def begin(self) -> None:
        """From now on everything is the client's."""
        self._begun = True

    def on_message_begin(self) -> None:
        if self._begun:
            self._receiver.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self._begun:
            self._receiver.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._begun:
            self._receiver.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._begun:
            self._receiver.on_headers_complete()


def parser_behind(framing: bytes, receiver: Receiver) -> HttpRequestParser:
    """A parser that expects a body, framed as its head said: `content-length: 5`, or `transfer-encoding: chunked`."""
    behind = _Behind(receiver)
    parser = HttpRequestParser(behind)
    parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
    behind.begin()
    return parser
