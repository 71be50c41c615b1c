"""Ten million runs of every target of tests/fuzz (FAREBOX_FUZZ_RUNS): no crash, bounded memory, every byte where it belongs."""

import os
from pathlib import Path

import pytest

from tests.fuzz.running import fuzz
from tests.fuzz.targets import TARGETS

RUNS = int(os.environ.get("FAREBOX_FUZZ_RUNS", "10000000"))
SEED = int(os.environ.get("FAREBOX_FUZZ_SEED", "1"))


@pytest.mark.soak
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks_it(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("atheris", reason="atheris has no wheel for this platform")
    done = fuzz(name, RUNS, SEED, tmp_path)
    with capsys.disabled():
        rate = done.runs / done.seconds
        print(  # noqa: T201 - the table of a long run
            f"\n{name}: {done.runs:,} runs in {done.seconds:.0f} s ({rate:,.0f}/s), corpus {done.corpus}, at most {done.megabytes} MB"
        )
    assert done.runs >= RUNS
