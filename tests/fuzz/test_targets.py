"""Every target from a fixed seed, and the fuzzer itself; the long runs are in tests/soak/test_fuzz.py."""

from pathlib import Path

import pytest

from tests.fuzz.running import fuzz, run_here
from tests.fuzz.targets import TARGETS

RUNS = 2_000
# Inputs that long runs have failed at, as they were left.
FOUND = [
    ("openai-requests", b'\n)"alloy"\n);'),  # a moderation with `"model":null`
    ("bedrock-requests", b"\x15\0\0\x01\xff\xff\0on" + b"\xff" * 106),  # a limit of 0 in a model's own words
    ("gemini-requests", b"\x16\0\0\x01\0\0,\x01\0\xff9551616\x8c\xd7:\0"),  # counting, of a batch that is none
    ("large-bodies", b'\x01\0"\x8aav \n\r'),  # a container with an enormous name
    (  # a connection that is lost while a body that nobody wants is read on
        "http-requests",
        b"\x01" * 7 + b"POST /v1/x HTTP/1.1\r\nhost: h\r\ncontent-length: 222222222225\r\n\r\nhe",
    ),
]


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_it(name: str) -> None:
    run_here(name, RUNS, seed=1)


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_stays_mended(name: str, data: bytes) -> None:
    TARGETS[name].load()(data)


def test_the_fuzzer_runs(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has no wheel for this platform")
    done = fuzz("json-array", 2_000, 1, tmp_path)
    assert done.runs >= 2_000
    assert done.corpus > 10


def test_the_fuzzer_finds_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("atheris", reason="atheris has no wheel for this platform")
    # A splitter that takes a brace in a string for the end of an element, for the child processes alone.
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import re\nfrom proxy.providers import json_array\njson_array._FLAT = re.compile(rb'[^\"{}\\[\\]]*')\n"
        "json_array._STRING = re.compile(rb'[^\"}]*+')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(broken))
    with pytest.raises(AssertionError, match="crash-"):
        fuzz("json-array", 20_000, 1, tmp_path)
