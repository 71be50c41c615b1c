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


def as_metered(ask: Ask, provider: str) -> Ask:
    """The ask by which a provider's answer is metered: with `usage_asked` where its usage chunk is the caller's to see."""
    if ask.usage_asked or not ask.stream or provider.partition("-")[0] not in _USAGE_UNASKED:
        return ask
    return replace(ask, usage_asked=True)
