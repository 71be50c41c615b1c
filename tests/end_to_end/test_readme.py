"""The README's examples, run as they are printed but for address and key, which differ from run to run."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.farebox import Dev, environment

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with Dev(tmp_path_factory.mktemp("readme")) as farebox:
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
