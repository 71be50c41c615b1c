"""The configuration: one TOML file, read once, checked whole, frozen.

Unknown keys stop the start with their path and the nearest known name. Secrets are references (`env:NAME`, `file:PATH`)
and are resolved here, so that nothing else reads the environment. Instants and durations carry their unit in the name.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from proxy.core.errors import ConfigError
from proxy.core.money import parse_scaled
from proxy.core.pricing import MARKUP_ONE_PPM
from proxy.prices.book import Policy, PriceBook, Rules
from proxy.prices.shipped import read_book
from proxy.provider_config import (
    SECRETS,
    Open,
    Provider,
    check_providers,
    check_proxy,
    check_routing,
    require_credentials,
)
from proxy.webhook_config import Webhooks, check_webhooks


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The data listener."""

    listen: str = "127.0.0.1:8080"
    workers: int = 1
    max_body_bytes: int = 64 * 1024 * 1024
    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 75.0
    write_stall_s: float = 30.0
    drain_s: float = 30.0
    trusted_proxies: list[str] = []
    state_dir: str = "farebox-data"


class Admin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The operators' listener."""

    listen: str = "127.0.0.1:9090"
    token: str = ""
    open_metrics: bool = False
    audit_every_s: float = 600.0


class Keys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How API keys are hashed."""

    pepper: str = ""


class Redis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The hot truth."""

    url: str = "redis://127.0.0.1:6379/0"
    partitions: int = 16
    command_timeout_ms: int = 800
    require_append_only: bool = True
    appendfsync: Literal["everysec", "always"] = "everysec"


