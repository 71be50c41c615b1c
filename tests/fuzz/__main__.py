"""One target under atheris, in one of two gaits: `python -m tests.fuzz TARGET explore|rush FOLDER [libFuzzer option ...]`.

`explore` has the coverage of `proxy` guide the mutations, which makes each run ten times slower; what it finds worth keeping
goes to `FOLDER/corpus`. `rush` mutates what is there at full speed. Memory is bounded by `RSS_LIMIT_MB` in both. An input
that fails is left as `FOLDER/crash-...`; `python -m tests.fuzz TARGET again FILE` shows what it does, without atheris.
"""

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.targets import TARGETS, seeds, words

RSS_LIMIT_MB = 600
_TIMEOUT_S = 30  # of one run; the machine may be busy
_RUSH_FRESH = 4  # one mutation in so many begins from an input of the corpus, the others go on from the last one
_USAGE = "usage: python -m tests.fuzz TARGET explore|rush|again FOLDER|FILE [libFuzzer option ...]"


def main(arguments: list[str]) -> None:
    """Runs a target; the fuzzer ends the process."""
    if len(arguments) < 3 or arguments[0] not in TARGETS or arguments[1] not in {"explore", "rush", "again"}:
        sys.exit(f"{_USAGE}\ntargets: {' '.join(TARGETS)}")
    name, gait, place, *options = arguments
    if gait == "again":
        TARGETS[name].load()(Path(place).read_bytes())
    else:
        _fuzz(name, Path(place), options, guided=gait == "explore")


def _fuzz(name: str, folder: Path, options: list[str], *, guided: bool) -> None:
    import atheris  # noqa: PLC0415 - not for every platform, and not for looking at a failure

    target, corpus = TARGETS[name], folder / "corpus"
    dictionary = folder / "words"
    dictionary.write_text("".join(_quoted(word) for word in words(name)), "ascii")
    usual = [
        f"-max_len={target.most_bytes}",
        f"-dict={dictionary}",
        f"-rss_limit_mb={RSS_LIMIT_MB}",
        f"-timeout={_TIMEOUT_S}",
        f"-artifact_prefix={folder}/",
    ]
    if not guided:
        run = target.load()
        begin = [file.read_bytes() for file in sorted(corpus.iterdir())]
        # Looked up at each call: setting up puts another function in its place.
        mutate = _from(begin, lambda data, most_bytes: bytes(atheris.Mutate(data, most_bytes)))
        atheris.Setup([sys.argv[0], *usual, *options], run, custom_mutator=mutate)
    else:
        with atheris.instrument_imports(include=["proxy.providers", "proxy.pipeline", "proxy.core"]):
            run = target.load()
            from tests.fuzz.recorded import recorded  # noqa: PLC0415 - it imports what has to be instrumented
        corpus.mkdir(exist_ok=True)
        for number, seed in enumerate([*seeds(name), *recorded(name)]):
            (corpus / f"seed-{number:04}").write_bytes(seed)
        atheris.Setup([sys.argv[0], *usual, *options, str(corpus)], run)
    gc.freeze()  # what is loaded stays: to look through it again and again would take a tenth of the time
    atheris.Fuzz()


def _from(begin: list[bytes], mutate: Callable[[bytes, int], bytes]) -> Callable[[bytes, int, int], bytes]:
    """A mutator that goes back to the corpus now and then, which libFuzzer without coverage has none of."""

    def changed(data: bytes, most_bytes: int, seed: int) -> bytes:
        base: Any = begin[seed // _RUSH_FRESH % len(begin)] if seed % _RUSH_FRESH == 0 else data
        return mutate(base[:most_bytes], most_bytes)

    return changed


def _quoted(word: bytes) -> str:
    """A line of libFuzzer's dictionary format."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'


if __name__ == "__main__":
    main(sys.argv[1:])
