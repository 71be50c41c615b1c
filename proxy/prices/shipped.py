"""The price book that is shipped in the package: one model a line, read when somebody asks for its provider.

The file is a header, then sections: a line that names a provider (under which names the configuration may know it, where its
API is, whose prices it falls back to), then the lines of its models, of which the first that fits a name is meant.
"""

import re
from collections.abc import Iterator
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path

import msgspec

from proxy.core.errors import ConfigError
from proxy.prices.entries import Entry
from proxy.prices.rules import fine_tuned_only, fits, is_fine_tuned, with_dashed_date

FORMAT = 1
_SECTION = b'\n{"provider":'
_PREFIXES = ("models/", "publishers/google/models/", "publishers/anthropic/models/")


class Header(msgspec.Struct, frozen=True):
    """The first line: the book's own version (a day) and what it was made from."""

    book: str
    made_from: str
    format: int = FORMAT


class Section(msgspec.Struct, frozen=True, omit_defaults=True):
    """A provider: its names in configurations, a regular expression for its base URLs, and whose models it serves as well."""

    provider: str
    names: list[str]
    urls: list[str] = []
    falls_back_to: list[str] = []
    sources: list[str] = []


class ShippedBook:
    """The models of a book's text. Holds the lines as they are and reads a provider's when it is asked for."""

    def __init__(self, text: bytes) -> None:
        first, _, rest = text.partition(b"\n")
        self.header = msgspec.json.decode(first, type=Header)
        if self.header.format != FORMAT:
            raise ConfigError(f"the price book has format {self.header.format}, and this version reads {FORMAT}")
        self._lines: dict[str, bytes] = {}
        self.sections: dict[str, Section] = {}
        self._entries: dict[str, list[Entry]] = {}
        for block in (b"\n" + rest).split(_SECTION)[1:]:
            head, _, lines = block.partition(b"\n")
            section = msgspec.json.decode(_SECTION[1:] + head, type=Section)
            self.sections[section.provider] = section
            self._lines[section.provider] = lines
        self._by_name = {name: one.provider for one in self.sections.values() for name in (one.provider, *one.names)}

    def provider_of(self, name: str, base_urls: tuple[str, ...] = ()) -> str | None:
        """The book's word for a provider of the configuration, by its name, else by where its API is."""
        known = self._by_name.get(name)
        if known is not None:
            return known
        for section, pattern in self._patterns:
            if any(pattern.match(url) for url in base_urls):
                return section
        return None

    def find(self, provider: str, model: str) -> Entry | None:
        """The entry of a model, by the name that a caller uses for it. `provider` is the book's word."""
        section = self.sections.get(provider)
        if section is None:
            return None
        name = model.lower()
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        for spelling in dict.fromkeys((name, with_dashed_date(name))):
            for book in (provider, *section.falls_back_to):
                found = _first(self.entries(book), spelling)
                if found is not None:
                    return found
        return None

    def entries(self, provider: str) -> list[Entry]:
        """Every model of a provider, in the order in which they are tried."""
        known = self._entries.get(provider)
        if known is None:
            known = _ENTRIES.decode_lines(self._lines.get(provider, b""))
            self._entries[provider] = known
        return known

    def everything(self) -> Iterator[tuple[str, Entry]]:
        """Every model with its provider."""
        for provider in self.sections:
            for entry in self.entries(provider):
                yield provider, entry

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        return [(one.provider, re.compile(url)) for one in self.sections.values() for url in one.urls]


@cache
def shipped_book() -> ShippedBook:
    """The book in this package; read once."""
    return ShippedBook(files("proxy.prices").joinpath("data", "book.jsonl").read_bytes())


def read_book(path: str) -> ShippedBook:
    """A book that `farebox price import` wrote. Raises ConfigError."""
    try:
        return ShippedBook(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"credits.price_book: cannot read {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"credits.price_book: {path} is not a price book: {error}") from error


def _first(entries: list[Entry], name: str) -> Entry | None:
    """The first entry that fits. A fine-tuned model takes only the price of fine-tuned ones, never that of its base."""
    fine_tuned = is_fine_tuned(name)
    for entry in entries:
        if fits(fine_tuned_only(entry.match) if fine_tuned else entry.match, name):
            return entry
    return None


_ENTRIES = msgspec.json.Decoder(Entry)
