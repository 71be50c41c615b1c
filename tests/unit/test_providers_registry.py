import pytest

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

DIALECTS = {operation.dialect for operation in OPERATIONS}


def test_every_row_has_a_metered_dialect_and_an_address_with_tls() -> None:
    for name, row in PROVIDERS.items():
        assert row.dialect in DIALECTS, name
        assert row.base_url.startswith("https://"), name
        assert not row.base_url.endswith("/"), name
        assert row.models, name
    assert known_providers()["openai"]["base_url"] == "https://api.openai.com/v1"


def test_shared_paths_are_the_sdks_paths() -> None:
    assert {operation.paths[0].shared for operation in OPERATIONS} == {"/v1/chat/completions", "/v1/messages"}


@pytest.mark.parametrize("dialect", [*sorted(DIALECTS), "unknown"])
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
    assert not allowed_query("openai")
    for dialect in DIALECTS:
        assert {name for name, _ in default_headers(dialect)} <= allowed_request_headers(dialect)


def test_the_credential_is_sent_as_the_provider_wants_it() -> None:
    assert credential_headers("openai", "openai", "k") == [(b"authorization", b"Bearer k")]
    assert credential_headers("anthropic", "anthropic", "k") == [(b"x-api-key", b"k")]
    assert credential_headers("local", "openai", "k") == [(b"authorization", b"Bearer k")]
    assert credential_headers("local", "anthropic", "k") == [(b"x-api-key", b"k")]
    assert credential_headers("local", "openai", "") == []


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
