"""Providers as rows of data, and what may travel between a client and a provider: header and query names, by dialect.

A compatible provider is a row; code is only where behaviour differs. Nothing a client sends chooses a credential: its own
is never on an allow-list, and neither are the headers that select an organisation or a project of the provider's account.
Header names are lower-case bytes.
"""

from dataclasses import dataclass
from typing import Any, Literal

from proxy.providers.anthropic_messages import Messages
from proxy.providers.dialect import Operation
from proxy.providers.openai_chat import ChatCompletions

Header = tuple[bytes, bytes]
CredentialStyle = Literal["bearer", "x-api-key", "api-key", "x-goog-api-key"]

OPERATIONS: tuple[Operation, ...] = (ChatCompletions(), Messages())
"""Every metered path. What is not here is not open."""


@dataclass(frozen=True, slots=True)
class Row:
    """A provider that needs only its API key in the configuration. `base_url` is what its SDK is given.

    `models` is what it serves where the configuration does not say; a trailing `*` matches the rest.
    """

    dialect: str
    base_url: str
    credential: CredentialStyle
    models: tuple[str, ...]


PROVIDERS = {
    "openai": Row(
        "openai", "https://api.openai.com/v1", "bearer", ("gpt-*", "chatgpt-*", "o1*", "o3*", "o4*", "ft:gpt-*")
    ),
    "anthropic": Row("anthropic", "https://api.anthropic.com", "x-api-key", ("claude-*",)),
}

# How a provider without a row of its own takes its key, by the dialect that it speaks.
_CREDENTIALS: dict[str, CredentialStyle] = {"openai": "bearer", "anthropic": "x-api-key"}

_COMMON = frozenset((b"accept", b"content-type", b"traceparent", b"tracestate", b"user-agent"))
_REQUEST_HEADERS = {
    "openai": _COMMON | {b"idempotency-key", b"openai-beta"},
    "anthropic": _COMMON | {b"anthropic-beta", b"anthropic-version"},
}
# What a provider requires and some clients leave out.
_DEFAULTS: dict[str, tuple[Header, ...]] = {
    "openai": ((b"content-type", b"application/json"),),
    "anthropic": ((b"content-type", b"application/json"), (b"anthropic-version", b"2023-06-01")),
}
_QUERY = {"anthropic": frozenset(("beta",))}

# Framing is ours to say, limits and identity of the provider's account are nobody's, and no provider speaks for Farebox.
_DROPPED = frozenset(
    (
        *(b"alt-svc", b"connection", b"content-length", b"keep-alive", b"proxy-authenticate", b"proxy-connection"),
        *(b"strict-transport-security", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"nel", b"report-to", b"set-cookie", b"set-cookie2", b"www-authenticate"),
        *(b"anthropic-organization-id", b"openai-organization", b"openai-project"),
    )
)
_DROPPED_PREFIXES = (
    b"x-ratelimit-",
    b"anthropic-ratelimit-",
    b"anthropic-priority-",
    b"anthropic-fast-",
    b"x-farebox-",
)


def known_providers() -> dict[str, dict[str, Any]]:
    """Provider -> its defaults as the configuration spells them."""
    return {
        name: {"dialect": row.dialect, "base_url": row.base_url, "models": list(row.models)}
        for name, row in PROVIDERS.items()
    }


def allowed_request_headers(dialect: str) -> frozenset[bytes]:
    """The client's headers that a provider of this dialect gets to see."""
    return _REQUEST_HEADERS.get(dialect, _COMMON)


def default_headers(dialect: str) -> tuple[Header, ...]:
    """What is added where the client did not send it."""
    return _DEFAULTS.get(dialect, ())


def allowed_query(dialect: str) -> frozenset[str]:
    """The client's query members that a provider of this dialect gets to see."""
    return _QUERY.get(dialect, frozenset())


def credential_headers(provider: str, dialect: str, api_key: str) -> list[Header]:
    """Our key as this provider wants it; nothing for a provider without one."""
    if not api_key:
        return []
    row = PROVIDERS.get(provider)
    style = row.credential if row is not None and row.dialect == dialect else _CREDENTIALS.get(dialect, "bearer")
    if style == "bearer":
        return [(b"authorization", b"Bearer " + api_key.encode())]
    return [(style.encode(), api_key.encode())]


def drop_response_header(name: bytes) -> bool:
    """Whether a header of the provider's answer stays here."""
    lower = name.lower()
    return lower in _DROPPED or lower.startswith(_DROPPED_PREFIXES)
