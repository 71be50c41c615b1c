"""Cohere's figures as counters. `billed_units` is what is charged; `tokens` also counts what Cohere adds itself, and is free.

Billed input tokens are text; image tokens stand beside them. `cached_tokens` is a part of `tokens`, not of what is billed,
and no rate of its own is published, so it is no counter. Only where nothing billed is told, `tokens` is taken. A unit without
a counter (images that were embedded without image tokens, classifications) makes the report unbelievable instead of free.
Figures are JSON numbers by Cohere's schema: a whole one may be written with a decimal point.

Sources: https://docs.cohere.com/v2/docs/how-does-cohere-pricing-work (billed and generic tokens; a search unit is a query
with up to 100 documents), https://docs.cohere.com/reference/chat, /reference/embed, /reference/rerank.
"""

from collections.abc import Iterable

import msgspec

from proxy.core.usage import MAX_COUNT, Usage
from proxy.providers.usage_reading import UNREADABLE, Reading, Unbelievable

_Figure = int | float | None


class _Units(msgspec.Struct, gc=False):
    input_tokens: _Figure = None
    output_tokens: _Figure = None
    text_tokens: _Figure = None
    image_tokens: _Figure = None
    search_units: _Figure = None
    images: _Figure = None
    classifications: _Figure = None
    pages: _Figure = None


class _Report(msgspec.Struct, gc=False):
    billed_units: _Units | None = None
    tokens: _Units | None = None


_decode = msgspec.json.Decoder(_Report).decode

CHAT = (frozenset(("input", "output")),)
EMBED = (frozenset(("input",)), frozenset(("input_image",)))
RERANK = (frozenset(("search_units",)),)


def read_report(raw: msgspec.Raw, whole: Iterable[frozenset[str]]) -> Reading:
    """`usage` of a chat, `meta` of the rest; complete where it has all the counters of one of the sets in `whole`."""
    try:
        report = _decode(raw)
        counters = _counters(report.billed_units or _Units()) or _counters(report.tokens or _Units())
    except (*UNREADABLE, Unbelievable) as error:
        return None, None, f"usage not believed: {error}"
    if any(needed <= counters.keys() for needed in whole):
        return Usage(counters), None, None
    return None, Usage(counters) if counters else None, None


def _counters(units: _Units) -> dict[str, int]:
    given = {name: _count(getattr(units, name)) for name in units.__struct_fields__}
    text, image, total = given["text_tokens"], given["image_tokens"], given["input_tokens"]
    if text is not None and (total is None or total == text + (image or 0)):
        total = text
    if given["images"] and not image:
        raise Unbelievable("images are billed without their tokens")
    if given["classifications"] or given["pages"]:
        raise Unbelievable("something is billed in a unit that is not metered")
    counters = {
        "input": total,
        "input_image": image,
        "output": given["output_tokens"],
        "search_units": given["search_units"],
    }
    return {name: count for name, count in counters.items() if count is not None}


def _count(figure: _Figure) -> int | None:
    if figure is None:
        return None
    if not 0 <= figure <= MAX_COUNT or figure != int(figure):
        raise Unbelievable("a figure is negative, fractional or too large")
    return int(figure)
