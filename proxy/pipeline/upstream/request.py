"""The head of a request as bytes, checked so that nothing a caller passes can begin a line or a request of its own."""

import re
from collections.abc import Sequence

from proxy.core.errors import InvalidRequest

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# HEAD and CONNECT are not among them: their answers are framed by rules that this client does not implement.
_METHODS = frozenset({b"DELETE", b"GET", b"OPTIONS", b"PATCH", b"POST", b"PUT"})
# Framing and addressing are this client's own.
_OWN_HEADERS = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"te", b"trailer"}
)
_WITHOUT_BODY = frozenset({b"GET", b"DELETE", b"OPTIONS"})
_MAX_CHECKED_NAMES = 1024
_checked_names: set[bytes] = set()


def request_head(
    method: bytes, target: bytes, host: bytes, headers: Sequence[tuple[bytes, bytes]], content_length: int
) -> bytes:
    """Request line and headers with the closing empty line; host and content-length are added.

    Raises InvalidRequest where a name, a value, the method or the target could be read as something else on the wire.
    """
    if method not in _METHODS or not target.startswith(b"/") or b" " in target:
        raise InvalidRequest("This request line cannot be sent to a provider.")
    for name, _ in headers:
        if name not in _checked_names:
            _check_name(name)
    own = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, host)
    lines = len(headers) + 3
    if content_length or method not in _WITHOUT_BODY:
        own += b"content-length: %d\r\n" % content_length
        lines += 1
    head = b"%b%b\r\n\r\n" % (own, b"\r\n".join(map(b": ".join, headers))) if headers else own + b"\r\n"
    # One count over the whole head instead of a search in every value: each line has its CRLF, and there is no other.
    if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
        raise InvalidRequest("A header holds a character that cannot be sent to a provider.")
    return head


def _check_name(name: bytes) -> None:
    """Names repeat from call to call, so each is checked once and remembered."""
    if not _TOKEN.fullmatch(name) or name.lower() in _OWN_HEADERS:
        raise InvalidRequest("A header of this name cannot be sent to a provider.")
    if len(_checked_names) < _MAX_CHECKED_NAMES:
        _checked_names.add(name)
