"""Gemini's `usageMetadata`, as disjoint counters; the same on the Gemini API and on Vertex AI.

`promptTokenCount` includes cached content; what server-side tools fed back (`toolUsePromptTokenCount`) and thoughts stand
beside the other figures, and `totalTokenCount` is the sum of prompt, candidates, tool prompts and thoughts. The lists by
modality split those figures (cached tokens are in the prompt's list too), and need not be complete: what they do not name
is text. Protocol buffers leave out what is zero, so beside a total a missing figure follows from the sum.

Sources: https://ai.google.dev/api/generate-content#UsageMetadata, https://ai.google.dev/api/generate-content#MediaModality,
https://googleapis.github.io/js-genai/release_docs/classes/types.GenerateContentResponseUsageMetadata.html (the sum).
Documents are pages as images, and newer models report them so: https://ai.google.dev/gemini-api/docs/document-processing.
"""

from typing import NamedTuple

import msgspec

from proxy.core.usage import Usage
from proxy.providers.usage_reading import UNREADABLE, Count, Unbelievable, part

AUDIO, IMAGE, VIDEO = "audio", "image", "video"

# Modalities that a price can tell from text, the dearest first.
_KINDS = (AUDIO, VIDEO, IMAGE)
_KIND_OF = {"AUDIO": AUDIO, "VIDEO": VIDEO, "IMAGE": IMAGE, "DOCUMENT": IMAGE}
# The service tiers of the Gemini API are told in `serviceTier`, those of Vertex AI in `trafficType`: one name for each.
# https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse#TrafficType
_TRAFFIC = {
    "ON_DEMAND": "standard",
    "ON_DEMAND_PRIORITY": "priority",
    "ON_DEMAND_FLEX": "flex",
    "ON_DEMAND_OFFPEAK": "offpeak",
    "PROVISIONED_THROUGHPUT": "provisioned",
}


class _Share(msgspec.Struct, gc=False, rename="camel"):
    modality: str | None = None
    token_count: Count = None


_Shares = list[_Share] | None


class ReportedUsage(msgspec.Struct, gc=False, rename="camel"):
    """`usageMetadata` as it comes."""

    prompt_token_count: Count = None
    cached_content_token_count: Count = None
    candidates_token_count: Count = None
    tool_use_prompt_token_count: Count = None
    thoughts_token_count: Count = None
    total_token_count: Count = None
    prompt_tokens_details: _Shares = None
    cache_tokens_details: _Shares = None
    candidates_tokens_details: _Shares = None
    tool_use_prompt_tokens_details: _Shares = None
    service_tier: str | None = None
    traffic_type: str | None = None

    @property
    def tier(self) -> str | None:
        """The service tier by one name for both APIs, in lower case: standard, flex, priority, ..."""
        if self.service_tier:
            return self.service_tier.lower()
        return None if self.traffic_type is None else _TRAFFIC.get(self.traffic_type)

    @property
    def empty(self) -> bool:
        """No figure is told: protocol buffers write nothing else where all of them are zero."""
        return not (self.prompt_token_count or self.candidates_token_count or self.total_token_count)


class Figures(NamedTuple):
    """One report as counters, by side; a side that it does not tell is None."""

    input: dict[str, int] | None
    output: dict[str, int] | None


_decode = msgspec.json.Decoder(ReportedUsage).decode


def decode_usage(raw: msgspec.Raw) -> ReportedUsage:
    """The report with its figures checked one by one; raises Unbelievable."""
    try:
        return _decode(raw)
    except UNREADABLE as error:
        raise Unbelievable(str(error)) from error


def read_figures(reported: ReportedUsage, made: str | None = None) -> Figures:
    """A report as counters; raises Unbelievable. `made` is the medium of the answer, where it holds one beside its text."""
    return Figures(_input(reported), _output(reported, made))


def read_embedding(reported: ReportedUsage) -> Usage | None:
    """What an embedding used, which has no output; raises Unbelievable."""
    counters = _input(reported)
    return None if counters is None else Usage(counters)


def _input(reported: ReportedUsage) -> dict[str, int] | None:
    if reported.prompt_token_count is None:
        return None
    total = reported.prompt_token_count + (reported.tool_use_prompt_token_count or 0)
    cached = reported.cached_content_token_count
    held = _by_kind(reported.prompt_tokens_details, reported.tool_use_prompt_tokens_details)
    kept = _by_kind(reported.cache_tokens_details)
    part(total, sum(held.values()))
    part(cached or 0, sum(kept.values()))
    left = part(total, cached or 0)
    counters = {}
    for kind in _KINDS:
        if kind in held:
            # Where nobody says what was cached of a kind, the dearer reading is: nothing.
            counters[f"input_{kind}"] = min(max(held[kind] - kept.get(kind, 0), 0), left)
            left -= counters[f"input_{kind}"]
    counters["input"] = left
    if cached is not None:
        audio = max(kept.get(AUDIO, 0), held.get(AUDIO, 0) - counters.get("input_audio", 0))
        audio = min(audio, cached)
        counters["cache_read"] = cached - audio
        if audio or AUDIO in kept:
            counters["cache_read_audio"] = audio
    return counters


def _output(reported: ReportedUsage, made: str | None) -> dict[str, int] | None:
    candidates, thoughts = _answered(reported)
    if candidates is None:
        return None
    told = _by_kind(reported.candidates_tokens_details)
    left = part(candidates, sum(told.values()))
    if made is not None and made not in told:
        text = sum([share.token_count or 0 for share in reported.candidates_tokens_details or () if _is_text(share)])
        told[made] = part(left, min(text, left))
        left -= told[made]
    counters = {f"output_{kind}": count for kind, count in told.items()}
    counters["output"] = left
    if thoughts is not None:
        counters["reasoning"] = thoughts
    return counters


def _answered(reported: ReportedUsage) -> tuple[int | None, int | None]:
    """(candidates, thoughts), where one of them is missing and a total is there: what the total has left for it."""
    candidates, thoughts, total = (
        reported.candidates_token_count,
        reported.thoughts_token_count,
        reported.total_token_count,
    )
    if total is None or reported.prompt_token_count is None:
        return candidates, thoughts
    others = reported.prompt_token_count + (reported.tool_use_prompt_token_count or 0) + (thoughts or 0)
    if candidates is None:
        return part(total, others), thoughts
    if thoughts is None and total > others + candidates:
        return candidates, total - others - candidates
    return candidates, thoughts


def _by_kind(*lists: _Shares) -> dict[str, int]:
    """Tokens by the kinds that are no text."""
    found: dict[str, int] = {}
    for shares in lists:
        for share in shares or ():
            kind = _KIND_OF.get(share.modality or "")
            if kind is not None:
                found[kind] = found.get(kind, 0) + (share.token_count or 0)
    return found


def _is_text(share: _Share) -> bool:
    return share.modality not in _KIND_OF
