"""Whatever openapi.yaml allows or forbids is asked of both listeners, and every answer is one that it describes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.admin_api import AdminApi
from tests.support.described import ask_whatever, prepare
from tests.support.described_things import CREDITS, make_things, sections
from tests.support.installation import Installation
from tests.support.mock_provider import MockProvider
from tests.support.sdk import Sim

SOAK_CASES = 20_000
CASES = 1_000


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with (
        MockProvider() as provider,
        Sim() as sim,
        Installation(
            tmp_path_factory.mktemp("described"), provider, extra=sections(sim.url), credits=CREDITS
        ) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def config(farebox: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(make_things(farebox), tmp_path_factory.mktemp("schemathesis"))


def both(farebox: Installation, config: Path, *, examples: int, seed: int, phases: str = "fuzzing") -> int:
    """How many requests were made; fails the test where an answer was not as described."""
    cases = 0
    # The data listener first: the other one can switch its surfaces off.
    for url, operators in ((farebox.url, False), (farebox.admin_url, True)):
        asked = ask_whatever(config, url, operators=operators, examples=examples, seed=seed, phases=phases)
        assert asked.good, f"seed {seed}: {asked.said[-8000:]}"
        cases += asked.cases
    assert AdminApi(farebox.admin_url).put("maintenance", body={"on": False}).status == 200
    return cases


def test_a_thousand_requests_are_answered_as_described(farebox: Installation, config: Path) -> None:
    assert both(farebox, config, examples=8, seed=1) >= CASES
    farebox.audit()


@pytest.mark.soak
def test_twenty_thousand_requests_are_answered_as_described(farebox: Installation, config: Path) -> None:
    done, seed = 0, 100
    while done < SOAK_CASES:
        cases = both(farebox, config, examples=60, seed=seed, phases="examples,coverage,fuzzing")
        print(f"seed {seed}: {cases} cases")  # noqa: T201 - the figures of a long run, which -rP shows
        done += cases
        seed += 1
    farebox.audit()