class Database(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The lasting truth."""

    url: str = "sqlite:///farebox-data/farebox.db"


class Credits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Money: the exchange rate, and what happens at the edges of a hold."""

    per_usd: int = 1000
    markup: str | int = "1"
    lease_s: int = 60
    sweep_s: float = 15.0
    checkpoint_s: float = 5.0
    assumed_output_tokens: int = 4096
    exhausted: Literal["cut", "finish"] = "cut"
    abandoned: Literal["checkpoint", "hold", "free"] = "checkpoint"
    mode: Literal["normal", "strict"] = "normal"
    background_lease_s: int = 3600
    resources_kept_days: int = 30
    resources: Literal["unowned", "own", "any"] = "unowned"
    unpriced: Policy = "refuse"
    price_book: str = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of every key that has none of its own; absent = no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Connections to providers, for every provider that does not say otherwise."""

    proxy: str = ""
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 300.0
    idle_timeout_s: float = 120.0
    total_timeout_s: float = 1800.0
    max_connections: int = 1000
    keepalive_s: float = 15.0
    on_client_left: Literal["cancel", "drain", "free"] = "cancel"
    drain_timeout_s: float = 30.0
    drain_tokens: int = 8192
    on_late: Literal["free", "count"] = "free"
    retries: int = 2
    rest_after_failures: int = 5
    rest_s: float = 5.0
    longest_rest_s: float = 300.0


class Recorder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stream to SQL."""

    batch_size: int = 500
    poll_ms: int = 100
    claim_after_s: float = 30.0
    max_lag_records: int = 1_000_000


SurfaceName = Literal[
    "mountsea",
    "apikley",
    "kie",
    "credits-dev",
    "r9s",
    "openai-billing",
    "openrouter",
    "litellm",
    "new-api",
    "deepseek",
    "sub2api",
    "openai-organization",
]


class Apikley(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Apikley's surface, and its twin's."""

    mirror: bool = False


class Surfaces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query APIs of other vendors, on the data listener."""

    disabled: list[SurfaceName] = []
    queries_per_minute: int = 1200
    queries_at_once: int = 8
    longest_query_s: float = 5.0
    apikley: Apikley = Apikley()


class Logs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    server: Server = Server()
    admin: Admin = Admin()
    keys: Keys = Keys()
    redis: Redis = Redis()
    database: Database = Database()
    credits: Credits = Credits()
    limits: Limits = Limits()
    upstream: Upstream = Upstream()
    recorder: Recorder = Recorder()
    surfaces: Surfaces = Surfaces()
    webhooks: Webhooks = Webhooks()
    logs: Logs = Logs()
    providers: dict[str, Provider] = {}
    aliases: dict[str, str | list[str]] = {}
    open: list[Open] = []
    prices: dict[str, dict[str, Any]] = {}
    markups: dict[str, str | int] = {}

    def markup_ppm(self) -> int:
        """The markup in parts per million: "1.2" -> 1200000."""
        return parse_scaled(str(self.credits.markup), MARKUP_ONE_PPM)

    def price_book(self) -> PriceBook:
        """All prices and markups: `[prices]` and `[markups]` over the shipped book. Raises ConfigError."""
        rules = Rules(
            prices=self.prices,
            markups=self.markups,
            markup_ppm=self.markup_ppm(),
            assumed_output_tokens=self.credits.assumed_output_tokens,
            unpriced=self.credits.unpriced,
            urls={name: tuple(provider.endpoints().values()) for name, provider in self.providers.items()},
            priced_as={
                name: provider.priced_as for name, provider in self.providers.items() if provider.priced_as is not None
            },
        )
        return PriceBook(rules, read_book(self.credits.price_book) if self.credits.price_book else None)


def load_config(path: Path, known_providers: Mapping[str, Mapping[str, Any]] | None = None) -> Config:
    """Reads and checks the file; raises ConfigError whose message names the key.

    `known_providers` gives defaults by provider name (dialect, base_url), so that a known one needs only its `api_key`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror}"
        raise ConfigError(msg) from error
    return parse_config(text, known_providers=known_providers, name=str(path))


def parse_config(
    text: str, *, known_providers: Mapping[str, Mapping[str, Any]] | None = None, name: str = "the configuration"
) -> Config:
    """Checks a configuration given as text; see `load_config`."""
    try:
        raw = tomllib.loads(text, parse_float=str)
    except tomllib.TOMLDecodeError as error:
        msg = f"{name} is not valid TOML: {error}"
        raise ConfigError(msg) from error
    _refuse_unknown(raw, Config, "")
    for provider, defaults in (known_providers or {}).items():
        if provider in raw.get("providers", {}):
            raw["providers"][provider] = {**defaults, **raw["providers"][provider]}
    require_credentials(raw.get("providers", {}))
    _resolve_secrets(raw)
    try:
        config = msgspec.convert(raw, Config, strict=False)
    except msgspec.ValidationError as error:
        msg = f"{name}: {_in_toml_terms(str(error))}"
        raise ConfigError(msg) from error
    _check(config)
    return config


def parse_listen(listen: str) -> tuple[str, int]:
    """`host:port` (IPv6 in brackets) as a pair; port 0 means any free one."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        msg = f"{listen!r} is not host:port"
        raise ConfigError(msg)
    return host.strip("[]") or "127.0.0.1", int(port)


# Sections by key, for the check of unknown names.


def _refuse_unknown(table: dict[str, Any], struct: type[msgspec.Struct], path: str) -> None:
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
    for key, value in table.items():
        where = f"{path}{key}"
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            hint = f"; did you mean {path}{near[0]}?" if near else f"; known here: {', '.join(sorted(fields))}"
            msg = f"unknown setting {where}{hint}"
            raise ConfigError(msg)
        inner = fields[key]
        if isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            _refuse_unknown(value, inner, f"{where}.")
        elif isinstance(value, dict) and get_origin(inner) is dict:
            _refuse_unknown_entries(value, get_args(inner)[1], where)
        elif isinstance(value, list) and get_origin(inner) is list:
            _refuse_unknown_entries(dict(enumerate(value)), get_args(inner)[0], where)


def _refuse_unknown_entries(table: Mapping[Any, Any], entry: object, where: str) -> None:
    for name, value in table.items():
        if isinstance(value, dict) and isinstance(entry, type) and issubclass(entry, msgspec.Struct):
            _refuse_unknown(value, entry, f"{where}.{name}.")


_SECRETS = (
    ("admin", "token"),
    ("keys", "pepper"),
    ("redis", "url"),
    ("database", "url"),
    ("upstream", "proxy"),
    ("webhooks", "secret"),
    ("webhooks", "previous_secret"),
)


def _resolve_secrets(raw: dict[str, Any]) -> None:
    for section, key in _SECRETS:
        if section in raw and key in raw[section]:
            raw[section][key] = resolve_secret(raw[section][key], f"{section}.{key}")
    urls = raw.get("webhooks", {}).get("urls")
    if isinstance(urls, list):  # a receiver's URL may hold a secret of its own
        raw["webhooks"]["urls"] = [resolve_secret(url, "webhooks.urls") for url in urls]
    for name, provider in raw.get("providers", {}).items():
        for key in SECRETS & provider.keys():
            where = f"providers.{name}.{key}"
            value = provider[key]
            if isinstance(value, list):
                provider[key] = [resolve_secret(one, where) for one in value]
            else:
                provider[key] = resolve_secret(value, where)


def resolve_secret(reference: object, where: str) -> str:
    """The value behind `env:NAME` or `file:PATH`; anything else is the value itself. The message never shows a value."""
    if not isinstance(reference, str):
        msg = f"{where} must be a string"
        raise ConfigError(msg)
    kind, colon, rest = reference.partition(":")
    if colon and kind == "env":
        value = os.environ.get(rest, "")
        if not value:
            msg = f"{where} refers to the environment variable {rest}, which is not set"
            raise ConfigError(msg)
        return value
    if colon and kind == "file":
        try:
            return Path(rest).read_text(encoding="utf-8").strip()
        except OSError as error:
            msg = f"{where} refers to the file {rest}, which cannot be read: {error.strerror}"
            raise ConfigError(msg) from error
    return reference


def _check(config: Config) -> None:
    """What types cannot say."""
    parse_listen(config.server.listen)
    parse_listen(config.admin.listen)
    try:
        markup = config.markup_ppm()
    except ValueError as error:
        msg = f"credits.markup: {error}"
        raise ConfigError(msg) from error
    for network in config.server.trusted_proxies:
        _check_network(network, "server.trusted_proxies")
    _at_least(1, **{"credits.per_usd": config.credits.per_usd, "server.workers": config.server.workers})
    _at_least(1, **{"redis.partitions": config.redis.partitions, "credits.markup": markup})
    _at_least(1, **{"credits.lease_s": config.credits.lease_s, "server.max_body_bytes": config.server.max_body_bytes})
    if config.redis.partitions > 1000:
        msg = "redis.partitions must be at most 1000"
        raise ConfigError(msg)
    _at_least(0, **{"upstream.retries": config.upstream.retries})
    _at_least(1, **{"surfaces.queries_per_minute": config.surfaces.queries_per_minute})
    _at_least(1, **{"surfaces.queries_at_once": config.surfaces.queries_at_once})
    if config.surfaces.longest_query_s <= 0:
        msg = "surfaces.longest_query_s must be above 0"
        raise ConfigError(msg)
    _at_least(1, **{"upstream.rest_after_failures": config.upstream.rest_after_failures})
    _at_least(1, **{"credits.resources_kept_days": config.credits.resources_kept_days})
    if not 1 <= config.credits.background_lease_s <= 86_400:
        msg = "credits.background_lease_s must be between 1 and 86400 seconds"
        raise ConfigError(msg)
    check_webhooks(config.webhooks)
    check_proxy("upstream.proxy", config.upstream.proxy)
    check_providers(config.providers)
    check_routing(config.providers, config.aliases, config.open)
    config.price_book()


def _check_network(network: str, where: str) -> None:
    try:
        ip_network(network)
    except ValueError as error:
        raise ConfigError(f"{where}: {network!r} is not a network such as 10.0.0.0/8") from error


def _at_least(bound: int, **values: int) -> None:
    for where, value in values.items():
        if value < bound:
            msg = f"{where} must be at least {bound}"
            raise ConfigError(msg)


def _in_toml_terms(message: str) -> str:
    return message.replace("$.", "").replace("`", "")
