"""Google's OAuth tokens for Vertex AI, made by `google-auth` (the extra `vertex`). An API key needs none of it.

A token lives for an hour and is renewed some minutes before its end, in a thread and once for everybody who waits; one that is
still good serves those who come meanwhile, and all where it cannot be renewed yet. The library speaks to the token
endpoint that the credentials name, past proxies of the environment.

Source: https://google-auth.readthedocs.io/en/latest/user-guide.html, https://cloud.google.com/docs/authentication/rest.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy.core.errors import ConfigError
from proxy.providers.signing import SigningError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.providers.signing import Header

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
DEFAULT = "default"
"""In place of a file: what Google's own tools would find (environment, gcloud, the machine's service account)."""

# google.auth.credentials.TokenState: stale is good for some minutes yet.
FRESH, STALE, INVALID = "FRESH", "STALE", "INVALID"
_TOKEN_TIMEOUT_S = 10

log = logging.getLogger("farebox.google")


class GoogleSigner:
    """Sends the token of some credentials (`google.auth.credentials.Credentials`), renewed over `transport`."""

    def __init__(self, credentials: Any, transport: Callable[..., Any]) -> None:
        self._credentials = credentials
        self._transport = transport
        self._renewing = asyncio.Lock()

    async def headers(self, method: str, url: str, headers: Sequence[Header], body: bytes) -> list[Header]:  # noqa: ARG002 - one token for all
        """`authorization`, and the project that pays where the credentials name another one."""
        credentials = self._credentials
        state = credentials.token_state.name
        if state == INVALID or (state == STALE and not self._renewing.locked()):
            await self._renew(state)
        applied: dict[str, str] = {}
        credentials.apply(applied)
        return [(name.lower().encode(), value.encode()) for name, value in applied.items()]

    def secrets(self) -> tuple[str, ...]:
        """The token."""
        token = self._credentials.token
        return (token,) if token else ()

    async def _renew(self, state: str) -> None:
        """Fetch a token, unless somebody else just did. Raises SigningError where there is none to go on with."""
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415 - an extra

        async with self._renewing:
            if self._credentials.token_state.name == FRESH:
                return
            try:
                await asyncio.to_thread(self._credentials.refresh, self._transport)
            except GoogleAuthError as error:
                # What Google says may quote the account: the kind of error is enough.
                log.warning("Google's token was not renewed: %s", type(error).__name__)
                if state == INVALID:
                    raise SigningError(f"Google's token was not renewed: {type(error).__name__}") from error


def google_signer(service_account_file: str) -> GoogleSigner:
    """A signer from a service account's key file, or from what Google's tools would find; raises ConfigError."""
    try:
        import google.auth  # noqa: PLC0415 - an extra, and a tenth of a second to import
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415
        from google.auth.transport.requests import Request  # noqa: PLC0415
        from google.oauth2 import service_account  # noqa: PLC0415
        from requests import Session  # noqa: PLC0415
    except ImportError:
        msg = "signing for Vertex AI needs google-auth: install farebox[vertex], or give the provider an api_key"
        raise ConfigError(msg) from None
    session = Session()
    session.trust_env = False
    try:
        if service_account_file == DEFAULT:
            credentials, _ = google.auth.default(scopes=SCOPES)
        else:
            credentials = service_account.Credentials.from_service_account_file(service_account_file, scopes=SCOPES)
    except (OSError, ValueError, AttributeError, GoogleAuthError) as error:  # AttributeError: JSON that is no object
        msg = f"Google's credentials {service_account_file!r} cannot be used: {type(error).__name__}"
        raise ConfigError(msg) from error
    return GoogleSigner(credentials, partial(Request(session), timeout=_TOKEN_TIMEOUT_S))
