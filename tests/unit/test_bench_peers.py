"""Peers of the bench: which load they get, what their answers must have, that an installation runs nothing and moves nowhere."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.generator import Exchange, Manner, marks_of, suit
from bench.measure import takes
from bench.names import PEERS as NAMES
from bench.scenarios import SCENARIOS
from bench.subjects import PEERS, RECIPES, SUBJECTS
from bench.subjects.peers import install as installing
from bench.subjects.peers.install import Recipe

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
PLAIN = b'{"choices":[{"message":{"role":"assistant","content":"The quick fox."},"finish_reason":"stop"}]}'
STREAM = (
    b'data: {"choices":[{"delta":{"content":" word000000"}}]}\n\ndata: {"choices":[{"delta":{"content":" word000001"}}]}'
    b'\n\ndata: {"choices":[],"usage":{"completion_tokens":2}}\n\ndata: [DONE]\n\n'
)


def test_marks_are_the_text_of_an_answer_and_the_end_of_a_stream() -> None:
    assert marks_of(PLAIN) == [b"The quick fox."]
    assert marks_of(STREAM) == [b"word000000", b"word000001", b"[DONE]"]


def test_an_exchange_suits_a_subject_that_renames_models_and_writes_answers_anew(tmp_path: Path) -> None:
    small = BY_NAME["small"]
    exchange = Exchange(tmp_path / "small.request", tmp_path / "small.answer")
    exchange.body.write_bytes(small.body())
    exchange.expected.write_bytes(PLAIN)
    assert suit(exchange, small, Manner()) == exchange, "most are asked as the upstream is"
    suited = suit(exchange, small, Manner(model_prefix="openai:", exact=False))
    assert suited.body.read_bytes() == small.body().replace(b"bench-small", b"openai:bench-small")
    assert suited.marks is not None
    assert suited.marks.read_bytes() == b"The quick fox."
    assert exchange.body.read_bytes() == small.body(), "other subjects' requests are as they were"


def test_every_peer_has_a_recipe_or_a_reason() -> None:
    assert list(PEERS) == list(RECIPES) == list(NAMES)
    assert not set(PEERS) & set(SUBJECTS)
    for name, recipe in RECIPES.items():
        assert recipe.name == name if isinstance(recipe, Recipe) else recipe


@pytest.mark.parametrize(
    ("subject", "scenario", "taken"),
    [
        ("litellm", "small", True),
        ("litellm", "memory5k", False),
        ("litellm", "small-tls", False),
        ("farebox", "small-tls", True),
        ("nginx", "memory5k", True),
        ("direct", "prompt100k", False),
        ("farebox, 2 workers", "small", True),
        ("farebox, 2 workers", "small-tls", False),
    ],
)
def test_who_gets_which_load(subject: str, scenario: str, taken: bool) -> None:
    assert takes(subject, BY_NAME[scenario]) is taken


def test_an_installation_takes_what_was_there_on_its_day_and_runs_nothing_of_it(tmp_path: Path) -> None:
    python = RECIPES["litellm"]
    assert isinstance(python, Recipe)
    _, command = installing._python(python, tmp_path)
    assert ["--only-binary", ":all:", "--exclude-newer", python.as_of] == command[4:8]
    assert f"litellm[proxy]=={python.version}" in command


def test_a_peer_is_installed_once_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(installing, "_PLACE", tmp_path)
    monkeypatch.setattr(installing, "_run", lambda command, _: ran.append(command))
    recipe = Recipe("peer", "python", "peer", "1.0", "2026-10-15")
    said: list[str] = []
    for _ in range(2):
        installing.install(recipe, said.append)
    assert len(ran) == 2, "an environment, and what is in it"
    installing.install(replace(recipe, version="1.1"), said.append)
    assert len(ran) == 4
    assert len(said) == 2
