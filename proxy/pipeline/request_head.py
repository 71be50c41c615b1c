"""The head of a client's request, and the heads that the parser need not read again.

A client sends the same head with call after call, but for the number in its Content-Length. What the parser made of a head that
was served is kept under a digest of its bytes, that number left out; the same bytes again are the same head, and neither they
nor what follows from them (who calls, which operation, what goes on to the provider) has to be found out a second time.

Guarantees: a head is found only where every byte but those digits (and the case of their name's two capitals) is one that the
parser has accepted before, at the same place, between two requests; no credential is kept, and nothing of strangers; memory is bounded.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

from proxy.pipeline.authenticate import CREDENTIAL_HEADERS

if TYPE_CHECKING:
    from collections.abc import Collection

    from httptools import HttpRequestParser

    from proxy.pipeline.exchange import RawHeaders
    from proxy.pipeline.preamble import Preamble

# Bounds: in bytes a head, and whatever else comes without a byte of body.
MAX_OVERHEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
MAX_KEPT_BYTES = 4096  # of a head
_CAPACITY = 512
# Six digits: above that a body is received in another way.
_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,6})\r\n")
_END = b"\r\n\r\n"
# Where one of these is, a head says more than where its body ends, or differs from call to call all the same.
_NEVER_KEPT = frozenset(
    (b"transfer-encoding", b"expect", b"upgrade", b"traceparent", b"x-request-id", b"idempotency-key", b"cookie")
)


class RefusedHead(Exception):
    """A head that the parser would accept and this server does not."""


class RequestHead:
    """`path` and `query` are raw, `headers` raw pairs with names in lower case, `named` the last of each name.

    `digest` is what it would be kept under, None where it cannot be; `preamble` what a call has made of it, and `sent` what
    went on to providers instead of it (see forward).
    """

    __slots__ = ("digest", "headers", "http_1_0", "keep_alive", "method", "named", "path", "preamble", "query", "sent")

    def __init__(
        self,
        method: str,
        target: str,
        headers: RawHeaders,
        *,
        http_1_0: bool = False,
        keep_alive: bool = True,
        digest: bytes | None = None,
    ) -> None:
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.named = dict(headers)
        self.http_1_0 = http_1_0
        self.keep_alive = keep_alive
        self.digest = digest
        self.preamble: Preamble | None = None
        self.sent: dict[object, bytes] = {}


def parsed(
    parser: HttpRequestParser, url: bytes, headers: RawHeaders, digest: bytes | None, *, large: bool
) -> RequestHead:
    """The head that a parser has come to the end of; `large` says that it may be too large. Raises RefusedHead."""
    version = parser.get_http_version()
    if len(headers) > MAX_HEADERS or version not in {"1.1", "1.0"}:
        raise RefusedHead
    if large and len(url) + sum(len(name) + len(value) + 4 for name, value in headers) > MAX_OVERHEAD_BYTES:
        raise RefusedHead
    return RequestHead(
        parser.get_method().decode("ascii"),
        url.decode("latin-1"),
        [(name.lower(), value.rstrip(b" \t")) for name, value in headers],
        http_1_0=version == "1.0",
        keep_alive=parser.should_keep_alive(),
        digest=digest,
    )


class KnownHeads:
    """The heads of a worker's clients, at most twice `capacity`; those that were not used for the longest time go.

    Of the headers named in `withheld` only the names are kept.
    """

    def __init__(self, capacity: int = _CAPACITY, withheld: Collection[bytes] = CREDENTIAL_HEADERS) -> None:
        self._capacity = capacity
        self._withheld = withheld
        self._known: dict[bytes, RequestHead] = {}
        self._before: dict[bytes, RequestHead] = {}

    def find(self, digest: bytes) -> RequestHead | None:
        """The head that is kept under this digest."""
        head = self._known.get(digest)
        if head is None and (head := self._before.get(digest)) is not None:
            self._store(digest, head)
        return head

    def keep(self, head: RequestHead) -> None:
        """Keeps a head whose call was let in; does nothing for one that cannot be found again."""
        digest = head.digest
        if digest is None or head.http_1_0 or not head.keep_alive or "key=" in head.query:
            return
        if _NEVER_KEPT.isdisjoint(head.named):
            head.headers = [
                (name, b"" if name in self._withheld else value)
                for name, value in head.headers
                if name != b"content-length"
            ]
            head.named = dict(head.headers)
            self._store(digest, head)

    def forget(self) -> None:
        """Forgets all of them: what was made of them no longer holds."""
        self._known, self._before = {}, {}

    def _store(self, digest: bytes, head: RequestHead) -> None:
        if len(self._known) >= self._capacity:
            self._before, self._known = self._known, {}
        self._known[digest] = head


def seek(received: bytearray, size: int) -> tuple[bytes, int, int] | None:
    """Digest, length of the body and place of its first byte, for a request that begins with the first of `size` bytes.

    None where there is no whole head with a length here that could be kept.
    """
    end = received.find(_END, 0, min(size, MAX_KEPT_BYTES)) + len(_END)
    if end < len(_END):
        return None
    parts = _LENGTH.split(received[:end], 1)
    if len(parts) == 1:
        return None
    before, length, after = parts
    # Joined by what is in no head but at its end: no other head can come to the same.
    return sha256(_END.join((before, after))).digest(), int(length), end


def ends_there(received: bytearray, end: int) -> bool:
    """Whether every line of the head before `end` ends as HTTP wants it, so that nobody can take another place for its end."""
    lines = received.count(b"\r\n", 0, end)
    return received.count(b"\n", 0, end) == lines == received.count(b"\r", 0, end)
