"""From the bytes of a connection to the head and body of one answer; no I/O.

Guarantees: everything that comes without a byte of body (heads, interim answers, chunk sizes and extensions, trailers) is
bounded; what could be read in two ways is refused, not guessed.
"""

from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from proxy.pipeline.upstream.errors import BadAnswer

# Bound in bytes of what comes without a byte of body (behind a body, checked from the next read on).
MAX_OVERHEAD = 64 * 1024
MAX_HEADERS = 200


class Receiver(Protocol):
    """The call that an answer is for. `buffered`: bytes that have arrived and were not read yet, with what came around them."""

    status: int
    headers: list[tuple[bytes, bytes]]
    sent: bool
    heard: bool
    buffered: int

    def begun(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The head of the answer."""

    def arrived(self, pieces: list[bytes], size: int) -> None:
        """What a read of `size` bytes held of the body, as the provider cut it: a piece at least. The list is not to be kept."""

    def completed(self) -> None:
        """The answer is complete, and the connection serves others."""

    def broke(self, error: BaseException) -> None:
        """The answer will not be complete."""


class _Refused(Exception):
    """An answer that the parser would accept and this client does not."""


class AnswerReader:
    """Reads one answer after the other; `expect` says for whom the next one is.

    `done`: the answer is complete. `keep`: and nothing in it speaks against another one on the same connection.
    """

    __slots__ = (
        "_chunked",
        "_headers",
        "_interim",
        "_overhead",
        "_parser",
        "_pieces",
        "_receiver",
        "done",
        "keep",
        "on_body",
    )

    def __init__(self) -> None:
        self._receiver: Receiver  # from `expect` on
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []  # of the body, in the read that is being parsed
        self._overhead = 0  # bytes since the last byte of body
        self._chunked = False
        self._interim = False
        self.done = False
        self.keep = False
        # The parser calls this once a chunk, and a read may hold many: a method of ours would be the dearest part of a stream.
        self.on_body = self._pieces.append
        self._parser = HttpResponseParser(self)

    def expect(self, receiver: Receiver) -> None:
        """Nothing of the next answer is known yet."""
        self._receiver = receiver
        self._headers = []
        self._overhead = 0
        self._chunked = False
        self.done = False
        self.keep = False

    def feed(self, data: bytes) -> None:
        """Moves what `data` holds to the receiver; raises BadAnswer. After `done`, look at `keep`."""
        size = len(data)
        self._overhead += size
        failure: Exception | None = None
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            failure = error
        if self.done:
            # What comes behind a whole answer is not for us.
            self.keep = self.keep and failure is None and self._ends_with(data)
            failure = None
        pieces = self._pieces
        if pieces:
            self._overhead = 0
            self._receiver.arrived(pieces, size)
            pieces.clear()
        elif self._overhead > MAX_OVERHEAD and not self.done:
            raise BadAnswer
        if failure is not None:
            raise BadAnswer from failure

    def close(self) -> None:
        """No more answers: the parser holds our methods, a cycle that would wait for the collector."""
        del self._parser

    def _ends_with(self, data: bytes) -> bool:
        """Whether nothing follows the answer in the read that completed it: the parser skips stray line ends silently.

        A body of known length ends with its last piece, any other answer with an empty line. In doubt: False.
        """
        if self._pieces and not self._chunked:
            return data.endswith(self._pieces[-1])
        if len(data) < 6:
            return data == b"0\r\n\r\n"
        return data.endswith(b"\r\n\r\n") and not data.endswith(b"\r\n\r\n\r\n")

    # What the parser calls from within feed_data; whatever is raised here ends the answer.

    def on_message_begin(self) -> None:
        """The first byte of an answer."""
        if self.done:
            raise _Refused  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        if len(name) == 17 and name.lower() == b"transfer-encoding":
            # We asked for no other coding, and the parser would hand its bytes on as if they were the body.
            if self._chunked or value.strip().lower() != b"chunked":
                raise _Refused
            self._chunked = True
        # Only blanks and tabs are stripped: the parser lets no other white space through.
        self._headers.append((name, value.rstrip()))

    def on_headers_complete(self) -> None:
        """The head is there: an interim one is skipped, the final one is the call's."""
        status = self._parser.get_status_code()
        headers, self._headers = self._headers, []  # the new list gathers the trailers, which are bounded and dropped
        if len(headers) > MAX_HEADERS:
            raise _Refused
        if status < 200:
            if status < 100 or status == 101:
                raise _Refused
            self._interim = True
            return
        self.keep = self._parser.should_keep_alive()
        if not self.keep and self._parser.get_http_version() not in {"1.1", "1.0"}:
            raise _Refused
        if self._overhead > MAX_OVERHEAD and sum(len(name) + len(value) + 4 for name, value in headers) > MAX_OVERHEAD:
            raise _Refused
        self._receiver.begun(status, headers)

    def on_message_complete(self) -> None:
        """The end of an answer, interim or final."""
        if len(self._headers) > MAX_HEADERS:
            raise _Refused
        if self._interim:
            self._interim = False
            self._chunked = False
        else:
            self.done = True


def until_close(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether only the end of the connection can end an answer with these headers (204 and 304 are done before)."""
    return not any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in headers)
