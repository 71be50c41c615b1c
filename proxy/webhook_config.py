"""The section `[webhooks]`: who is told of low balances, and how."""

from urllib.parse import urlsplit

import msgspec

from proxy.core.errors import ConfigError
from proxy.core.webhooks import read_secret

MAX_URLS = 10


class Webhooks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without `urls` nothing is watched and nothing sent."""

    urls: list[str] = []
    allowed_hosts: list[str] = []
    secret: str = ""
    previous_secret: str = ""
    timeout_s: float = 10.0
    first_pause_s: float = 5.0
    attempts: int = 28
    private_addresses: bool = False

    def secrets(self) -> tuple[bytes, ...]:
        """The keys that sign, the newest first."""
        return tuple(read_secret(text) for text in (self.secret, self.previous_secret) if text)


def check_webhooks(webhooks: Webhooks) -> None:
    """Raises ConfigError for what types cannot say; the message shows neither a URL nor a secret."""
    if len(webhooks.urls) > MAX_URLS or len(set(webhooks.urls)) != len(webhooks.urls):
        raise ConfigError(f"webhooks.urls: at most {MAX_URLS}, all different")
    for number, url in enumerate(webhooks.urls):
        _check_url(webhooks, url, f"webhooks.urls[{number}]")
    if webhooks.urls and not webhooks.secret:
        raise ConfigError(
            "webhooks.secret is missing: whsec_ and the base64 of 32 random bytes, by reference (env:NAME)"
        )
    for name in ("secret", "previous_secret"):
        if text := getattr(webhooks, name):
            try:
                read_secret(text)
            except ValueError as error:
                raise ConfigError(f"webhooks.{name}: {error}") from error
    if not 0.1 <= webhooks.timeout_s <= 120 or not 0.01 <= webhooks.first_pause_s <= 3600:
        raise ConfigError(
            "webhooks.timeout_s must be between 0.1 and 120, webhooks.first_pause_s between 0.01 and 3600"
        )
    if not 1 <= webhooks.attempts <= 1000:
        raise ConfigError("webhooks.attempts must be between 1 and 1000")


def _check_url(webhooks: Webhooks, url: str, where: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{where} is not a URL") from error
    if parts.scheme not in {"https", "http"} or not host or parts.fragment or not url.isprintable() or " " in url:
        raise ConfigError(f"{where} must be an https:// URL")
    if parts.scheme == "http" and not webhooks.private_addresses:
        raise ConfigError(f"{where} must be an https:// URL; http is for webhooks.private_addresses = true")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{where} must not hold a user or a password: receivers tell us by the signature")
    if webhooks.allowed_hosts and host not in {allowed.lower() for allowed in webhooks.allowed_hosts}:
        raise ConfigError(f"{where} leads to a host that is not in webhooks.allowed_hosts")
