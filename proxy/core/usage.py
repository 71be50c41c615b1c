"""Usage of one call: disjoint counters. A counter that is absent is unknown or was not used; zero is a reported zero."""

from collections.abc import Mapping
from dataclasses import dataclass, field

INPUT_COUNTERS = (
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "input_audio",
    "cache_read_audio",
    "input_image",
    "input_video",
)
OUTPUT_COUNTERS = ("output", "reasoning", "output_audio", "output_image", "output_video")
TOKEN_COUNTERS = INPUT_COUNTERS + OUTPUT_COUNTERS
# What is billed in something else than tokens. None of these is a part of the token sums.
UNIT_COUNTERS = (
    "requests",
    "input_seconds",
    "input_characters",
    "output_images",
    "output_seconds",
    "search_units",
    "web_searches",
    "file_searches",
    "code_sessions",
)
COUNTERS = TOKEN_COUNTERS + UNIT_COUNTERS
_INPUT, _OUTPUT = frozenset(INPUT_COUNTERS), frozenset(OUTPUT_COUNTERS)

# Above any real call (the largest context windows hold 10^7 tokens): a larger figure is not believed.
MAX_COUNT = 1_000_000_000


@dataclass(slots=True)  # not frozen: that would double what it costs to make one, and each call makes its own
class Usage:
    """Tokens and units by counter. `input` excludes everything cached, `output` excludes reasoning: each token counts once.

    A unit (a second of audio, a character, an image, a search) is priced like a token and is in no sum of tokens.
    """

    counters: Mapping[str, int] = field(default_factory=dict)

    @property
    def input_tokens(self) -> int:
        """All input tokens, cached ones included."""
        return self.sides()[0]

    @property
    def output_tokens(self) -> int:
        """All output tokens, reasoning included."""
        return self.sides()[1]

    def sides(self) -> tuple[int, int]:
        """All tokens of the input, and all of the output."""
        input_tokens = output_tokens = 0
        for name, tokens in self.counters.items():
            if name in _INPUT:
                input_tokens += tokens
            elif name in _OUTPUT:
                output_tokens += tokens
        return input_tokens, output_tokens

    @property
    def total_tokens(self) -> int:
        """Input and output together, what a tokens-per-minute limit counts."""
        return sum(self.sides())
