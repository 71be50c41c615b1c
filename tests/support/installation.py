"""A whole installation for tests: the real `farebox serve` on free ports, with a Redis and a SQLite of its own."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.support import command_line
from tests.support.mock_provider import PROVIDER_KEY, MockProvider
from tests.support.processes import until

ADMIN_TOKEN = "admin-token-canary-77aa"
PEPPER = "pepper-canary-0123456789abcdef0123456789"
MODEL = "test-model"
# USD per million tokens; at 1000 credits a dollar one input token is 1,000 microcredits and one output token 2,000.
INPUT_MICROCREDITS, OUTPUT_MICROCREDITS = 1000, 2000

_CONFIG = """
[server]
listen = "127.0.0.1:{port}"
workers = {workers}
state_dir = "{state}"
{server}
[admin]
listen = "127.0.0.1:{admin_port}"
token = "{token}"
[keys]
pepper = "{pepper}"
[redis]
url = "{redis}"
partitions = 4
[database]
url = "sqlite:///{state}/farebox.db"
[credits]
{credits}
[recorder]
poll_ms = 20
{recorder}
[upstream]
{upstream}
[providers.local]
dialect = ["openai", "anthropic"]
base_url = {{ openai = "{provider}/v1", anthropic = "{provider}" }}
api_key = "{provider_key}"
models = ["{model}", "unpriced-model"]
[prices."{model}"]
input = "1.00"
output = "2.00"
{extra}
"""


class Installation:
    """`url` is its data listener, `admin_url` the operators'. Use it as a context manager."""

    def __init__(
        self,
        directory: Path,
        provider: MockProvider | str,
        *,
        workers: int = 1,
        redis: str = "embedded",
        **sections: str,
    ) -> None:
        """`sections` adds lines to server, credits, recorder, upstream, or `extra` at the end."""
        self.directory = directory
        self.port, self.admin_port = free_port(), free_port()
        self.url, self.admin_url = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.admin_port}"
        self.config = directory / "farebox.toml"
        self.log = directory / "farebox.log"
        lines = {name: sections.get(name, "") for name in ("server", "credits", "recorder", "upstream", "extra")}
        self.config.write_text(
            _CONFIG.format(
                port=self.port,
                admin_port=self.admin_port,
                workers=workers,
                state=directory / "state",
                token=ADMIN_TOKEN,
                pepper=PEPPER,
                redis=redis,
                provider=provider if isinstance(provider, str) else provider.url,
                provider_key=PROVIDER_KEY,
                model=MODEL,
                **lines,
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "proxy", "serve", "--config", str(self.config), "--allow-embedded"],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        until(self._is_ready, 40)

    def stop(self, *, timeout_s: float = 60) -> int:
        """Stops it by SIGTERM and returns the exit code."""
        process = self._process
        if process is None:
            return 0
        self._process = None
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout_s)

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self._process is not None
        return self._process.pid

    def pids(self, role: str) -> list[int]:
        """The processes of one role: worker, recorder, reaper, operator; or `redis`."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            text = b" ".join(words).decode("utf-8", "replace")
            is_redis = "valkey-server" in text or "redis-server" in text
            if (role == "redis" and is_redis and str(self.directory) in text) or (
                f"role {role} {self.config}" in text and "lifeline" not in text
            ):
                found.append(int(entry.name))
        return found

    def command(self, *words: str, code: int | None = 0, timeout_s: float = 60) -> Any:
        """Runs `farebox WORDS --json` and returns what it printed: one value, or a list for several lines."""
        values = self.lines(*words, code=code, timeout_s=timeout_s)
        return values[0] if len(values) == 1 else values

    def lines(self, *words: str, code: int | None = 0, timeout_s: float = 60) -> list[Any]:
        """Runs `farebox WORDS --json` and returns what it printed, a value a line."""
        said = command_line.farebox([*words, "--json", "--config", str(self.config)], timeout_s)
        assert code is None or said.returncode == code, said
        return [json.loads(line) for line in said.stdout.splitlines() if line.strip()]

    def account(self, name: str, credits_: str) -> str:
        """A new account with credits and a key; returns the key."""
        self.command("account", "create", name, "--credits", credits_)
        return str(self.command("key", "create", name)["key"])

    def usage(
        self, name: str, count: int | None = None, limit: int = 1000, timeout_s: float = 20
    ) -> list[dict[str, Any]]:
        """The account's usage records, newest first; waits until there are `count` of them."""
        deadline = time.monotonic() + timeout_s
        while True:
            rows = self.command("usage", name, "--limit", str(limit))
            rows = rows if isinstance(rows, list) else [rows]
            if count is None or len(rows) >= count or time.monotonic() > deadline:
                assert count is None or len(rows) == count, f"{len(rows)} records instead of {count}"
                return rows
            time.sleep(0.1)

    def balance(self, name: str) -> dict[str, Any]:
        """`farebox balance NAME --json`."""
        return dict(self.command("balance", name))

    def audit(self) -> Any:
        """`farebox audit --json`, which fails the test where the books do not agree."""
        return self.command("audit")

    def metrics(self) -> str:
        """The exposition, as Prometheus scrapes it."""
        request = urllib.request.Request(
            f"{self.admin_url}/metrics", headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def charge_of(usage: tuple[int, int]) -> int:
    """What a call of the test model costs, in microcredits."""
    return usage[0] * INPUT_MICROCREDITS + usage[1] * OUTPUT_MICROCREDITS
