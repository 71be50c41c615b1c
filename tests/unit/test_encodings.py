import hashlib
import os
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.providers import encodings
from proxy.providers.encodings import (
    FILES,
    RANKS,
    SLICE_CHARS,
    count_now,
    encoding_name,
    load_encoding,
    slices,
)

PROSE = "The quick brown fox jumps over the lazy dog, and nobody is surprised. "


@pytest.mark.parametrize("name", FILES)
def test_ranks_are_the_ones_that_tiktoken_expects(name: str) -> None:
    file, digest = FILES[name]
    assert hashlib.sha256((RANKS / file).read_bytes()).hexdigest() == digest
    assert digest in (RANKS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("gpt-5.2", "o200k_base"),
        ("gpt-oss-120b", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("text-davinci-003", "cl100k_base"),
        ("gpt2", "cl100k_base"),
        ("openai/gpt-4", "cl100k_base"),
        ("openai/gpt-4o", "o200k_base"),
        ("ft:gpt-4o:acme::1", "o200k_base"),
        ("ft:gpt-4:acme::1", "cl100k_base"),
        ("claude-sonnet-4-5", "o200k_base"),
        ("sim", "o200k_base"),
        ("", "o200k_base"),
    ],
)
def test_encodings_by_model(model: str, name: str) -> None:
    assert encoding_name(model) == name


def test_an_encoding_is_loaded_without_leaving_a_trace_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "_loaded", {})
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "mine")
    assert load_encoding("o200k_base") is tiktoken.get_encoding("o200k_base")
    assert os.environ["TIKTOKEN_CACHE_DIR"] == "mine"
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    monkeypatch.setattr(encodings, "_loaded", {})
    load_encoding("o200k_base")
    assert "TIKTOKEN_CACHE_DIR" not in os.environ


def test_ranks_that_were_tampered_with_are_refused_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, _ = FILES["o200k_base"]
    (tmp_path / file).write_bytes(b"IQ== 0\n")
    monkeypatch.setattr(encodings, "_loaded", {})
    monkeypatch.setattr(encodings, "RANKS", tmp_path)
    with pytest.raises(ValueError, match="o200k_base"):
        load_encoding("o200k_base")
    assert (tmp_path / file).exists()


def test_special_tokens_and_broken_text_count_as_text() -> None:
    assert count_now("", "gpt-4o") == 0
    assert count_now("hello world", "gpt-4o") == 2
    assert count_now("<|endoftext|>", "gpt-4o") > 1
    assert count_now("a \ud800 b", "gpt-4o") > 0


def test_a_long_text_counts_the_same_in_slices() -> None:
    text = PROSE * 2000
    assert count_now(text, "gpt-4o") == len(load_encoding("o200k_base").encode_ordinary(text))


@settings(max_examples=50)
@given(st.text(alphabet="ab \n漢", max_size=20), st.integers(1, 5000))
def test_slices_are_the_text_in_bounded_parts(fragment: str, times: int) -> None:
    text = fragment * times
    parts = list(slices(text))
    assert "".join(parts) == text
    assert all(0 < len(part) <= SLICE_CHARS for part in parts)
