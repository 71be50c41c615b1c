"""Anthropic's usage object, as counters; disjoint already. A stream's reports are cumulative: a later figure replaces an earlier.

Sources: https://docs.anthropic.com/en/api/messages (usage), /en/docs/build-with-claude/prompt-caching; for what the totals
leave out https://platform.claude.com/docs/en/build-with-claude/compaction-threshold and the SDK's `BetaUsage.iterations`:
compactions are billed beside the totals at the call's rates, an advisor's rounds at those of the advisor's model.
"""

from typing import Any

import msgspec

from proxy.core.usage import Usage
from proxy.providers.usage_reading import UNREADABLE, Count, Reading, Unbelievable, part

STANDARD = "standard"
FAST, US = "fast", "us"
"""The two modes that raise every rate: https://platform.claude.com/docs/en/build-with-claude/fast-mode and
https://platform.claude.com/docs/en/manage-claude/data-residency (1.1 times). Together they are the tier `fast-us`."""

# Rounds of sampling whose tokens are in the totals, and those that are beside them at the same rates.
_IN_TOTALS, _BESIDE_TOTALS = "message", "compaction"
_FALLBACK = "fallback_message"  # in the totals too, by another model


class _CacheCreation(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: Count = None
    ephemeral_1h_input_tokens: Count = None


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: Count = None


class _ServerTools(msgspec.Struct, gc=False):
    """What Anthropic ran on its own side. Fetches are billed as tokens only, searches each."""

    web_search_requests: Count = None


class _Figures(msgspec.Struct, gc=False):
    """The token figures of an answer or of one round of it."""

    input_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_creation: _CacheCreation | None = None
    output_tokens: Count = None
    output_tokens_details: _OutputDetails | None = None


class _Iteration(_Figures, gc=False):
    """One round of sampling."""

    type: str = _IN_TOTALS


class _Usage(_Figures, gc=False):
    server_tool_use: _ServerTools | None = None
    iterations: list[_Iteration] | None = None
    service_tier: Any = None
    speed: Any = None
    inference_geo: Any = None


_decode = msgspec.json.Decoder(_Usage).decode


class Report:
    """The figures of one answer as far as they were reported. One that is not believable spoils the report for good.

    `others`: the call named other models that may answer, and is charged at the dearest of them.
    """

    __slots__ = ("_covered", "_figures", "_flag", "_iterations", "_modes")

    def __init__(self, *, others: bool = False) -> None:
        self._covered = {_IN_TOTALS, _BESIDE_TOTALS, _FALLBACK} if others else {_IN_TOTALS, _BESIDE_TOTALS}
        self._figures: dict[str, int] = {}
        self._iterations: list[_Iteration] = []
        self._modes: dict[str, str] = {}
        self._flag: str | None = None

    @property
    def service_tier(self) -> str | None:
        """The tier that the call was served in: what raises its rates, else Anthropic's own word; None where it said nothing.

        `standard` without a word of the speed says nothing of a mode that was asked for.
        """
        modes = self._modes
        dear, tier = tier_of(modes.get("speed"), modes.get("geo")), modes.get("tier")
        if dear is None and tier == STANDARD and "speed" not in modes:
            return None
        return tier if dear is None else dear

    def add(self, raw: msgspec.Raw) -> None:
        """Take over the figures of one usage object; those that it does not name stay."""
        try:
            reported = _decode(raw)
        except UNREADABLE as error:
            self._flag = f"usage not believed: {error}"
            return
        figures = self._figures
        for name, count in _given(reported).items():
            # Some compatible providers tell the input once and send a zero with every later report.
            if count or name != "input" or not figures.get(name):
                figures[name] = count
        tools = reported.server_tool_use
        if tools is not None and tools.web_search_requests is not None:
            figures["searches"] = tools.web_search_requests
        if reported.iterations is not None:
            self._iterations = reported.iterations
        modes = {"tier": reported.service_tier, "speed": reported.speed, "geo": reported.inference_geo}
        self._modes |= {name: mode for name, mode in modes.items() if isinstance(mode, str)}

    def read(self, *, final: bool) -> Reading:
        """(usage, partial, flag): whole, or what is known of it, or why it is not believed or does not say everything.

        Before the first `message_delta` (`final` is false) the output is a placeholder and is left out.
        """
        if self._flag is not None:
            return None, None, self._flag
        try:
            counters = _input(self._figures)
            if final and "output" in self._figures:
                counters |= _output(self._figures)
            self._add_rounds(counters, final=final)
        except Unbelievable as error:
            self._flag = f"usage not believed: {error}"
            return None, None, self._flag
        if not final or not {"input", "output"} <= self._figures.keys():
            return None, Usage(counters) if counters else None, None
        if searches := self._figures.get("searches"):
            counters["web_searches"] = searches
        return Usage(counters), None, self._foreign_rounds()

    def _add_rounds(self, counters: dict[str, int], *, final: bool) -> None:
        """Add the rounds that the totals leave out."""
        for round_ in self._iterations:
            if round_.type == _BESIDE_TOTALS:
                figures = _given(round_)
                added = _input(figures) | (_output(figures) if final and "output" in figures else {})
                for counter, count in added.items():
                    counters[counter] = counters.get(counter, 0) + count

    def _foreign_rounds(self) -> str | None:
        """Why the charge cannot follow from the counters: another model worked for the answer, at rates of its own."""
        kinds = {round_.type for round_ in self._iterations} - self._covered
        return f"another model's work is billed beside these figures: {min(kinds)[:32]}" if kinds else None


def tier_of(speed: str | None, geo: str | None) -> str | None:
    """The name of the tier that a speed and a place make, or None where they do not change the price."""
    modes = [mode for mode, wanted in ((FAST, speed), (US, geo)) if mode == wanted]
    return "-".join(modes) or None


def _given(reported: _Figures) -> dict[str, int]:
    """The figures that are there, by short names."""
    caches, details = reported.cache_creation, reported.output_tokens_details
    named = {
        "input": reported.input_tokens,
        "read": reported.cache_read_input_tokens,
        "written": reported.cache_creation_input_tokens,
        "written_5m": None if caches is None else caches.ephemeral_5m_input_tokens,
        "written_1h": None if caches is None else caches.ephemeral_1h_input_tokens,
        "output": reported.output_tokens,
        "thinking": None if details is None else details.thinking_tokens,
    }
    return {name: count for name, count in named.items() if count is not None}


def _input(figures: dict[str, int]) -> dict[str, int]:
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
            f"cache_write_{life}": figures[f"written_{life}"] for life in ("5m", "1h") if f"written_{life}" in figures
        }
    return counters


def _output(figures: dict[str, int]) -> dict[str, int]:
    total = figures["output"]
    thinking = figures.get("thinking")
    if thinking is None:
        return {"output": total}
    thinking = min(thinking, total)  # a part cannot cost more than the whole
    return {"output": total - thinking, "reasoning": thinking}
