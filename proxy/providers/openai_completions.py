"""OpenAI's legacy completions: https://platform.openai.com/docs/api-reference/completions/create.

A request may hold many prompts, as text or as token ids; each is answered `n` times, and the best of `best_of` where that is
more. Every candidate's tokens are billed. Answers have chat's usage and are metered as chat's are; what `echo` repeats of the
prompt is in no output figure.
"""

import msgspec

from proxy.providers.dialect import BILLED, NO_HEAD, Ask, Head, Path
from proxy.providers.openai_chat import MAX_CHOICES, ChatCompletions
from proxy.providers.openai_request import (
    LIMIT_NAMES,
    Inputs,
    model_of,
    read_inputs,
    read_others,
    read_output_limit,
    read_tier,
    usage_asked,
)
from proxy.providers.reading import read_count, read_switch, top_level
from proxy.providers.rows import Names
from proxy.providers.token_limits import LEGACY_NAMES, for_completions, with_named_limit
from proxy.providers.usage_reading import is_given

METERED = frozenset(
    ("model", "models", "prompt", "stream", "stream_options", "n", "best_of", "service_tier", *LIMIT_NAMES)
)
_NO_PROMPT = Inputs(1, [], 0, 0)


class Completions(ChatCompletions):
    """`POST /completions`."""

    paths: tuple[Path, ...] = (Path("/completions", "/v1/completions"),)
    billing = BILLED

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """What the request asks for."""
        members = top_level(body, METERED)
        model = model_of(members, head)
        candidates = max(
            read_count(members, "n", 1, MAX_CHOICES) or 1, read_count(members, "best_of", 1, MAX_CHOICES) or 1
        )
        prompts = _prompts(members)
        return Ask(
            model=model,
            stream=read_switch(members, "stream"),
            output_limit=read_output_limit({name: members[name] for name in LEGACY_NAMES if name in members}),
            choices=prompts.count * candidates,
            usage_asked=usage_asked(members),
            media_parts=prompts.media,
            service_tier=read_tier(members),
            others=read_others(members, model),
        )

    def clamp(self, body: bytes, limit: int, names: Names) -> bytes:
        """See `clamping.Clamps`."""
        return with_named_limit(body, limit, for_completions(names), LEGACY_NAMES)

    def prompt_text(self, body: bytes) -> str:
        """The prompts; of token ids, a text of as many tokens."""
        return _prompts(top_level(body, METERED)).text


def _prompts(members: dict[str, msgspec.Raw]) -> Inputs:
    """The prompts; none is OpenAI's beginning of a document."""
    raw = members.get("prompt")
    return _NO_PROMPT if raw is None or not is_given(raw) else read_inputs(raw, "prompt")
