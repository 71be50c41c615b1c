"""Hugging Face's router: one model at many providers, chosen by a suffix (`org/model:groq`) or by the router itself.

It passes on what the provider behind it charges (https://huggingface.co/docs/inference-providers/pricing). Where the name
does not say which one that is, the dearest of them counts: who serves a call is known only afterwards.
"""

from collections.abc import Mapping
from fractions import Fraction

from proxy.prices.entries import Entry, read_sheet, write_sheet
from proxy.prices.sheet import Sheet

# The router's own policies, which say as little as no suffix (https://huggingface.co/docs/inference-providers).
_POLICIES = ("", ":fastest", ":cheapest", ":preferred")


def router_entries(backends: Mapping[str, list[Entry]]) -> list[Entry]:
    """The router's models: each at each provider by its suffix, then each without one."""
    named: list[Entry] = []
    by_name: dict[str, list[tuple[Entry, str]]] = {}
    for backend, entries in backends.items():
        for entry in entries:
            names = [str(rule)[1:] for rule in entry.match if isinstance(rule, str) and rule[0] == "="]
            if not entry.usd:
                continue
            rules = [f"={name}:{backend}" for name in names]
            named.append(Entry(f"{entry.model}:{backend}", list(rules), entry.usd))
            for name in names:
                by_name.setdefault(name, []).append((entry, backend))
    return [*named, *(_dearest(name, [entry for entry, _ in found]) for name, found in sorted(by_name.items()))]


def _dearest(name: str, entries: list[Entry]) -> Entry:
    sheets = [read_sheet(entry.usd) for entry in entries]
    counters = {counter: None for sheet in sheets for counter in sheet}
    usd: Sheet = {counter: ((0, max(_usd(sheet, counter) for sheet in sheets)),) for counter in counters}
    return Entry(name, [f"={name}{policy}" for policy in _POLICIES], write_sheet(usd))


def _usd(sheet: Sheet, counter: str) -> Fraction:
    """The highest rate of a counter; one who has none for cached tokens charges them as any other input."""
    steps = sheet.get(counter) or sheet.get("input" if counter.startswith("cache") else counter) or ()
    return max((usd for _, usd in steps), default=Fraction(0))
