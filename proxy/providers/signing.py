"""Credentials that sign a request or fetch a short-lived token, instead of a key that is sent as it is.

A signer sees the request exactly as it goes out and adds to it. It may wait (for a token to be renewed); a key that does not
change is no signer's affair: see `registry.credential_headers`. Header names are lower-case bytes.
"""

from collections.abc import Sequence
from typing import Protocol

Header = tuple[bytes, bytes]


class Signer(Protocol):
    """Makes the headers that let one request through to the provider."""

    async def headers(self, method: str, url: str, headers: Sequence[Header], body: bytes) -> list[Header]:
        """The headers to add; raises `SigningError` where there is no credential.

        `url` is whole, its path and query percent-encoded as they go out; `headers` are those that go out with it, `host`
        among them or not.
        """

    def secrets(self) -> tuple[str, ...]:
        """What it signed with last, token included: nothing of it may be in what a client gets to read."""


class SigningError(Exception):
    """No credential could be had; the message is for the operator and names no secret."""
