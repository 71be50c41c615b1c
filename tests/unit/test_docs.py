"""The pages tell the truth: every file, command, option, metric, setting and variable that they name exists."""

import ast
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from proxy.cli.root import farebox
from proxy.config import Config, parse_config
from proxy.core import records
from proxy.metrics import Metrics
from proxy.providers.registry import known_providers

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "DECISIONS.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/metering.md",
    "bench/README.md",
)
README = (ROOT / "README.md").read_text(encoding="utf-8")

SPAN = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    (\S.*)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*(?:/|\.(?:py|lua|sql|md|toml|lock|ya?ml|service|json|db))")
VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
MADE_WHILE_RUNNING = ("farebox-data/", "farebox.toml")


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def bare(link: str) -> str:
    """A link without the section that it leads to."""
    return link.partition("#")[0]


def spans(text: str) -> Iterator[str]:
    """What stands in backticks within a line."""
    yield from SPAN.findall(FENCE.sub("", text))


def block(language: str) -> str:
    """The one block of this language in the README."""
    found = [body for name, body in FENCE.findall(README) if name == language]
    assert len(found) == 1, f"{len(found)} blocks of {language}"
    return found[0]


def sections() -> dict[str, set[str]]:
    """Every setting of the configuration that is not of a provider or a price, by section."""
    return {
        field.name: {setting.encode_name for setting in msgspec.structs.fields(field.type)}
        for field in msgspec.structs.fields(Config)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
    }


def metric_names() -> set[str]:
    """Those that processes count, and those that the operators' listener reads."""
    literals = {
        node.value
        for path in (ROOT / "proxy" / "admin").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {metric.name for metric in Metrics()} | {name for name in literals if name.startswith("farebox_")}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file(name: str) -> None:
    folder = (ROOT / name).parent
    wrong = [link for link in LINK.findall(page(name)) if "://" not in link and not (folder / bare(link)).exists()]
    assert not wrong


@pytest.mark.parametrize("name", PAGES)
def test_every_file_that_is_named_exists(name: str) -> None:
    named = [span for span in spans(page(name)) if FILE.fullmatch(span) and not span.startswith(MADE_WHILE_RUNNING)]
    folder = (ROOT / name).parent
    wrong = [span for span in named if not (ROOT / span).exists() and not (folder / span).exists()]
    assert not wrong


@pytest.mark.parametrize("name", PAGES)
def test_every_command_exists_with_its_options(name: str) -> None:
    lines = [*spans(page(name)), *INDENTED.findall(page(name))]
    wrong = [line for line in lines if line.startswith("farebox ") and not is_command(shlex.split(line)[1:])]
    assert not wrong


def is_command(words: list[str]) -> bool:
    """Whether the words are a command (and a subcommand) whose options exist; placeholders are in capitals."""
    command: click.Command | None = farebox
    context = click.Context(farebox)
    while words and isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
    if command is None:
        return False
    options = {option for parameter in command.params for option in parameter.opts}
    return all(word in options for word in words if word.startswith("--"))


@pytest.mark.parametrize(
    ("line", "good"),
    [("audit --json", True), ("key create A --name N", True), ("key make A", False), ("audit --all", False)],
)
def test_the_rule_for_commands_itself(line: str, *, good: bool) -> None:
    assert is_command(line.split()) is good


@pytest.mark.parametrize("name", PAGES)
def test_every_make_target_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
    lines = [*spans(page(name)), *INDENTED.findall(page(name))]
    named = {line.split()[1] for line in lines if line.startswith("make ")}
    assert named <= targets


@pytest.mark.parametrize("name", PAGES)
def test_every_metric_exists(name: str) -> None:
    named = set(re.findall(r"`(farebox_[a-z_]+)`", page(name)))
    assert named <= metric_names()


@pytest.mark.parametrize("name", PAGES)
def test_every_setting_exists(name: str) -> None:
    known = sections()
    wrong = []
    for span in spans(page(name)):
        match = re.fullmatch(r"([a-z]+)\.([a-z_]+)(?: = .+)?", span)
        if match and match[1] in known and not FILE.fullmatch(span) and match[2] not in known[match[1]]:
            wrong.append(span)
    assert not wrong


@pytest.mark.parametrize("name", PAGES)
def test_every_environment_variable_is_read_somewhere(name: str) -> None:
    files = "tests/[!.]*/**/*.py" if name in {"CONTRIBUTING.md", "bench/README.md"} else "proxy/**/*.py"
    sources = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob(files))
    known = sources + page("config.example.toml") + " ".join(f"{row.upper()}_API_KEY" for row in known_providers())
    named = [span for span in spans(page(name)) if VARIABLE.fullmatch(span) and span != "IDEMPOTENCY_KEY"]
    wrong = [variable for variable in named if variable not in known]
    assert not wrong


def test_the_configuration_in_the_readme_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    text = block("toml")
    for variable in re.findall(r"env:(\w+)", text):
        monkeypatch.setenv(variable, "a secret of sixteen bytes")
    config = parse_config(text, known_providers=known_providers())
    prices = config.price_book()
    served = [(name, model) for name, provider in config.providers.items() for model in provider.models]
    assert all(prices.find(name, model, time.time_ns() // 1_000_000) for name, model in served)


def test_the_example_in_the_readme_is_python() -> None:
    """tests/end_to_end/test_readme.py runs it."""
    assert isinstance(ast.parse(block("python")), ast.Module)


def test_the_readme_names_every_outcome_and_basis() -> None:
    outcomes = {
        records.COMPLETED, records.CLIENT_LEFT, records.UPSTREAM_FAILED, records.TIMED_OUT, records.CUT, records.ABANDONED,
    }  # fmt: skip
    bases = {records.REPORTED, records.COUNTED, records.CHECKPOINT, records.HOLD, records.NONE}
    assert outcomes | bases <= set(spans(README))


def test_the_readme_has_every_promise() -> None:
    assert re.findall(r"^\| P(\d+) \|", README, re.MULTILINE) == [str(number) for number in range(1, 14)]


def test_the_architecture_names_every_package() -> None:
    text = page("ARCHITECTURE.md")
    packages = [path.parent.name for path in (ROOT / "proxy").glob("*/__init__.py")]
    assert not [name for name in packages if f"proxy/{name}/" not in text]


def test_decisions_are_numbered_and_whole() -> None:
    head, *entries = re.split(r"^## ", page("DECISIONS.md"), flags=re.MULTILINE)
    assert head.startswith("# Decisions")
    for number, entry in enumerate(entries, 1):
        assert entry.startswith(f"{number}. "), entry.splitlines()[0]
        assert re.findall(r"^(Context|Decision|Consequence):", entry, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequence",
        ], entry.splitlines()[0]


@pytest.mark.parametrize(("name", "lines"), [("README.md", 400), ("ARCHITECTURE.md", 120)])
def test_pages_stay_short(name: str, lines: int) -> None:
    assert len(page(name).splitlines()) <= lines
