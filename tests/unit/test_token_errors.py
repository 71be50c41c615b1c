"""The bounds that README states for counts, over recorded exchanges: what counting misses by, and that holds suffice."""

import os
from pathlib import Path

import pytest

from bench.token_errors import FILE, Error, measure_errors, table

# provider -> the most that the mean error may be, of input and of output, as a fraction of what was billed.
DOCUMENTED = {
    "anthropic": (0.20, 0.20),
    "bedrock": (0.30, 0.50),
    "deepseek": (0.15, 0.15),
    "gemini": (0.20, 0.55),
    "groq": (0.20, 0.50),
    "mistral": (0.10, 0.20),
    "openai": (0.30, 0.30),
    "openrouter": (0.25, 0.25),
    "vertex": (0.55, 0.15),
}


@pytest.fixture(scope="module")
def errors() -> list[Error]:
    folder = Path(os.environ.get("FAREBOX_RECORDINGS", ""))
    if not os.environ.get("FAREBOX_RECORDINGS") or not (folder / FILE).exists():
        pytest.skip(f"FAREBOX_RECORDINGS does not name a folder with {FILE}")
    return measure_errors(folder)


@pytest.mark.parametrize("provider", DOCUMENTED)
def test_the_mean_error_is_what_is_documented(errors: list[Error], provider: str) -> None:
    for side, most in zip(("input", "output"), DOCUMENTED[provider], strict=True):
        found = [abs(error.fraction) for error in errors if (error.provider, error.side) == (provider, side)]
        assert found, side
        assert sum(found) / len(found) <= most, side


def test_large_prompts_are_counted_closely(errors: list[Error]) -> None:
    large = [error for error in errors if error.side == "input" and error.billed >= 1000]
    assert len(large) > 30
    exact = [error for error in large if error.model.startswith(("gpt-4", "gpt-3.5"))]
    assert exact
    assert max(abs(error.fraction) for error in exact) < 0.05
    assert sum(abs(error.fraction) for error in large) / len(large) < 0.15


def test_no_counted_hold_was_ever_too_small(errors: list[Error]) -> None:
    bounded = [error for error in errors if error.bound is not None]
    assert len(bounded) > 100
    assert [error for error in bounded if error.bound is not None and error.bound < error.billed] == []


def test_the_table_names_every_provider(errors: list[Error]) -> None:
    lines = table(errors).splitlines()
    assert len(lines) >= 12
    assert all(line.count("|") == 10 for line in lines)
    for provider in DOCUMENTED:
        assert any(line.startswith(f"| {provider} |") for line in lines), provider
