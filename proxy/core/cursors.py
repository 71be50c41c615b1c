"""Cursors: where the next page of a list begins, as an opaque text that only Farebox can make.

A cursor is the sort key of the last row of a page, signed together with the query that it belongs to (path, account, filters): one
of another query, another account or another installation is refused, and so is one that somebody changed. It holds nothing that
the page itself did not show, and it does not expire.
"""

import base64
import binascii
import hmac
import json
from collections.abc import Sequence

from proxy.core.errors import InvalidRequest

MAX_CURSOR = 1000  # characters
_TAG_BYTES = 16

SortKey = Sequence[int | str]


class Cursors:
    """Signs under the installation's pepper."""

    def __init__(self, pepper: str) -> None:
        self._key = hmac.digest(pepper.encode(), b"cursors", "sha256")

    def dump(self, query: str, last: SortKey) -> str:
        """The cursor behind the row with this sort key. `query` names the list and everything that it is filtered by."""
        payload = json.dumps(list(last), ensure_ascii=True, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._tag(query, payload) + payload).rstrip(b"=").decode()

    def load(self, query: str, cursor: str) -> list[int | str]:
        """The sort key. Raises InvalidRequest (`invalid_cursor`)."""
        decoded = _decoded(cursor)
        tag, payload = decoded[:_TAG_BYTES], decoded[_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(query, payload)):
            raise InvalidRequest("This cursor does not belong to this query.", code="invalid_cursor", param="cursor")
        key: list[int | str] = json.loads(payload)
        return key

    def _tag(self, query: str, payload: bytes) -> bytes:
        text = query.encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, len(text).to_bytes(8, "big") + text + payload, "sha256")[:_TAG_BYTES]


def _decoded(cursor: str) -> bytes:
    """The bytes of a cursor; empty, which no signature is right for, where it is none."""
    if len(cursor) > MAX_CURSOR or not cursor.isascii():
        return b""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return b""
