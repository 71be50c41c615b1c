"""claude-code, codex, gemini-cli and opencode through Farebox, without a person and with only base URL and key changed.

The provider behind it is llmock: it says what is scripted, a call of the agent's own shell among it, which the agent really runs.
What the two long tests show the short ones show as well, but for the words of a wrong key; the agents are slow to start.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients.agents import AGENTS, Ended
from tests.support.clients.llmock import Llmock
from tests.support.clients.runs import BAD_KEY
from tests.support.installation import Installation
from tests.support.sdk import PRICE, RATES

MODELS = sorted({agent.model for agent in AGENTS.values()})
ANSWER = "The tide turns twice a day."
PROMPT = "When does the tide turn?"
# After a refusal opencode sometimes waits a minute before it ends.
BRISK = [pytest.param(name, marks=[pytest.mark.soak] if name == "opencode" else []) for name in AGENTS]
PROVIDER = """
[providers.llmock]
dialect = ["openai", "anthropic", "gemini"]
base_url = {{ openai = "{url}/v1", anthropic = "{url}/anthropic", gemini = "{url}/gemini" }}
api_key = "upstream-key"
models = {models}
"""

pytestmark = [pytest.mark.soak, pytest.mark.timeout(400)]  # the first test of an agent installs it


@pytest.fixture(scope="module")
def llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llmock]:
    with Llmock(tmp_path_factory.mktemp("llmock")) as llmock:
        yield llmock


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, llmock: Llmock) -> Iterator[Installation]:
    prices = "".join(PRICE.format(model=model) for model in MODELS)
    extra = PROVIDER.format(url=llmock.url, models=MODELS) + prices
    with Installation(tmp_path_factory.mktemp("agents"), llmock.url, extra=extra) as farebox:
        yield farebox
        farebox.audit()


@pytest.fixture(scope="module")
def poor_key(farebox: Installation) -> str:
    return farebox.account("poor", "0.000001")


def spoken(text: str) -> dict[str, Any]:
    """An answer to a request with tools: titles and the like are asked for without."""
    return {"type": "reply", "text": text, "match": {"tools": True}}


def called(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "reply", "tool_calls": [{"name": tool, "arguments": arguments}], "match": {"tools": True}}


def check_records(farebox: Installation, account: str, name: str, ended: Ended, calls: int) -> None:
    """One record a call; together they have the usage that the agent reports, each with its charge."""
    agent = AGENTS[name]
    records = farebox.usage(account, calls + agent.more_calls)
    for record in records:
        assert (record["outcome"], record["status"], record["settlement_basis"]) == ("completed", 200, "reported")
        assert (record["dialect"], record["model"], record["stream"]) == (agent.dialect, agent.model, True)
        used = {counter: count for counter, count in record["usage"].items() if count}
        assert record["charge_microcredits"] == sum(count * RATES[counter] for counter, count in used.items()) > 0
    reported = agent.read(ended.output).usage
    recorded = [(record["input_tokens"], record["output_tokens"]) for record in records]
    if agent.more_calls:
        assert len(reported) == calls
        assert not Counter(reported) - Counter(recorded)
    else:
        assert reported == [(sum(given for given, _ in recorded), sum(written for _, written in recorded))]


@pytest.mark.soak
@pytest.mark.parametrize("name", AGENTS)
def test_an_answer(farebox: Installation, llmock: Llmock, tmp_path: Path, name: str) -> None:
    agent = AGENTS[name]
    key = farebox.account(f"{name}-answer", "1000")
    llmock.script(spoken(ANSWER))
    ended = agent.run(tmp_path / "home", farebox.url, key, PROMPT)
    assert ended.code == 0, ended.output
    assert agent.read(ended.output).text == ANSWER
    check_records(farebox, f"{name}-answer", name, ended, calls=1)


@pytest.mark.parametrize("name", AGENTS)
def test_a_tool_that_the_model_calls_is_run(farebox: Installation, llmock: Llmock, tmp_path: Path, name: str) -> None:
    agent = AGENTS[name]
    key = farebox.account(f"{name}-tool", "1000")
    made = tmp_path / "made-by-the-agent"
    llmock.script(called(agent.shell, {agent.command: f"echo ahoy > {made}", **agent.arguments}), spoken(ANSWER))
    ended = agent.run(tmp_path / "home", farebox.url, key, PROMPT)
    assert ended.code == 0, ended.output
    assert agent.read(ended.output).text == ANSWER
    assert made.read_text(encoding="utf-8") == "ahoy\n"
    check_records(farebox, f"{name}-tool", name, ended, calls=2)


@pytest.mark.soak
@pytest.mark.parametrize("name", AGENTS)
def test_a_wrong_key(farebox: Installation, llmock: Llmock, tmp_path: Path, name: str) -> None:
    ended = AGENTS[name].run(tmp_path / "home", farebox.url, BAD_KEY, PROMPT)
    assert "401" in ended.output or "Invalid API key" in ended.output
    assert ANSWER not in ended.output


@pytest.mark.parametrize("name", BRISK)
def test_too_few_credits(farebox: Installation, llmock: Llmock, tmp_path: Path, poor_key: str, name: str) -> None:
    llmock.script(spoken(ANSWER))
    ended = AGENTS[name].run(tmp_path / "home", farebox.url, poor_key, PROMPT)
    assert "402" in ended.output or "credits" in ended.output
    assert ANSWER not in ended.output
    assert farebox.lines("usage", "poor") == []
