"""AWS Signature Version 4 for Bedrock, made by `botocore` (the extra `bedrock`). A Bedrock API key needs none of it: it is a Bearer.

Signed are the host, the content type and the headers `x-amz-*`; the canonical path encodes the path as sent once more.
Credentials are given, or found where the AWS tools find them (environment, profile, container, instance), read when first
needed and renewed before they expire. Renewing them and hashing a large body wait in a thread, not in the event loop.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from proxy.core.errors import ConfigError
from proxy.providers.signing import SigningError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.providers.signing import Header

SERVICE = "bedrock"
_SIGNED = frozenset((b"content-type", b"host"))
_SIGNED_PREFIX = b"x-amz-"
# The digest of this much takes 0.1 ms; more is hashed in a thread.
_LARGE_BYTES = 64 * 1024
_REGION = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-\d)\.")


class SigV4Signer:
    """Signs every request with AWS credentials (`botocore.credentials.Credentials`, or what renews itself)."""

    def __init__(self, credentials: Any, region: str, service: str = SERVICE) -> None:
        self._credentials = credentials
        self._region = region
        self._service = service
        self._used: tuple[str, ...] = ()

    def secrets(self) -> tuple[str, ...]:
        """The key's two parts and the session's token; of several sets that were used, the last."""
        return self._used

    async def headers(self, method: str, url: str, headers: Sequence[Header], body: bytes) -> list[Header]:
        """`authorization`, `x-amz-date`, and `x-amz-security-token` for temporary credentials."""
        if len(body) > _LARGE_BYTES or _must_renew(self._credentials):
            return await asyncio.to_thread(self._sign, method, url, headers, body)
        return self._sign(method, url, headers, body)

    def _sign(self, method: str, url: str, headers: Sequence[Header], body: bytes) -> list[Header]:
        from botocore.auth import SigV4Auth  # noqa: PLC0415 - an extra, and half a second to import
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        signed = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in headers
            if name in _SIGNED or name.startswith(_SIGNED_PREFIX)
        }
        request = AWSRequest(method=method, url=url, headers=signed, data=body)
        try:
            found = self._credentials.get_frozen_credentials()
            self._used = tuple(filter(None, (found.access_key, found.secret_key, found.token)))
            SigV4Auth(found, self._service, self._region).add_auth(request)
        except BotoCoreError as error:
            raise SigningError(f"AWS credentials cannot be used: {type(error).__name__}") from error
        return [
            (name.lower().encode(), str(value).encode("latin-1"))
            for name, value in request.headers.items()
            if name not in signed
        ]


def aws_signer(  # noqa: PLR0917 - the four that AWS names, and where
    base_url: str,
    access_key_id: str = "",
    secret_access_key: str = "",
    session_token: str = "",
    profile: str = "",
    region: str = "",
) -> SigV4Signer:
    """A signer for a base URL. Without a key pair, AWS's own chain of places is searched; raises ConfigError.

    The region is the one in the host where none is given: `bedrock-runtime.us-east-1.amazonaws.com`.
    """
    try:
        from botocore.credentials import Credentials  # noqa: PLC0415 - see _sign
        from botocore.session import Session  # noqa: PLC0415
    except ImportError:
        raise ConfigError("Signing for AWS needs the extra: pip install 'farebox[bedrock]'.") from None
    found = _REGION.search(f".{urlsplit(base_url).hostname or ''}.")
    region = region or (found[1] if found else "")
    if not region:
        raise ConfigError("The AWS region is not in the base URL; set it.")
    if access_key_id or secret_access_key:
        if not (access_key_id and secret_access_key):
            raise ConfigError("An AWS access key has two parts: the id and the secret.")
        return SigV4Signer(Credentials(access_key_id, secret_access_key, session_token or None), region)
    credentials = Session(profile=profile or None).get_credentials()
    if credentials is None:
        raise ConfigError("No AWS credentials were found in the environment, a profile, or the machine's role.")
    return SigV4Signer(credentials, region)


def _must_renew(credentials: Any) -> bool:
    """Whether asking for the credentials may go over the network; those without an end never do."""
    renew = getattr(credentials, "refresh_needed", None)
    return bool(renew is not None and renew())
