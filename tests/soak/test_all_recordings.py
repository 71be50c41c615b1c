"""The long version of tests/end_to_end/test_recordings.py: every recorded exchange in pieces, at new places each time."""

from pathlib import Path

import pytest

from tests.support.replay import recordings
from tests.support.replay_run import run, show

ROUNDS = 10


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_every_exchange_at_random_splits(tmp_path: Path, seed: int) -> None:
    verdicts = run(tmp_path, recordings(), split=True, seed=seed)
    show(verdicts)
    assert not {verdict.exchange.id: verdict.problems for verdict in verdicts if verdict.problems}
