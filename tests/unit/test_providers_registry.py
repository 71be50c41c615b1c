import pytest

from proxy.config import parse_config
from proxy.provider_config import DIALECTS as PROVIDER_DIALECTS
from proxy.providers.registry import (
    OPERATIONS,
    PROVIDERS,
    allowed_query,
    allowed_request_headers,
    credential_headers,
    default_headers,
    drop_response_header,
    known_providers,
)


def test_every_row_has_an_address_with_tls_or_is_at_home() -> None:
    for name, row in PROVIDERS.items():
        for dialect, url in row.base_urls.items():
            assert dialect in PROVIDER_DIALECTS, name
            assert not url.endswith("/"), name
            if name == "azure":
                assert not url, "a resource has an address of its own"
            elif row.key_optional:
                assert url.startswith("http://127.0.0.1:"), name
            else:
                assert url.startswith("https://"), name
        assert row.models, name
    assert known_providers()["openai"]["base_url"] == "https://api.openai.com/v1"


def test_a_known_provider_needs_only_its_key_and_a_local_one_not_even_that() -> None:
    names = [name for name in PROVIDERS if name != "azure"]
    text = "".join(
        f'[providers."{name}"]\n' + ("" if PROVIDERS[name].key_optional else "api_key = 'k'\n") for name in names
    )
    config = parse_config(text, known_providers=known_providers())
    for name in names:
        assert set(config.providers[name].endpoints()) == set(PROVIDERS[name].base_urls)
    assert config.providers["bedrock"].endpoints() == {"bedrock": "https://bedrock-runtime.us-east-1.amazonaws.com"}
    assert config.providers["vertex"].endpoints() == {"vertex": "https://aiplatform.googleapis.com"}
    assert config.providers["ollama"].every_key() == [""]


def test_places_stand_in_addresses() -> None:
    config = parse_config(
        "[providers.bedrock]\napi_key = 'k'\nregion = 'eu-west-1'\n[providers.vertex]\napi_key = 'k'\nlocation = 'europe-west4'",
        known_providers=known_providers(),
    )
    assert config.providers["bedrock"].endpoints() == {"bedrock": "https://bedrock-runtime.eu-west-1.amazonaws.com"}
    assert config.providers["vertex"].endpoints() == {"vertex": "https://europe-west4-aiplatform.googleapis.com"}


def test_another_address_is_of_the_provider_s_own_dialect() -> None:
    config = parse_config(
        "[providers.deepseek]\napi_key = 'k'\nbase_url = 'http://127.0.0.1:1'", known_providers=known_providers()
    )
    assert config.providers["deepseek"].endpoints() == {"openai": "http://127.0.0.1:1"}


def test_shared_paths_are_the_sdks_paths() -> None:
    shared = {path.shared for operation in OPERATIONS for path in operation.paths}
    assert {"/v1/chat/completions", "/v1/messages"} <= shared
    assert all(path is None or path.startswith(("/v1", "/v2", "/model/", "/openai/")) for path in shared)


@pytest.mark.parametrize("dialect", [*sorted(PROVIDER_DIALECTS), "unknown"])
@pytest.mark.parametrize(
    "name",
    [
        *(b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"proxy-authorization", b"cookie", b"host"),
        *(b"connection", b"transfer-encoding", b"content-length", b"expect", b"te", b"upgrade", b"accept-encoding"),
        *(b"openai-organization", b"openai-project", b"x-forwarded-for", b"x-farebox-tags", b"forwarded"),
    ],
)
def test_no_credential_framing_or_account_of_the_clients_goes_out(dialect: str, name: bytes) -> None:
    assert name not in allowed_request_headers(dialect)


def test_what_sdks_need_goes_out() -> None:
    assert {b"content-type", b"accept", b"traceparent"} <= allowed_request_headers("openai")
    assert {b"anthropic-version", b"anthropic-beta"} <= allowed_request_headers("anthropic")
    assert (b"anthropic-version", b"2023-06-01") in default_headers("anthropic")
    assert allowed_query("anthropic") == {"beta"}
    assert allowed_query("gemini") == {"alt", "$alt"}
    assert "api-version" in allowed_query("azure")
    assert "api-version" not in allowed_query("openai")
    assert not any("key" in allowed_query(dialect) for dialect in PROVIDER_DIALECTS)
    for dialect in PROVIDER_DIALECTS:
        assert {name for name, _ in default_headers(dialect)} <= allowed_request_headers(dialect)
    assert b"x-title" in allowed_request_headers("openai", "openrouter")
    assert b"x-title" not in allowed_request_headers("openai", "openai")


def test_the_credential_is_sent_as_the_provider_wants_it() -> None:
    assert credential_headers("openai", "openai", "k") == [(b"authorization", b"Bearer k")]
    assert credential_headers("anthropic", "anthropic", "k") == [(b"x-api-key", b"k")]
    assert credential_headers("local", "openai", "k") == [(b"authorization", b"Bearer k")]
    assert credential_headers("local", "anthropic", "k") == [(b"x-api-key", b"k")]
    assert credential_headers("local", "openai", "") == []
    assert credential_headers("azure", "azure", "k") == [(b"api-key", b"k")]
    assert credential_headers("gemini", "gemini", "k") == [(b"x-goog-api-key", b"k")]
    assert credential_headers("gemini", "openai", "k") == [(b"authorization", b"Bearer k")]
    assert credential_headers("moonshot", "anthropic", "k") == [(b"authorization", b"Bearer k")]


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        (b"Set-Cookie", True),
        (b"openai-organization", True),
        (b"Anthropic-Organization-Id", True),
        (b"x-ratelimit-remaining-tokens", True),
        (b"anthropic-ratelimit-requests-limit", True),
        (b"x-farebox-charge", True),
        (b"Transfer-Encoding", True),
        (b"connection", True),
        (b"content-type", False),
        (b"content-encoding", False),
        (b"x-request-id", False),
        (b"request-id", False),
        (b"retry-after", False),
        (b"x-should-retry", False),
        (b"openai-processing-ms", False),
    ],
)
def test_answers_lose_what_is_the_providers_account_or_framing(name: bytes, dropped: bool) -> None:
    assert drop_response_header(name) is dropped
