"""Coding agents on the command line, as they run without a person: what each is given, and how its report is read.

Only base URL and key are of Farebox. Each has a home and a working folder of its own.
"""

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.clients.environments import node_modules_of
from tests.support.clients.runs import foreign_environment

RUN_SECONDS = 200


@dataclass(frozen=True)
class Report:
    """What an agent said at its end: its answer, and the usage of each call, or of all in one sum."""

    text: str
    usage: list[tuple[int, int]]


@dataclass(frozen=True)
class Ended:
    """A finished process."""

    code: int
    output: str


@dataclass(frozen=True)
class Agent:
    """`start` writes its settings into a home for (origin, key, model); `words` follow the program; `shell` is its tool."""

    family: str
    program: str
    dialect: str
    words: tuple[str, ...]
    shell: str
    settings: Callable[[Path, str, str, str], dict[str, str]]
    read: Callable[[str], Report]
    more_calls: int = 0
    """Calls that it makes beside those that it reports, for a title and the like."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What its shell's tool wants beside the command."""
    command: str = "command"
    model: str = "harbour-1"

    def run(self, home: Path, origin: str, key: str, prompt: str) -> Ended:
        """Asks it and waits for its end; skips the test where it cannot be installed."""
        program = self._program()
        work = home / "work"
        work.mkdir(parents=True)
        variables = self.settings(home, origin, key, self.model)
        done = subprocess.run(
            [str(program), *(word.format(model=self.model, prompt=prompt) for word in self.words)],
            cwd=work,
            env=foreign_environment(home, PWD=str(work), **variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        return Ended(done.returncode, done.stdout + done.stderr if done.returncode else done.stdout)

    def _program(self) -> Path:
        """Its binary; packages for other machines than this one hold theirs in folders that are not here."""
        found = sorted(node_modules_of(self.family).glob(self.program))
        assert found, f"{self.family} has no {self.program}"
        return found[0]


def _claude(home: Path, origin: str, key: str, model: str) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": origin,
        "ANTHROPIC_API_KEY": key,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }


def _codex(home: Path, origin: str, key: str, model: str) -> dict[str, str]:
    folder = home / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text(
        f'model = "{model}"\nmodel_provider = "farebox"\n[model_providers.farebox]\nname = "Farebox"\n'
        f'base_url = "{origin}/v1"\nenv_key = "CODEX_KEY"\nwire_api = "responses"\n',
        encoding="utf-8",
    )
    return {"CODEX_KEY": key}


def _gemini(home: Path, origin: str, key: str, model: str) -> dict[str, str]:
    folder = home / ".gemini"
    folder.mkdir()
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "telemetry": {"enabled": False},
        "privacy": {"usageStatisticsEnabled": False},
        "general": {"disableAutoUpdate": True},
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    return {"GEMINI_API_KEY": key, "GOOGLE_GEMINI_BASE_URL": origin, "GEMINI_CLI_TRUST_WORKSPACE": "true"}


def _opencode(home: Path, origin: str, key: str, model: str) -> dict[str, str]:
    served = {model: {"name": model, "limit": {"context": 128_000, "output": 1000}}}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Farebox",
        "options": {"baseURL": f"{origin}/v1", "apiKey": key},
        "models": served,
    }
    name = f"farebox/{model}"
    config = {"model": name, "small_model": name, "autoupdate": False, "provider": {"farebox": provider}}
    (home / "work" / "opencode.json").write_text(json.dumps(config), encoding="utf-8")
    # It would install a package of its own into every home.
    alone = {"OPENCODE_PURE": "1", "npm_config_offline": "true"}
    return {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1", **alone}


def _read_claude(output: str) -> Report:
    [ended] = [line for line in _lines(output) if "result" in line]
    return Report(ended["result"], [_tokens(ended["usage"], "input_tokens", "output_tokens")])


def _read_codex(output: str) -> Report:
    lines = _lines(output)
    said = [line["item"]["text"] for line in lines if line.get("item", {}).get("type") == "agent_message"]
    [ended] = [line for line in lines if line["type"] == "turn.completed"]
    return Report(said[-1], [_tokens(ended["usage"], "input_tokens", "output_tokens")])


def _read_gemini(output: str) -> Report:
    ended = json.loads(output[output.index("{") :])
    [used] = ended["stats"]["models"].values()
    return Report(ended["response"], [_tokens(used["tokens"], "prompt", "candidates")])


def _read_opencode(output: str) -> Report:
    lines = _lines(output)
    said = [line["part"]["text"] for line in lines if line["type"] == "text"]
    steps = [line["part"]["tokens"] for line in lines if line["type"] == "step_finish"]
    return Report(said[-1], [_tokens(step, "input", "output") for step in steps])


def _lines(output: str) -> list[Any]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def _tokens(usage: Mapping[str, int], given: str, written: str) -> tuple[int, int]:
    return usage[given], usage[written]


AGENTS = {
    "claude-code": Agent(
        family="claude-code",
        program="@anthropic-ai/claude-code-*/claude",
        dialect="anthropic",
        words=("-p", "{prompt}", "--model", "{model}", "--output-format", "json", "--allowedTools", "Bash"),
        shell="Bash",
        settings=_claude,
        read=_read_claude,
        arguments={"description": "makes a file"},
        model="claude-sonnet-4-5",  # of one that it does not know it asks in a way that llmock does not know either
    ),
    "codex": Agent(
        family="codex",
        program=".bin/codex",
        dialect="openai",
        words=("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--json", "{prompt}"),
        shell="exec_command",
        settings=_codex,
        read=_read_codex,
        command="cmd",
    ),
    "gemini-cli": Agent(
        family="gemini-cli",
        program=".bin/gemini",
        dialect="gemini",
        words=("-m", "{model}", "-p", "{prompt}", "--output-format", "json", "--approval-mode", "yolo"),
        shell="run_shell_command",
        settings=_gemini,
        read=_read_gemini,
    ),
    "opencode": Agent(
        family="opencode",
        program="opencode-*/bin/opencode",
        dialect="openai",
        words=("run", "--format", "json", "{prompt}"),
        shell="bash",
        settings=_opencode,
        read=_read_opencode,
        more_calls=1,
        arguments={"description": "makes a file"},
    ),
}
