"""Known providers as rows of data: where they are, how they take their key, and which names mean their models.

A row's URL is what that provider's own SDK (or OpenAI's, for those that copied its API) is given as base URL. `models` is
what the provider serves where the configuration does not say: a trailing `*` matches the rest, and of several providers
that match a name equally well those serve it that have a price for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CredentialStyle = Literal["bearer", "x-api-key", "api-key", "x-goog-api-key"]
Names = tuple[str, ...] | None
"""The names under which a server obeys a token limit, the one to send first; None where nothing is known of it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A provider that needs only its API key in the configuration.

    `base_urls`: dialect -> URL, its own dialect first; `{region}` and `{location}` stand for settings, and an empty URL has
    to be configured. `credential`: dialect -> style, where it is not the dialect's own. `headers` and `query` are names
    that this provider understands beside its dialects' own. `key_optional`: it can be used without a key. `region`: where
    it is, unless the configuration says so. `token_limits`: under which names its chat completions obey a token limit, the
    one to send first; empty where none bounds the whole answer, None where that is not known, or where they are not served.
    """

    base_urls: Mapping[str, str]
    models: tuple[str, ...] = ("*",)
    credential: Mapping[str, CredentialStyle] = field(default_factory=dict)
    headers: frozenset[bytes] = frozenset()
    query: frozenset[str] = frozenset()
    key_optional: bool = False
    region: str = ""
    token_limits: Names = None

    @property
    def dialect(self) -> str:
        """Its own dialect."""
        return next(iter(self.base_urls))


_OLDER = ("max_tokens",)
_BOTH = ("max_tokens", "max_completion_tokens")
_NEWER_FIRST = ("max_completion_tokens", "max_tokens")

PROVIDERS: Mapping[str, Row] = {
    # https://platform.openai.com/docs/api-reference/authentication; its reasoning models refuse `max_tokens`:
    # https://platform.openai.com/docs/api-reference/chat/create#chat-create-max_completion_tokens
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
        token_limits=_NEWER_FIRST,
    ),
    # https://docs.anthropic.com/en/api/overview
    "anthropic": Row({"anthropic": "https://api.anthropic.com"}, ("claude-*",)),
    # https://ai.google.dev/api, https://ai.google.dev/gemini-api/docs/openai; the newer limit is an alias of the older one:
    # https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/call-vertex-using-openai-library
    "gemini": Row(
        {
            "gemini": "https://generativelanguage.googleapis.com",
            "openai": "https://generativelanguage.googleapis.com/v1beta/openai",
        },
        ("gemini-*", "models/gemini-*", "gemma-*", "imagen-*", "veo-*", "text-embedding-004", "embedding-001"),
        {"openai": "bearer"},
        token_limits=_BOTH,
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
    # https://docs.cohere.com/reference/about, https://docs.cohere.com/docs/compatibility-api (its list of parameters has the
    # older limit only)
    "cohere": Row(
        {"cohere": "https://api.cohere.com", "openai": "https://api.cohere.com/compatibility/v1"},
        ("command*", "embed-*", "rerank-*", "c4ai-*"),
        token_limits=_OLDER,
    ),
    # https://docs.voyageai.com/reference/embeddings-api
    "voyage": Row({"openai": "https://api.voyageai.com/v1"}, ("voyage-*", "rerank-2*", "rerank-lite-1")),
    # https://console.groq.com/docs/openai, https://console.groq.com/docs/api-reference#chat-create
    "groq": Row({"openai": "https://api.groq.com/openai/v1"}, token_limits=_NEWER_FIRST),
    # https://docs.mistral.ai/api (a newer limit is refused as an extra input)
    "mistral": Row(
        {"openai": "https://api.mistral.ai/v1"},
        (
            *("mistral-*", "ministral-*", "magistral-*", "codestral-*", "devstral-*", "pixtral-*", "voxtral-*"),
            *("open-mistral-*", "open-mixtral-*", "open-codestral-*"),
        ),
        token_limits=_OLDER,
    ),
    # https://api-docs.deepseek.com, https://api-docs.deepseek.com/guides/anthropic_api; the limit:
    # https://api-docs.deepseek.com/api/create-chat-completion, https://github.com/mozilla-ai/any-llm/pull/868
    "deepseek": Row(
        {"openai": "https://api.deepseek.com", "anthropic": "https://api.deepseek.com/anthropic"},
        ("deepseek-*",),
        token_limits=_OLDER,
    ),
    # https://docs.x.ai/docs/api-reference; the limit there "only applies to visible output tokens", not to reasoning:
    # https://docs.x.ai/developers/rest-api-reference/inference/chat-completions
    "xai": Row(
        {"openai": "https://api.x.ai/v1"}, ("grok-*",), headers=frozenset((b"x-grok-conv-id",)), token_limits=()
    ),
    # https://openrouter.ai/docs/api-reference/overview, https://openrouter.ai/docs/api-reference/parameters; recorded answers
    # stop at either limit.
    "openrouter": Row(
        {"openai": "https://openrouter.ai/api/v1"},
        headers=frozenset((b"http-referer", b"x-title")),
        token_limits=_BOTH,
    ),
    # https://docs.together.ai/docs/openai-api-compatibility, https://docs.together.ai/reference/chat-completions-1
    "together": Row({"openai": "https://api.together.xyz/v1"}, token_limits=_OLDER),
    # https://docs.fireworks.ai/tools-sdks/openai-compatibility, https://docs.fireworks.ai/api-reference/post-chatcompletions
    # (the newer limit is an alias; both at once are refused)
    "fireworks": Row(
        {"openai": "https://api.fireworks.ai/inference/v1"},
        headers=frozenset((b"x-session-affinity",)),
        token_limits=_BOTH,
    ),
    # https://inference-docs.cerebras.ai/resources/openai, https://inference-docs.cerebras.ai/api-reference/chat-completions
    "cerebras": Row({"openai": "https://api.cerebras.ai/v1"}, token_limits=_NEWER_FIRST),
    # https://docs.perplexity.ai/guides/chat-completions-guide, https://docs.perplexity.ai/api-reference/chat-completions-post
    "perplexity": Row({"openai": "https://api.perplexity.ai"}, ("sonar*", "r1-1776"), token_limits=_OLDER),
    # https://platform.moonshot.ai/docs/api/chat, https://platform.moonshot.ai/docs/guide/agent-support
    "moonshot": Row(
        {"openai": "https://api.moonshot.ai/v1", "anthropic": "https://api.moonshot.ai/anthropic"},
        ("kimi-*", "moonshot-*"),
        {"anthropic": "bearer"},
        token_limits=_NEWER_FIRST,
    ),
    # https://docs.z.ai/api-reference/introduction; the newer limit is passed over: https://github.com/earendil-works/pi/issues/7143
    "zai": Row(
        {"openai": "https://api.z.ai/api/paas/v4", "anthropic": "https://api.z.ai/api/anthropic"},
        ("glm-*", "GLM-*"),
        token_limits=_OLDER,
    ),
    # https://huggingface.co/docs/inference-providers/index, https://huggingface.co/docs/inference-providers/tasks/chat-completion
    "huggingface": Row({"openai": "https://router.huggingface.co/v1"}, token_limits=_OLDER),
    # https://docs.api.nvidia.com/nim/reference/llm-apis (the older limit in each model's reference)
    "nvidia": Row({"openai": "https://integrate.api.nvidia.com/v1"}, token_limits=_OLDER),
    # Servers of one's own: https://docs.ollama.com/api/openai-compatibility,
    # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html,
    # https://github.com/ggml-org/llama.cpp/tree/master/tools/server, https://lmstudio.ai/docs/developer/openai-compat.
    # Ollama's requests have no newer limit (https://github.com/ollama/ollama/blob/main/openai/openai.go), llama.cpp's since
    # February 2026 (https://github.com/ggml-org/llama.cpp/pull/19831): an older one passes over it.
    "ollama": Row({"openai": "http://127.0.0.1:11434/v1"}, key_optional=True, token_limits=_OLDER),
    "vllm": Row({"openai": "http://127.0.0.1:8000/v1"}, key_optional=True, token_limits=_NEWER_FIRST),
    "llama.cpp": Row(
        {"openai": "http://127.0.0.1:8080/v1"}, key_optional=True, token_limits=("max_tokens", "n_predict")
    ),
    "lm-studio": Row({"openai": "http://127.0.0.1:1234/v1"}, key_optional=True, token_limits=_OLDER),
}
