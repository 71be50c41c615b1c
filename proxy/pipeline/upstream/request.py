"""The head of a request as bytes, checked so that nothing a caller passes can begin a line or a request of its own."""

import re
from collections.abc import Sequence

from proxy.core.errors import InvalidRequest
from proxy.pipeline.upstream.settings import ForwardProxy, Origin

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# HEAD and CONNECT are not among them: their answers are framed by rules that this client does not implement.
_METHODS = frozenset({b"DELETE", b"GET", b"OPTIONS", b"PATCH", b"POST", b"PUT"})
# Framing and addressing are this client's own.
_OWN_HEADERS = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"te", b"trailer"}
)
_WITHOUT_BODY = frozenset({b"GET", b"DELETE", b"OPTIONS"})
_MAX_KNOWN = 256
_MAX_KNOWN_BYTES = 8 * 1024


class Heads:
    """The heads of requests to one host. What an application sends in its headers repeats: a head costs a look-up then."""

    def __init__(self, origin: Origin, proxy: ForwardProxy | None = None) -> None:
        """Through a proxy a plain call says where to in its request line (RFC 9112, section 3.2.2); TLS is tunnelled."""
        self._host = origin.host_header
        told = proxy is not None and not origin.tls
        self._prefix = b"http://" + self._host if told else b""
        authorization = proxy.authorization if told and proxy is not None else None
        self._for_proxy = () if authorization is None else ((b"proxy-authorization", authorization),)
        self._known: dict[tuple[object, ...], bytes] = {}

    def head(self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]], content_length: int) -> bytes:
        """Request line and headers with the closing empty line; host and content-length are added.

        Raises InvalidRequest where a name, a value, the method or the target could be read as something else on the wire.
        """
        return whole(self.lines(method, target, headers), method, content_length)

    def lines(self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """The head up to where its length is said. Raises as `head`."""
        key = (method, target, *headers)
        lines = self._known.get(key)
        if lines is None:
            lines = _checked_lines(method, target, self._prefix, self._host, (*headers, *self._for_proxy))
            if len(lines) <= _MAX_KNOWN_BYTES:
                if len(self._known) >= _MAX_KNOWN:
                    self._known.clear()
                self._known[key] = lines
        return lines


def whole(lines: bytes, method: bytes, content_length: int) -> bytes:
    """A head from its `lines`."""
    if content_length or method not in _WITHOUT_BODY:
        return b"%bcontent-length: %d\r\n\r\n" % (lines, content_length)
    return lines + b"\r\n"


def _checked_lines(
    method: bytes, target: bytes, prefix: bytes, host: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> bytes:
    if method not in _METHODS or not target.startswith(b"/") or b" " in target:
        raise InvalidRequest("This request line cannot be sent to a provider.")
    for name, _ in headers:
        if not _TOKEN.fullmatch(name) or name.lower() in _OWN_HEADERS:
            raise InvalidRequest("A header of this name cannot be sent to a provider.")
    first = b"%b %b%b HTTP/1.1" % (method, prefix, target)
    lines = b"\r\n".join((first, b"host: " + host, *map(b": ".join, headers), b""))
    # One count over all of them instead of a search in every value: each line has its CRLF, and there is no other.
    if lines.count(b"\n") != len(headers) + 2 or lines.count(b"\r") != len(headers) + 2 or b"\0" in lines:
        raise InvalidRequest("A header holds a character that cannot be sent to a provider.")
    return lines
