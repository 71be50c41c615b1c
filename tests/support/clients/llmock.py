"""llmock (PyPI), a server of simulated providers that we did not write: Cohere's API, and tools that an agent really calls."""

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.support.clients.environments import python_of
from tests.support.farebox import environment
from tests.support.installation import free_port
from tests.support.processes import until


class Llmock:
    """Serves until the block ends; `url` has no path. Skips the test where it cannot be installed."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._log = folder / "llmock.log"

    def __enter__(self) -> Self:
        words = ["serve", "--host", "127.0.0.1", "--port", str(self._port), "--response-style", "varied"]
        program = python_of("llmock").with_name("llmock")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(program), *words, "--log-level", "warning"], stdout=log, stderr=log, env=environment()
            )
        until(self._is_ready, 60)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    def script(self, *behaviours: dict[str, Any]) -> None:
        """What the next calls are answered with, in place of all that was told before."""
        self._admin("DELETE", "scenario")
        self._admin("POST", "scenario", {"behaviors": list(behaviours)})

    def asked(self) -> list[dict[str, Any]]:
        """The requests that it received, oldest first."""
        return list(self._admin("GET", "requests")["requests"])

    def _admin(self, method: str, path: str, members: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/_llmock/{path}",
            method=method,
            data=None if members is None else json.dumps(members).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text(encoding="utf-8")[-2000:]
        try:
            self._admin("GET", "scenario")
        except OSError:
            return False
        return True
