"""Listing models: what a key may use, in the caller's dialect. Answered here, no provider is asked; free, and without a record.

Listed are the names that the configuration says, its aliases, and behind a trailing `*` those that the price book knows of that
provider. A model without a price is left out: calls to it are refused.
https://platform.openai.com/docs/api-reference/models https://docs.anthropic.com/en/api/models-list
https://ai.google.dev/api/models https://docs.cohere.com/reference/list-models
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from proxy.core.errors import NotFound
from proxy.pipeline.paths import callers_dialect
from proxy.pipeline.read import printable
from proxy.pipeline.reply import send_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from proxy.accounts.caller import Caller
    from proxy.pipeline.candidates import Endpoint
    from proxy.pipeline.exchange import Exchange
    from proxy.pipeline.route import Router

# Where each dialect's SDKs list models, behind the provider's base URL.
_SUFFIXES = {
    "openai": ("/models",),
    "azure": ("/openai/models", "/openai/v1/models"),
    "anthropic": ("/v1/models",),
    "gemini": ("/v1beta/models", "/v1/models"),
    "cohere": ("/v1/models",),
}
# Without a provider; what the path does not tell, the caller's headers do.
_SHARED = {"/v1/models": None, "/v1beta/models": "gemini"}
_UNKNOWN_SINCE = "1970-01-01T00:00:00Z"
_GEMINI_METHODS = ["generateContent", "streamGenerateContent", "countTokens", "embedContent"]

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for: the models of a dialect, of one provider or of all, or a single one by its id."""

    dialect: str
    provider: str | None
    model: str | None


class Models:
    """The lists of an installation; made anew with its routes."""

    def __init__(self, router: Router, bases: Mapping[str, Mapping[str, str]]) -> None:
        """`bases`: provider -> dialect -> path of its base URL."""
        self._router = router
        self._lists: dict[str, tuple[str | None, str | None]] = {path: (of, None) for path, of in _SHARED.items()}
        self._names: dict[tuple[str, str | None, int], dict[str, str]] = {}
        for provider, dialects in bases.items():
            for dialect, base in dialects.items():
                for suffix in _SUFFIXES.get(dialect, ()):
                    self._lists.setdefault(f"/{provider}{base}{suffix}", (dialect, provider))

    def wanted(self, exchange: Exchange) -> Wanted | None:
        """What a GET request asks for, if it is for models."""
        path = exchange.path
        for base, (dialect, provider) in self._lists.items():
            if path == base:
                return Wanted(dialect or callers_dialect(exchange), provider, None)
            if path.startswith(base) and path[len(base)] == "/" and len(path) > len(base) + 1:
                return Wanted(dialect or callers_dialect(exchange), provider, unquote(path[len(base) + 1 :]))
        return None

    def answer(self, exchange: Exchange, wanted: Wanted, caller: Caller, at_ms: int) -> None:
        """Sends the list, or the one model. Raises NotFound, ClientLeft."""
        names = {name: owner for name, owner in self._known(wanted, at_ms).items() if caller.may_use(name)}
        if wanted.model is None:
            send_json(exchange, 200, _encode(_listed(wanted.dialect, names)))
            return
        owner = names.get(wanted.model) or self._served(wanted, wanted.model, caller, at_ms)
        if owner is None:
            msg = f"The model {printable(wanted.model)!r} is not known here."
            raise NotFound(msg, code="model_not_found", param="model")
        send_json(exchange, 200, _encode(_described(wanted.dialect, wanted.model, owner)))

    def _served(self, wanted: Wanted, model: str, caller: Caller, at_ms: int) -> str | None:
        """Who serves a model that is not listed: behind a trailing `*` there may be more than the price book names."""
        routes = self._router.priced((wanted.dialect, wanted.provider, model, False), at_ms)[1]
        return routes[0].endpoint.provider if routes and caller.may_use(model) else None

    def _known(self, wanted: Wanted, at_ms: int) -> dict[str, str]:
        """Name -> provider, in the order of the configuration; found once a minute, as prices change."""
        key = (wanted.dialect, wanted.provider, at_ms // 60_000)
        known = self._names.get(key)
        if known is None:
            known = {}
            for name, owner in self._collect(wanted, at_ms):
                known.setdefault(name, owner)
            self._names = {kept: names for kept, names in self._names.items() if kept[2] == key[2]} | {key: known}
        return known

    def _collect(self, wanted: Wanted, at_ms: int) -> Iterator[tuple[str, str]]:
        router, dialect = self._router, wanted.dialect
        endpoints = [
            endpoint
            for endpoint in router.endpoints
            if endpoint.dialect == dialect and wanted.provider in {None, endpoint.provider}
        ]
        exact = [name for endpoint in endpoints for name in endpoint.models if not name.endswith("*")]
        for name in (*router.aliases, *exact):
            routes = router.priced((dialect, wanted.provider, name, False), at_ms)[1]
            if routes:
                yield name, routes[0].endpoint.provider
        for endpoint in endpoints:
            yield from ((name, endpoint.provider) for name in self._expanded(endpoint))

    def _expanded(self, endpoint: Endpoint) -> Iterator[str]:
        """The names that a provider's patterns stand for, as far as the price book knows them."""
        prefixes = tuple(pattern[:-1] for pattern in endpoint.models if pattern.endswith("*"))
        prices = self._router.prices
        book = prices.book_provider(endpoint.provider) if prefixes else None
        if book is not None:
            for entry in prices.shipped.entries(book):
                if entry.model.startswith(prefixes) and (entry.usd or entry.periods):
                    yield entry.model


def _listed(dialect: str, names: Mapping[str, str]) -> dict[str, Any]:
    models = [_described(dialect, name, owner) for name, owner in names.items()]
    if dialect == "anthropic":
        first, last = (models[0]["id"], models[-1]["id"]) if models else (None, None)
        return {"data": models, "has_more": False, "first_id": first, "last_id": last}
    if dialect in {"gemini", "cohere"}:
        return {"models": models}
    return {"object": "list", "data": models}


def _described(dialect: str, name: str, owner: str) -> dict[str, Any]:
    if dialect == "anthropic":
        return {"type": "model", "id": name, "display_name": name, "created_at": _UNKNOWN_SINCE}
    if dialect == "gemini":
        full = name if name.startswith(("models/", "tunedModels/")) else f"models/{name}"
        return {"name": full, "displayName": name, "version": "", "supportedGenerationMethods": _GEMINI_METHODS}
    if dialect == "cohere":
        return {"name": name}
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}
