"""Where a compatible provider differs from OpenAI in a way that its bytes alone do not tell.

What the bytes do tell needs no row here: `openai_usage` reads every name that providers give their figures, by rules that
hold for all of them. A provider is known by its name in the configuration; what follows a dash there is the operator's own
(`huggingface-novita`).
"""

from msgspec.structs import replace

from proxy.providers.dialect import Ask

# Servers that send a stream's usage in a chunk of its own unasked: their clients know it, so it is theirs to see, whoever
# asked. Hugging Face's router passes on what the servers behind it send (Novita's do, recorded); OpenRouter always sends it
# (https://openrouter.ai/docs/guides/administration/usage-accounting).
_USAGE_UNASKED = frozenset(("huggingface", "openrouter", "novita"))
# Mistral tells a stream's usage unasked too, with the last piece of the answer, and refuses a request that asks for it:
# 422 `extra_forbidden` at `stream_options.include_usage` (https://docs.mistral.ai/api/#tag/chat does not know that member).
_ASKING_REFUSED = frozenset(("mistral",))
_TOLD_UNASKED = _USAGE_UNASKED | _ASKING_REFUSED


def as_sent(ask: Ask, provider: str) -> Ask:
    """The ask by which a request is written: with `usage_asked` where Farebox must not ask for a stream's usage."""
    return _with_usage_asked(ask, provider, _ASKING_REFUSED) if ask.stream and not ask.usage_asked else ask


def as_metered(ask: Ask, provider: str) -> Ask:
    """The ask by which a provider's answer is metered: with `usage_asked` where its usage chunk is the caller's to see."""
    return _with_usage_asked(ask, provider, _TOLD_UNASKED) if ask.stream and not ask.usage_asked else ask


def _with_usage_asked(ask: Ask, provider: str, where: frozenset[str]) -> Ask:
    return replace(ask, usage_asked=True) if provider.partition("-")[0] in where else ask
