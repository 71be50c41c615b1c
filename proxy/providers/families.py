"""Families of tokenizers, and what each costs beside its text: the figures that estimates of input and output rest on.

Only OpenAI publishes its tokenizer, so only there a count is exact up to the hidden text around it. For every other family
the count by `o200k_base` is scaled. Percentages are whole numbers; constants are tokens. Where a provider documents a figure
the source stands beside it; the others are fitted to recorded usage, and `python -m bench.tokens` measures them again.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One tokenizer and the template around it. `names` are parts of model names, the first family that fits counts."""

    name: str
    names: tuple[str, ...]
    exact: bool = False
    """The tokenizer is one of the vendored encodings."""

    text_percent: int = 110
    message_tokens: int = 4
    """Of each message, its role included."""

    fixed_tokens: int = 5
    """Of each request."""

    tools_tokens: int = 0
    """Of a request that offers tools, beside their definitions."""

    tools_percent: int = 120
    """The definitions as compact JSON."""

    schemas_percent: int = 100
    """Of schemas that the answer is to follow, as compact JSON."""

    sealed_percent: int = 16
    """Of the characters of reasoning that came back sealed, in base64."""

    call_tokens: int = 12
    """Of each tool call in an answer, beside its name and arguments."""

    bound_percent: int = 200
    """What the estimate is multiplied by where it is to be a bound."""


_FAMILIES = (
    # Harmony writes a system message of its own: https://cookbook.openai.com/articles/openai-harmony
    Family(name="gpt-oss", names=("gpt-oss",), exact=True, text_percent=100, fixed_tokens=68, tools_percent=110),
    # https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken: three a message and one its role, three for
    # the start of the answer. Models that reason write tools into a message of the developer's.
    Family(
        name="openai-reasoning",
        names=("gpt-5", "o1", "o3", "o4"),
        exact=True,
        text_percent=100,
        fixed_tokens=3,
        tools_tokens=50,
        call_tokens=16,
        tools_percent=100,
        bound_percent=110,
    ),
    Family(
        name="openai",
        call_tokens=8,
        names=("gpt-", "chatgpt", "davinci", "babbage", "sim-"),
        exact=True,
        text_percent=100,
        fixed_tokens=3,
        tools_percent=100,
        bound_percent=110,
    ),
    # https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview#pricing: 346 tokens where tools are offered;
    # recordings of 4.5 and later have 150 more.
    Family(
        name="claude-4",
        names=("claude-3", "claude-sonnet-4-0", "claude-sonnet-4-2025", "claude-opus-4-0", "claude-opus-4-1"),
        text_percent=115,
        tools_tokens=346,
        call_tokens=40,
        tools_percent=115,
    ),
    Family(name="claude", names=("claude",), text_percent=115, tools_tokens=496, call_tokens=40, tools_percent=130),
    # https://ai.google.dev/gemini-api/docs/tokens: nothing but the text is counted; schemas steer the decoding for nothing.
    Family(
        name="gemini-2.0",
        names=("gemini-2.0", "gemini-1.5"),
        text_percent=100,
        message_tokens=0,
        fixed_tokens=0,
        tools_percent=30,
        schemas_percent=0,
        call_tokens=0,
    ),
    Family(
        name="gemini",
        names=("gemini", "gemma"),
        text_percent=100,
        message_tokens=0,
        fixed_tokens=0,
        tools_percent=95,
        schemas_percent=0,
        sealed_percent=21,
        call_tokens=2,
    ),
    Family(name="nova", names=("nova",), text_percent=125, message_tokens=0, fixed_tokens=0, tools_tokens=840),
    Family(
        name="mistral",
        names=("mistral", "ministral", "magistral", "codestral", "pixtral", "devstral"),
        tools_percent=150,
        call_tokens=3,
    ),
    Family(name="llama-4", names=("llama-4", "llama4"), message_tokens=4, tools_tokens=620, call_tokens=50),
    Family(name="llama", names=("llama",), fixed_tokens=30, tools_tokens=100),
    Family(name="deepseek-v4", names=("deepseek-v4",), fixed_tokens=80, tools_tokens=250),
    Family(name="deepseek", names=("deepseek",), tools_tokens=200),
    # https://docs.cohere.com/docs/how-does-cohere-pricing-work: billed units leave the template out.
    Family(name="cohere", names=("command",), text_percent=105, message_tokens=0, fixed_tokens=0, tools_percent=100),
    Family(
        name="embedding",
        names=("text-embedding-3", "text-embedding-ada"),
        exact=True,
        text_percent=100,
        message_tokens=0,
        fixed_tokens=0,
        bound_percent=110,
    ),
    Family(
        name="embedding-other",
        names=("embed-", "embedding", "voyage-"),
        text_percent=105,
        message_tokens=0,
        fixed_tokens=0,
    ),
)
OTHER = Family(name="other", names=())

# us.anthropic.claude-..., ft:gpt-4o:...; but not the point of gpt-4.1
_PREFIX = re.compile(r"[:.](?=[a-z])")


def family_of(model: str) -> Family:
    """The family of a model, by its own name or by one with a provider's prefix before it."""
    name = "-" + _PREFIX.sub("-", model.lower().rpartition("/")[2]) + "-"
    for family in _FAMILIES:
        if any(f"-{part}" in name for part in family.names):
            return family
    return OTHER
