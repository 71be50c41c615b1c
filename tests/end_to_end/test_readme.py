"""The README's examples, run as they are printed but for address and key, which differ from run to run."""

import json
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.farebox import Dev, command, command_json, command_lines, environment
from tests.support.installation import free_port
from tests.support.processes import until

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with Dev(
        tmp_path_factory.mktemp("readme"), "--admin-port", str(free_port())
    ) as farebox:  # farebox reload asks there
        yield farebox.ready()


def run(running: Dev, code: str) -> str:
    origin = running.report["base_url"].removesuffix("/v1")
    assert "http://127.0.0.1:8080" in code
    assert "sk-fb-..." in code
    code = code.replace("http://127.0.0.1:8080", origin).replace("sk-fb-...", running.report["api_key"])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
        cwd=running.folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_openai_example_streams_an_answer(running: Dev) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len(run(running, code).split()) > 3


def test_the_anthropic_client_of_the_readme_gets_an_answer(running: Dev) -> None:
    (client,) = re.findall(r"`(Anthropic\(.*?\))`", README)
    ask = 'messages.create(model="sim", max_tokens=50, messages=[{"role": "user", "content": "Hello"}])'
    code = f"from anthropic import Anthropic\nprint({client}.{ask}.content[0].text)"
    assert len(run(running, code).split()) > 3


COMMANDS = [
    *re.findall(r"^    (farebox .*)$", README, re.MULTILINE),
    *re.findall(r"^\|[^|`]*\| `(farebox (?:topup|grant|refund|adjust|code) .*?)` \|", README, re.MULTILINE),
]
SCRIPTS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def a_call(running: Dev, account: str, key: str) -> str:
    """Makes a call, and returns its id when its record is there."""
    request = urllib.request.Request(
        running.report["base_url"] + "/chat/completions",
        json.dumps({"model": "sim", "messages": [{"role": "user", "content": "Hello"}]}).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        call: str = answer.headers["x-farebox-call-id"]
    until(lambda: any(row["call_id"] == call for row in command_lines(running.folder, "usage", account)))
    return call


def meant(running: Dev, word: str) -> str:
    """What somebody would write for a word in capitals."""
    if word == "KEY_ID":
        return str(command_json(running.folder, "key", "create", "shop")["id"])
    if word == "CALL_ID":
        return a_call(running, "shop", command_json(running.folder, "key", "create", "shop")["key"])
    return word


def test_the_commands_of_the_readme_do_what_they_say(running: Dev) -> None:
    assert len(COMMANDS) > 15
    for line in COMMANDS:
        words = [meant(running, word) for word in shlex.split(line)[1:]]
        agreed = ["--yes"] if words[0] == "adjust" else []  # nobody is there to be asked
        done = command(running.folder, *words, *agreed)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert (running.folder / "shop.csv").read_text(encoding="utf-8").startswith('"call_id",')
    balance = command_json(running.folder, "balance", "shop")
    assert balance["credits"] == "167.5"  # 100 and 50 bought, 20 given, a call returned, 2.5 taken


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_the_requests_of_the_readme_are_answered(running: Dev, number: int) -> None:
    manager = command_json(running.folder, "key", "create", "demo", "--manager")["key"]
    script = SCRIPTS[number].replace("curl ", "curl --fail ")
    for printed, here in (
        ("http://127.0.0.1:9090", running.report["admin_url"]),
        ("http://127.0.0.1:8080", running.report["base_url"].removesuffix("/v1")),
        ("sk-fb-...", running.report["api_key"]),
        ("sk_mg_...", manager),
        ("CALL_ID", a_call(running, "demo", running.report["api_key"])),
    ):
        script = script.replace(printed, here)
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
        cwd=running.folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
