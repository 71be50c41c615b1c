"""Running a target: in this process from a fixed seed, or under atheris in processes of its own."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from tests.fuzz.targets import TARGETS, seeds, words

_ROOT = Path(__file__).parents[2]
# One run in so many is guided by coverage: ten times slower, and after 200,000 of them hardly a branch is new.
_EXPLORING = 40
_DONE = re.compile(r"Done (\d+) runs")
_MEMORY = re.compile(r"rss: (\d+)Mb")


def run_here(name: str, runs: int, seed: int) -> None:
    """A target's own inputs, then mutations of them, always the same ones. The input that fails is in the error."""
    run, begin, known = TARGETS[name].load(), list(seeds(name)), list(words(name))
    chance = random.Random(f"{name} {seed}")
    data = b""
    try:
        for data in begin:
            run(data)
        for _ in range(runs - len(begin)):
            data = mutated(chance, chance.choice(begin), known)
            run(data)
    except Exception as error:
        error.add_note(f"target {name}, input {data!r}")
        raise


def mutated(chance: random.Random, data: bytes, known: list[bytes]) -> bytes:
    """A few small changes: bytes altered, taken out, put in; a word put in; a piece repeated."""
    for _ in range(chance.choice((1, 2, 3, 5, 8))):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.randrange(9))
        kind = chance.randrange(5)
        if kind == 0:
            data = data[:at] + chance.randbytes(to - at) + data[to:]
        elif kind == 1:
            data = data[:at] + data[to:]
        elif kind == 2:
            data = data[:at] + chance.randbytes(1 + chance.randrange(3)) + data[at:]
        elif kind == 3 and known:
            data = data[:at] + chance.choice(known) + data[at:]
        else:
            data = data[:to] + data[at:]
    return data


class Fuzzed(NamedTuple):
    """What was done: runs in all, how long they took, how many inputs are worth keeping, the most memory (resident)."""

    runs: int
    seconds: float
    corpus: int
    megabytes: int


def fuzz(name: str, runs: int, seed: int, folder: Path) -> Fuzzed:
    """So many runs under atheris; raises AssertionError with the end of its output where one fails."""
    began = monotonic()
    exploring = max(1, runs // _EXPLORING)
    gaits = [_gait(name, "explore", folder, exploring, seed), _gait(name, "rush", folder, runs - exploring, seed)]
    kept = sum(1 for _ in (folder / "corpus").iterdir())
    return Fuzzed(sum(done for done, _ in gaits), monotonic() - began, kept, max(most for _, most in gaits))


def _gait(name: str, gait: str, folder: Path, runs: int, seed: int) -> tuple[int, int]:
    command = [sys.executable, "-m", "tests.fuzz", name, gait, str(folder), f"-runs={runs}", f"-seed={seed}"]
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}
    log = folder / f"{gait}.log"
    with log.open("wb") as output:
        code = subprocess.run(command, cwd=_ROOT, env=environment, stdout=output, stderr=output, check=False).returncode
    said = log.read_text("utf-8", "replace")
    done = _DONE.search(said)
    found = sorted(file.name for file in folder.glob("*-*") if file.is_file())
    assert code == 0, f"{name}, {gait}: exit {code}, {found} in {folder}\n{said[-3000:]}"
    assert done is not None, said[-3000:]
    return int(done[1]), max(map(int, _MEMORY.findall(said)), default=0)
