"""Anthropic's usage object, as counters; disjoint already. A stream's reports are cumulative: a later figure replaces an earlier.

Source: https://docs.anthropic.com/en/api/messages (usage) and /en/docs/build-with-claude/prompt-caching.
"""

import msgspec

from proxy.core.usage import Usage
from proxy.providers.usage_reading import UNREADABLE, Count, Unbelievable, part


class _CacheCreation(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: Count = None
    ephemeral_1h_input_tokens: Count = None


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: Count = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_creation: _CacheCreation | None = None
    output_tokens: Count = None
    output_tokens_details: _OutputDetails | None = None


_decode = msgspec.json.Decoder(_Usage).decode


class Report:
    """The figures of one answer as far as they were reported. One that is not believable spoils the report for good."""

    __slots__ = ("_figures", "_flag")

    def __init__(self) -> None:
        self._figures: dict[str, int] = {}
        self._flag: str | None = None

    def add(self, raw: msgspec.Raw) -> None:
        """Take over the figures of one usage object; those that it does not name stay."""
        try:
            reported = _decode(raw)
        except UNREADABLE as error:
            self._flag = f"usage not believed: {error}"
            return
        caches = reported.cache_creation or _CacheCreation()
        details = reported.output_tokens_details or _OutputDetails()
        given = {
            "input": reported.input_tokens,
            "read": reported.cache_read_input_tokens,
            "written": reported.cache_creation_input_tokens,
            "written_5m": caches.ephemeral_5m_input_tokens,
            "written_1h": caches.ephemeral_1h_input_tokens,
            "output": reported.output_tokens,
            "thinking": details.thinking_tokens,
        }
        self._figures |= {name: count for name, count in given.items() if count is not None}

    def read(self, *, final: bool) -> tuple[Usage | None, Usage | None, str | None]:
        """(usage, partial, flag): whole, or what is known of it, or why it is not believed.

        Before the first `message_delta` (`final` is false) the output is a placeholder and is left out.
        """
        if self._flag is not None:
            return None, None, self._flag
        figures = self._figures
        try:
            counters = self._input()
        except Unbelievable as error:
            self._flag = f"usage not believed: {error}"
            return None, None, self._flag
        if not final or "output" not in figures:
            return None, Usage(counters) if counters else None, None
        counters |= self._output()
        if "input" in figures:
            return Usage(counters), None, None
        return None, Usage(counters), None

    def _input(self) -> dict[str, int]:
        figures = self._figures
        counters = {}
        if "input" in figures:
            counters["input"] = figures["input"]
        if "read" in figures:
            counters["cache_read"] = figures["read"]
        if "written" in figures:
            hour = figures.get("written_1h", 0)
            # What the split by lifetime does not name was written for the default five minutes.
            part(figures["written"], hour, figures.get("written_5m", 0))
            counters["cache_write_5m"] = figures["written"] - hour
            counters["cache_write_1h"] = hour
        else:
            counters |= {
                f"cache_write_{life}": figures[f"written_{life}"]
                for life in ("5m", "1h")
                if f"written_{life}" in figures
            }
        return counters

    def _output(self) -> dict[str, int]:
        total = self._figures["output"]
        thinking = self._figures.get("thinking")
        if thinking is None:
            return {"output": total}
        thinking = min(thinking, total)  # a part cannot cost more than the whole
        return {"output": total - thinking, "reasoning": thinking}
