"""Foreign clients at Farebox and at the provider behind it: what each was told, beside the records that Farebox kept.

A client is a driver in an environment of its own. It makes its calls once, one after another, the first time that a test asks;
the records of its account, oldest first, are then those of its modes in their order.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.clients.environments import HERE, node_modules_of, python_of
from tests.support.farebox import environment
from tests.support.installation import Installation
from tests.support.sdk import PRICE, RATES, Sim

BAD_KEY = "sk-fb-" + "x" * 43
DRIVE_SECONDS = 100
_SIM = """
[providers.sim]
dialect = ["openai", "anthropic", "gemini"]
base_url = {{ openai = "{url}/v1", anthropic = "{url}", gemini = "{url}" }}
api_key = "upstream-key"
models = ["sim", "sim-*"]
"""


@dataclass(frozen=True)
class Client:
    """A driver and where it runs; `dialects` of its modes in their order. `rejected` and `unpaid` name its error classes."""

    driver: str
    family: str
    modes: Mapping[str, str]
    rejected: Mapping[str, str]
    unpaid: Mapping[str, str]
    provider: str = "sim"
    models: Mapping[str, str] = field(default_factory=lambda: {"chat": "sim", "embed": "sim"})
    scripted: Sequence[str] = ()

    def command(self) -> tuple[list[str], dict[str, str]]:
        """The command line, and what its environment needs; skips the test where the client cannot be installed."""
        program = str(HERE / "drivers" / self.driver)
        if self.driver.endswith(".cjs"):
            return [shutil.which("node") or "node", program], {"NODE_PATH": str(node_modules_of(self.family))}
        return [str(python_of(self.family)), program], {}


@dataclass
class Run:
    """What came of a client's calls: (mode, target) -> what the driver printed; mode -> the record."""

    outcomes: dict[tuple[str, str], dict[str, Any]]
    records: dict[str, dict[str, Any]]

    def said(self, mode: str, target: str = "through") -> dict[str, Any]:
        """What a call returned; fails the test where it raised instead."""
        outcome = self.outcomes[mode, target]
        assert "said" in outcome, outcome
        return dict(outcome["said"])

    def failed(self, mode: str, target: str) -> dict[str, Any]:
        """What a call raised; fails the test where it did not."""
        outcome = self.outcomes[mode, target]
        assert "failed" in outcome, outcome
        return dict(outcome["failed"])


class Stage:
    """A running Farebox before its providers (name -> origin); `run` has a client make its calls there, once."""

    def __init__(self, farebox: Installation, origins: Mapping[str, str]) -> None:
        self.farebox = farebox
        self.origins = origins
        self._poor = farebox.account("poor", "0.000001")
        self._runs: dict[str, Run] = {}

    def run(self, name: str, client: Client) -> Run:
        """The calls of a client."""
        if name not in self._runs:
            command, needed = client.command()  # before anything else: it may not be there
            key = self.farebox.account(name, "10000")
            outcomes = self._drive(command, needed, client, key)
            through = [mode for mode, target in outcomes if target == "through"]
            assert through == list(client.modes)
            self._runs[name] = Run(outcomes, self._records(name, outcomes, through))
        return self._runs[name]

    def _drive(
        self, command: list[str], needed: dict[str, str], client: Client, key: str
    ) -> dict[tuple[str, str], dict[str, Any]]:
        targets = {
            "direct": {"url": self.origins[client.provider], "key": "upstream-key"},
            **{name: {"url": self.farebox.url, "key": value} for name, value in self._keys(key).items()},
        }
        done = subprocess.run(
            command,
            input=json.dumps({"targets": targets, "models": dict(client.models)}),
            env=foreign_environment(self.farebox.directory, **needed),
            capture_output=True,
            text=True,
            timeout=DRIVE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert len({(line["mode"], line["target"]) for line in lines}) == len(lines)
        return {(line["mode"], line["target"]): line for line in lines}

    def _keys(self, key: str) -> dict[str, str]:
        return {"through": key, "bad": BAD_KEY, "poor": self._poor}

    def _records(self, name: str, outcomes: Mapping[Any, Any], modes: Sequence[str]) -> dict[str, dict[str, Any]]:
        """One record for each call that was answered, and none for others."""
        answered = [mode for mode in modes if "said" in outcomes[mode, "through"]]
        records = self.farebox.usage(name, len(answered))
        return dict(zip(answered, reversed(records), strict=True))


@contextmanager
def staged(directory: Path, config: str = "", **origins: str) -> Iterator[Stage]:
    """A stage whose provider `sim` is the simulated one, with `config` for others; at its end the books agree."""
    with Sim() as sim:
        extra = "\n".join([_SIM.format(url=sim.url), config, PRICE.format(model="sim")])
        with Installation(directory, sim.url, extra=extra) as farebox:
            yield Stage(farebox, {"sim": sim.url, **origins})
            farebox.audit()


def foreign_environment(home: Path, **more: str) -> dict[str, str]:
    """Ours without anybody's keys, with a home of its own, and no import path to the project."""
    plain = {name: value for name, value in environment().items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    quiet = {"DO_NOT_TRACK": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false"}
    return plain | quiet | {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "NO_COLOR": "1"} | more


def check_record(record: Mapping[str, Any], client: Client, mode: str, told: tuple[int, int]) -> None:
    """A completed call: the record has what the client was told, and costs what that costs."""
    assert (record["input_tokens"], record["output_tokens"]) == told
    assert (record["outcome"], record["status"], record["attempts"]) == ("completed", 200, 1)
    assert (record["dialect"], record["stream"]) == (client.modes[mode], "stream" in mode)
    if "free" in mode:
        assert record["charge_microcredits"] == 0
    else:
        used = {name: count for name, count in record["usage"].items() if name in RATES}
        assert record["charge_microcredits"] == sum(count * RATES[name] for name, count in used.items()) > 0
    assert record["charge_microcredits"] <= record["hold_microcredits"]


def in_order(tables: Mapping[str, Client], column: str) -> list[tuple[str, str]]:
    """(client, mode) of every client's column, for parametrize."""
    return [(name, mode) for name, client in tables.items() for mode in getattr(client, column)]
