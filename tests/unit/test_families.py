import pytest

from proxy.providers.families import OTHER, family_of


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o", "openai"),
        ("gpt-4.1-mini", "openai"),
        ("ft:gpt-4o-mini:acme::1", "openai"),
        ("gpt-5.2", "openai-reasoning"),
        ("o3-mini", "openai-reasoning"),
        ("openai/o3", "openai-reasoning"),
        ("openai/gpt-oss-120b", "gpt-oss"),
        ("openai.gpt-oss-120b-1:0", "gpt-oss"),
        ("claude-sonnet-4-0", "claude-4"),
        ("claude-sonnet-4-5-20250929", "claude"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude"),
        ("anthropic/claude-opus-4-8", "claude"),
        ("gemini-2.0-flash", "gemini-2.0"),
        ("google/gemini-2.5-flash", "gemini"),
        ("google.gemma-3-27b-it", "gemini"),
        ("us.amazon.nova-micro-v1:0", "nova"),
        ("mistral-large-latest", "mistral"),
        ("meta-llama/llama-4-scout-17b-16e-instruct", "llama-4"),
        ("us.meta.llama4-maverick-17b-instruct-v1:0", "llama-4"),
        ("llama-3.3-70b-versatile", "llama"),
        ("deepseek-ai/DeepSeek-R1", "deepseek"),
        ("command-r7b-12-2024", "cohere"),
        ("text-embedding-3-small", "embedding"),
        ("sim-slow", "openai"),
        ("qwen3-32b", "other"),
        ("", "other"),
        ("proto1-chat", "other"),
    ],
)
def test_families_by_model(model: str, family: str) -> None:
    assert family_of(model).name == family


def test_only_families_of_a_vendored_encoding_are_exact() -> None:
    exact = [family_of(model) for model in ("gpt-4o", "gpt-5", "gpt-oss-20b", "text-embedding-3-large")]
    assert all(family.exact and family.text_percent == 100 for family in exact)
    assert not OTHER.exact
    assert not any(family_of(model).exact for model in ("claude-opus-4-6", "gemini-2.5-pro", "embed-v4.0"))
