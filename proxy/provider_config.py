"""The part of the configuration that says where calls go: providers, aliases, and paths opened without a meter."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from proxy.core.errors import ConfigError
from proxy.core.money import MICROCREDITS_PER_CREDIT, parse_scaled

DIALECTS = ("openai", "anthropic", "gemini", "vertex", "azure", "bedrock", "cohere")
SECRETS = frozenset(("api_key", "api_keys", "access_key_id", "secret_access_key", "session_token", "proxy"))
"""Settings of a provider that are references; a proxy's URL may hold a password."""

# What stands first in a path of Farebox's own cannot be a provider's name.
_TAKEN = frozenset(("v1", "v1beta", "v1beta1", "v1alpha", "v2", "healthz", "readyz", "api", "compat", "dashboard"))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Literal text and `{name}` parts, as in the dialects' own templates.
_TEMPLATE = re.compile(r"(?:/(?:[A-Za-z0-9._:~-]|\{[a-z_]+\})+)+")


class Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One upstream. `base_url` is what that provider's SDK is given; a provider of several dialects has one for each.

    `{region}` and `{location}` in it stand for the settings of that name. Several keys share the calls evenly.
    `priced_as` names the provider of the price book whose prices hold here ("" for none), where neither name nor URL says it.
    `token_limits`: under which names its chat completions obey a token limit, the one to send first, empty for none.
    """

    dialect: str | list[str] = "openai"
    base_url: str | dict[str, str] = ""
    api_key: str = ""
    api_keys: list[str] = []
    models: list[str] = []
    weight: int = 1
    priced_as: str | None = None
    token_limits: list[Literal["max_tokens", "max_completion_tokens", "n_predict", "num_predict"]] | None = None
    region: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""
    profile: str = ""
    project: str = ""
    location: str = ""
    service_account_file: str = ""
    ca_file: str | None = None
    proxy: str | None = None
    connect_timeout_s: float | None = None
    first_byte_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    total_timeout_s: float | None = None
    max_connections: int | None = None
    on_client_left: Literal["cancel", "drain", "free"] | None = None

    def endpoints(self) -> dict[str, str]:
        """Dialect -> base URL."""
        if isinstance(self.base_url, dict):
            return {dialect: self._located(url) for dialect, url in self.base_url.items()}
        dialects = [self.dialect] if isinstance(self.dialect, str) else self.dialect
        return dict.fromkeys(dialects, self._located(self.base_url))

    def every_key(self) -> list[str]:
        """Its API keys; one empty string where it needs none or signs its calls."""
        return ([self.api_key] if self.api_key else []) + self.api_keys or [""]

    def _located(self, url: str) -> str:
        if "{location}-" in url and self.location in {
            "",
            "global",
        }:  # Google's global endpoint has no location in its name
            url = url.replace("{location}-", "")
        return url.replace("{region}", self.region).replace("{location}", self.location)


class Open(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A path without a meter that is open all the same: `path` follows the provider's base URL; `price` in credits a request."""

    provider: str
    path: str
    price: str | int
    method: Literal["GET", "POST", "DELETE", "PUT", "PATCH"] = "POST"
    shared: str | None = None
    dialect: str | None = None


def require_credentials(providers: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ConfigError for a provider of which nothing is said; an empty `api_key` says that it needs none."""
    for name, provider in providers.items():
        if not {"api_key", "api_keys", "access_key_id", "profile", "service_account_file"} & provider.keys():
            msg = f"providers.{name}.api_key is missing; use env:NAME or file:PATH (an empty one for a provider without keys)"
            raise ConfigError(msg)


def check_providers(providers: Mapping[str, Provider]) -> None:
    """Raises ConfigError with the path of the setting that is wrong."""
    for name, provider in providers.items():
        if not _NAME.fullmatch(name) or name in _TAKEN:
            msg = f"providers.{name}: a provider's name stands first in its paths; this one cannot"
            raise ConfigError(msg)
        if not 0 <= provider.weight <= 1_000_000:
            msg = f"providers.{name}.weight must be between 0 (only where the others fail) and 1000000"
            raise ConfigError(msg)
        check_proxy(f"providers.{name}.proxy", provider.proxy or "")
        for dialect, base_url in provider.endpoints().items():
            _check_endpoint(name, dialect, base_url)


def check_proxy(where: str, url: str) -> None:
    """Raises ConfigError for what is neither empty nor an HTTP proxy's URL; the message does not show it."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
        fits = fits and not (parts.path.strip("/") or parts.query or parts.fragment)
    except ValueError:
        fits = False
    if url and not fits:
        raise ConfigError(f"{where} must be http://[user:password@]host[:port], or empty for none")


def check_routing(
    providers: Mapping[str, Provider], aliases: Mapping[str, str | list[str]], opened: Sequence[Open]
) -> None:
    """Raises ConfigError for an alias or an opened path that leads nowhere."""
    for alias, names in aliases.items():
        for name in [names] if isinstance(names, str) else names:
            provider, _, model = name.partition("/")
            if provider not in providers or not model:
                msg = f'aliases."{alias}": {name!r} must be "provider/model" with a provider of [providers]'
                raise ConfigError(msg)
    for number, entry in enumerate(opened):
        _check_opened(f"open[{number}]", providers, entry)


def _check_endpoint(name: str, dialect: str, base_url: str) -> None:
    if dialect not in DIALECTS:
        msg = f"providers.{name}.dialect: {dialect!r} is not known; known: {', '.join(DIALECTS)}"
        raise ConfigError(msg)
    if not base_url:
        msg = (
            f"providers.{name}.base_url is missing, and none is known for {name!r}: it is what an SDK would be given, such as "
            "https://llm.example.com/v1"
        )
        raise ConfigError(msg)
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        msg = f"providers.{name}.base_url must be http(s)://host[:port][/path] without query or credentials"
        raise ConfigError(msg)


def _check_opened(where: str, providers: Mapping[str, Provider], entry: Open) -> None:
    if entry.provider not in providers:
        msg = f"{where}.provider: {entry.provider!r} is not one of [providers]"
        raise ConfigError(msg)
    dialects = providers[entry.provider].endpoints()
    if entry.dialect is not None and entry.dialect not in dialects:
        msg = f"{where}.dialect: {entry.provider} does not speak {entry.dialect!r}"
        raise ConfigError(msg)
    for key, template in (("path", entry.path), ("shared", entry.shared)):
        if template is not None and (not _TEMPLATE.fullmatch(template) or {".", ".."} & set(template.split("/"))):
            msg = f"{where}.{key} must be a path such as /files/{{id}}"
            raise ConfigError(msg)
    try:
        price = parse_scaled(str(entry.price), MICROCREDITS_PER_CREDIT)
    except ValueError as error:
        msg = f"{where}.price: {error}"
        raise ConfigError(msg) from error
    if price < 0:
        msg = f"{where}.price must not be negative; 0 is free"
        raise ConfigError(msg)
