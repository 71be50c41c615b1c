"""Every metered operation, and what may travel between a client and a provider: header and query names, by dialect.

A compatible provider is a row (`rows`); code is only where behaviour differs. Nothing a client sends chooses a credential: its own
is never on an allow-list, and neither are the headers that select an organisation or a project of the provider's account.
Header names are lower-case bytes.
"""

from collections.abc import Mapping
from typing import Any

from proxy.providers.anthropic_messages import OPERATIONS as ANTHROPIC
from proxy.providers.azure_openai import OPERATIONS as AZURE
from proxy.providers.bedrock_operations import OPERATIONS as BEDROCK
from proxy.providers.cohere_operations import OPERATIONS as COHERE
from proxy.providers.dialect import Operation
from proxy.providers.gemini_paths import OPERATIONS as GOOGLE
from proxy.providers.openai_operations import OPERATIONS as OPENAI
from proxy.providers.rows import PROVIDERS, CredentialStyle, Row

Header = tuple[bytes, bytes]

OPERATIONS: tuple[Operation, ...] = (*OPENAI, *AZURE, *ANTHROPIC, *BEDROCK, *COHERE, *GOOGLE)
"""Every metered path. What is not here is not open."""


# How a key is sent, by the dialect that it is for, where the provider's row does not say otherwise.
_CREDENTIALS: Mapping[str, CredentialStyle] = {
    "openai": "bearer",
    "anthropic": "x-api-key",
    "gemini": "x-goog-api-key",
    "vertex": "x-goog-api-key",
    "azure": "api-key",
    "bedrock": "bearer",
    "cohere": "bearer",
}

_COMMON = frozenset((b"accept", b"content-type", b"traceparent", b"tracestate", b"user-agent"))
_OPENAI = _COMMON | {b"idempotency-key", b"openai-beta", b"x-client-request-id"}
_GOOGLE = _COMMON | {b"x-goog-api-client", b"x-server-timeout"}
_REQUEST_HEADERS = {
    "openai": _OPENAI,
    "azure": _OPENAI | {b"x-ms-client-request-id"},
    "anthropic": _COMMON | {b"anthropic-beta", b"anthropic-version"},
    "gemini": _GOOGLE,
    "vertex": _GOOGLE | {b"anthropic-beta"},
    "bedrock": _COMMON | {b"x-amzn-bedrock-accept"},
    "cohere": _COMMON | {b"x-client-name"},
}
_JSON: Header = (b"content-type", b"application/json")
# What a provider requires and some clients leave out.
_DEFAULTS: dict[str, tuple[Header, ...]] = {"anthropic": (_JSON, (b"anthropic-version", b"2023-06-01"))}
_LISTS = frozenset(("after", "before", "limit", "order"))
_STORED = _LISTS | {"include", "include[]", "include_obfuscation", "starting_after", "stream"}
_ALT = frozenset(("alt", "$alt"))
_QUERY = {
    "openai": _STORED,
    "azure": _STORED | {"api-version"},
    "anthropic": frozenset(("beta",)),
    "gemini": _ALT,
    "vertex": _ALT,
}

# Framing is ours to say, a redirect would lead the client and its key past us, limits and identity of the provider's account
# are nobody's, and no provider speaks for Farebox.
_DROPPED = frozenset(
    (
        *(b"alt-svc", b"connection", b"content-length", b"keep-alive", b"proxy-authenticate", b"proxy-connection"),
        *(b"location", b"refresh"),
        *(b"strict-transport-security", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"nel", b"report-to", b"set-cookie", b"set-cookie2", b"www-authenticate"),
        *(
            b"anthropic-organization-id",
            b"openai-organization",
            b"openai-project",
            b"x-amzn-trace-id",
            b"x-goog-user-project",
        ),
        *(b"x-ms-region", b"x-ms-deployment-name", b"azureml-model-session", b"x-clerk-auth-status", b"server"),
    )
)
_DROPPED_PREFIXES = (
    b"x-ratelimit-",
    b"anthropic-ratelimit-",
    b"anthropic-priority-",
    b"anthropic-fast-",
    b"ratelimit",
    b"x-rate-limit",
    b"x-endpoint-monthly-call-",
    b"x-trial-endpoint-call-",
    b"x-farebox-",
)


def known_providers() -> dict[str, dict[str, Any]]:
    """Provider -> its defaults as the configuration spells them."""
    return {name: _defaults(row) for name, row in PROVIDERS.items()}


def _defaults(row: Row) -> dict[str, Any]:
    urls = dict(row.base_urls)
    defaults: dict[str, Any] = {"dialect": row.dialect, "models": list(row.models)}
    defaults["base_url"] = urls if len(urls) > 1 else urls[row.dialect]
    if row.region:
        defaults["region"] = row.region
    return defaults | {"api_key": ""} if row.key_optional else defaults


def allowed_request_headers(dialect: str, provider: str = "") -> frozenset[bytes]:
    """The client's headers that a provider gets to see."""
    row = PROVIDERS.get(provider)
    allowed = _REQUEST_HEADERS.get(dialect, _COMMON)
    return allowed if row is None else allowed | row.headers


def default_headers(dialect: str) -> tuple[Header, ...]:
    """What is added where the client did not send it."""
    return _DEFAULTS.get(dialect, (_JSON,))


def allowed_query(dialect: str, provider: str = "") -> frozenset[str]:
    """The client's query members that a provider gets to see."""
    row = PROVIDERS.get(provider)
    allowed = _QUERY.get(dialect, frozenset())
    return allowed if row is None else allowed | row.query


def credential_headers(provider: str, dialect: str, api_key: str) -> list[Header]:
    """Our key as this provider wants it; nothing for a provider without one."""
    if not api_key:
        return []
    row = PROVIDERS.get(provider)
    own = row.credential.get(dialect) if row is not None else None
    style = own or _CREDENTIALS.get(dialect, "bearer")
    if style == "bearer":
        return [(b"authorization", b"Bearer " + api_key.encode())]
    return [(style.encode(), api_key.encode())]


def drop_response_header(name: bytes) -> bool:
    """Whether a header of the provider's answer stays here."""
    lower = name.lower()
    return lower in _DROPPED or lower.startswith(_DROPPED_PREFIXES)
