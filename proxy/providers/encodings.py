"""Counting tokens with tiktoken, offline: the encodings, and the slices in which a text is counted.

Counts are for holds that matter, answers without usage and clients that leave; providers' own figures come first. The
encodings are OpenAI's; for models of others `o200k_base` is the estimate. Everything here works for its time on the calling
thread: on an event loop use `tokens.TokenCounter`.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiktoken import Encoding

RANKS = Path(__file__).with_name("ranks")
# tiktoken names cached files by the SHA-1 of their address; the digests are the constants in its source.
FILES = {
    "o200k_base": (
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": (
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}
DEFAULT_ENCODING = "o200k_base"

# At most about 10 ms of work for the worst text that was found (random CJK, runs of spaces), 3 ms for prose.
SLICE_CHARS = 16 * 1024
# Looking for a space further back than this would let a text without spaces be searched again and again.
_CUT_WINDOW = 256

_loading = threading.Lock()
_loaded: dict[str, "Encoding"] = {}


def count_now(text: str, model: str) -> int:
    """The tokens of a text, special tokens as the text they are written with."""
    return sum(_count_slice(part, model) for part in slices(text))


def encoding_name(model: str) -> str:
    """The encoding of a model, also with a provider before its name, by tiktoken's own table, among those vendored."""
    import tiktoken.model  # noqa: PLC0415 - 0.1 s and a regex engine, only where tokens are counted

    try:
        name = tiktoken.model.encoding_name_for_model(model.rpartition("/")[2])
    except KeyError:
        return DEFAULT_ENCODING
    if name in FILES:
        return name
    return DEFAULT_ENCODING if name.startswith("o200k") else "cl100k_base"


def load_encoding(name: str) -> "Encoding":
    """An encoding from the vendored ranks; raises ValueError for ranks that were tampered with."""
    encoding = _loaded.get(name)
    if encoding is not None:
        return encoding
    with _loading:
        if name not in _loaded:
            _require_digest(name)
            _loaded[name] = _load(name)
        return _loaded[name]


def slices(text: str) -> Iterator[str]:
    """The text in parts of bounded length, cut before a space where there is one near, as tokens begin there."""
    start, size = 0, len(text)
    while start < size:
        end = start + SLICE_CHARS
        if end < size:
            space = text.rfind(" ", end - _CUT_WINDOW, end)
            end = space if space > start else end
        yield text[start:end]
        start = end


def _count_slice(text: str, model: str) -> int:
    return len(load_encoding(encoding_name(model)).encode_ordinary(text))


def _load(name: str) -> "Encoding":
    """Tiktoken reads its cache from where the environment says; it is told only for as long as this takes."""
    import tiktoken  # noqa: PLC0415 - see encoding_name

    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(RANKS)
    try:
        return tiktoken.get_encoding(name)
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before


def _require_digest(name: str) -> None:
    """Before tiktoken looks: it would delete a file with another digest and download it anew."""
    file, digest = FILES[name]
    if hashlib.sha256((RANKS / file).read_bytes()).hexdigest() != digest:
        raise ValueError(f"the vendored ranks of {name} are not the ones that OpenAI published")
