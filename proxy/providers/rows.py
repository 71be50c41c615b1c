"""Known providers as rows of data: where they are, how they take their key, and which names mean their models.

A row's URL is what that provider's own SDK (or OpenAI's, for those that copied its API) is given as base URL. `models` is
what the provider serves where the configuration does not say: a trailing `*` matches the rest, and of several providers
that match a name equally well those serve it that have a price for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CredentialStyle = Literal["bearer", "x-api-key", "api-key", "x-goog-api-key"]


@dataclass(frozen=True, slots=True)
class Row:
    """A provider that needs only its API key in the configuration.

    `base_urls`: dialect -> URL, its own dialect first; `{region}` and `{location}` stand for settings, and an empty URL has
    to be configured. `credential`: dialect -> style, where it is not the dialect's own. `headers` and `query` are names
    that this provider understands beside its dialects' own. `key_optional`: it can be used without a key. `region`: where
    it is, unless the configuration says so.
    """

    base_urls: Mapping[str, str]
    models: tuple[str, ...] = ("*",)
    credential: Mapping[str, CredentialStyle] = field(default_factory=dict)
    headers: frozenset[bytes] = frozenset()
    query: frozenset[str] = frozenset()
    key_optional: bool = False
    region: str = ""

    @property
    def dialect(self) -> str:
        """Its own dialect."""
        return next(iter(self.base_urls))


PROVIDERS: Mapping[str, Row] = {
    # https://platform.openai.com/docs/api-reference/authentication
    "openai": Row(
        {"openai": "https://api.openai.com/v1"},
        (
            *(
                "gpt-*",
                "chatgpt-*",
                "o1*",
                "o3*",
                "o4*",
                "ft:gpt-*",
                "codex-*",
                "text-embedding-*",
                "omni-moderation-*",
            ),
            *(
                "text-moderation-*",
                "dall-e-*",
                "tts-*",
                "whisper-*",
                "davinci-*",
                "babbage-*",
                "computer-use-*",
                "sora-*",
            ),
        ),
    ),
    # https://docs.anthropic.com/en/api/overview
    "anthropic": Row({"anthropic": "https://api.anthropic.com"}, ("claude-*",)),
    # https://ai.google.dev/api, https://ai.google.dev/gemini-api/docs/openai
    "gemini": Row(
        {
            "gemini": "https://generativelanguage.googleapis.com",
            "openai": "https://generativelanguage.googleapis.com/v1beta/openai",
        },
        ("gemini-*", "models/gemini-*", "gemma-*", "imagen-*", "veo-*", "text-embedding-004", "embedding-001"),
        {"openai": "bearer"},
    ),
    # https://cloud.google.com/vertex-ai/docs/reference/rest
    "vertex": Row(
        {"vertex": "https://{location}-aiplatform.googleapis.com"},
        ("gemini-*", "text-embedding-*", "text-multilingual-embedding-*", "claude-*"),
    ),
    # https://learn.microsoft.com/en-us/azure/ai-services/openai/reference; the resource's own address has to be configured.
    "azure": Row({"azure": ""}, credential={"openai": "api-key"}),
    # https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html
    "bedrock": Row({"bedrock": "https://bedrock-runtime.{region}.amazonaws.com"}, region="us-east-1"),
    # https://docs.cohere.com/reference/about, https://docs.cohere.com/docs/compatibility-api
    "cohere": Row(
        {"cohere": "https://api.cohere.com", "openai": "https://api.cohere.com/compatibility/v1"},
        ("command*", "embed-*", "rerank-*", "c4ai-*"),
    ),
    # https://docs.voyageai.com/reference/embeddings-api
    "voyage": Row({"openai": "https://api.voyageai.com/v1"}, ("voyage-*", "rerank-2*", "rerank-lite-1")),
    # https://console.groq.com/docs/openai
    "groq": Row({"openai": "https://api.groq.com/openai/v1"}),
    # https://docs.mistral.ai/api
    "mistral": Row(
        {"openai": "https://api.mistral.ai/v1"},
        (
            *("mistral-*", "ministral-*", "magistral-*", "codestral-*", "devstral-*", "pixtral-*", "voxtral-*"),
            *("open-mistral-*", "open-mixtral-*", "open-codestral-*"),
        ),
    ),
    # https://api-docs.deepseek.com, https://api-docs.deepseek.com/guides/anthropic_api
    "deepseek": Row(
        {"openai": "https://api.deepseek.com", "anthropic": "https://api.deepseek.com/anthropic"}, ("deepseek-*",)
    ),
    # https://docs.x.ai/docs/api-reference
    "xai": Row({"openai": "https://api.x.ai/v1"}, ("grok-*",), headers=frozenset((b"x-grok-conv-id",))),
    # https://openrouter.ai/docs/api-reference/overview
    "openrouter": Row({"openai": "https://openrouter.ai/api/v1"}, headers=frozenset((b"http-referer", b"x-title"))),
    # https://docs.together.ai/docs/openai-api-compatibility
    "together": Row({"openai": "https://api.together.xyz/v1"}),
    # https://docs.fireworks.ai/tools-sdks/openai-compatibility
    "fireworks": Row({"openai": "https://api.fireworks.ai/inference/v1"}, headers=frozenset((b"x-session-affinity",))),
    # https://inference-docs.cerebras.ai/resources/openai
    "cerebras": Row({"openai": "https://api.cerebras.ai/v1"}),
    # https://docs.perplexity.ai/guides/chat-completions-guide
    "perplexity": Row({"openai": "https://api.perplexity.ai"}, ("sonar*", "r1-1776")),
    # https://platform.moonshot.ai/docs/api/chat, https://platform.moonshot.ai/docs/guide/agent-support
    "moonshot": Row(
        {"openai": "https://api.moonshot.ai/v1", "anthropic": "https://api.moonshot.ai/anthropic"},
        ("kimi-*", "moonshot-*"),
        {"anthropic": "bearer"},
    ),
    # https://docs.z.ai/api-reference/introduction
    "zai": Row(
        {"openai": "https://api.z.ai/api/paas/v4", "anthropic": "https://api.z.ai/api/anthropic"},
        ("glm-*", "GLM-*"),
    ),
    # https://huggingface.co/docs/inference-providers/index
    "huggingface": Row({"openai": "https://router.huggingface.co/v1"}),
    # https://docs.api.nvidia.com/nim/reference/llm-apis
    "nvidia": Row({"openai": "https://integrate.api.nvidia.com/v1"}),
    # Servers of one's own: https://docs.ollama.com/api/openai-compatibility,
    # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html,
    # https://github.com/ggml-org/llama.cpp/tree/master/tools/server, https://lmstudio.ai/docs/developer/openai-compat
    "ollama": Row({"openai": "http://127.0.0.1:11434/v1"}, key_optional=True),
    "vllm": Row({"openai": "http://127.0.0.1:8000/v1"}, key_optional=True),
    "llama.cpp": Row({"openai": "http://127.0.0.1:8080/v1"}, key_optional=True),
    "lm-studio": Row({"openai": "http://127.0.0.1:1234/v1"}, key_optional=True),
}
