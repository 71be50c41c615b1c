"""The files of `farebox dev`: made where they are missing, kept where they stand, so that a second start finds all as it was.

DIR/farebox.toml     the configuration, yours to edit; the commands find it
DIR/effective.toml   written at every start: farebox.toml, and the providers of this run (sim, and those whose API key is
in the environment); the processes of this run read it
DIR/dev.json         where this run listens, with which key (mode 0600)
DIR/secrets/*        admin_token, pepper, demo_api_key (mode 0600)
DIR/farebox.db, DIR/redis/   the stores
"""

import json
import os
import secrets
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.core.errors import ConfigError

_TEMPLATE = """\
# Written by `farebox dev` at its first start and never again: edit it as you like. config.example.toml names every setting.
[server]
listen = {listen}
workers = {workers}
state_dir = {state_dir}

[admin]
listen = {admin_listen}
token = {admin_token}
open_metrics = true                       # Prometheus on this machine scrapes without the token

[keys]
pepper = {pepper}

[redis]
url = "embedded"                          # a Valkey server of our own; "redis://host:6379/0" for another one

[database]
url = {database}

[credits]
per_usd = 1000

[logs]
level = "warning"                         # "info" also tells of every start and stop

# USD per million tokens. The simulated models cost what a small model costs.
{sim_prices}
# Every model that has no price above and none in the shipped book (farebox price list).
[prices."*"]
input = "3.00"
cache_read = "0.30"
output = "15.00"
"""

_SIM_PRICE = """\
[prices."{model}"]
input = "0.40"
cache_read = "0.10"
output = "1.60"
"""


@dataclass(frozen=True)
class DevFiles:
    """The folder of one `farebox dev`."""

    folder: Path

    @property
    def config(self) -> Path:
        """The configuration that a person edits and the commands read."""
        return self.folder / "farebox.toml"

    @property
    def effective(self) -> Path:
        """The configuration of the running processes."""
        return self.folder / "effective.toml"

    def prepare(self, *, listen: str, admin_listen: str, workers: int, sim_models: Iterable[str]) -> None:
        """Makes what is missing. Raises ConfigError where the folder was moved since its first start."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "secrets").mkdir(mode=0o700, exist_ok=True)
        self._secret("admin_token", lambda: secrets.token_urlsafe(24))
        self._secret("pepper", lambda: secrets.token_hex(32))
        if not self.config.exists():
            text = _TEMPLATE.format(
                listen=_quoted(listen),
                workers=workers,
                state_dir=_quoted(str(self.folder)),
                admin_listen=_quoted(admin_listen),
                admin_token=_quoted(f"file:{self.folder}/secrets/admin_token"),
                pepper=_quoted(f"file:{self.folder}/secrets/pepper"),
                database=_quoted(f"sqlite:///{self.folder}/farebox.db"),
                sim_prices="\n".join(_SIM_PRICE.format(model=model) for model in sim_models),
            )
            write_private(self.config, text)
        self._refuse_moved()

    def write_effective(self, providers: Mapping[str, Mapping[str, object]]) -> None:
        """The person's configuration with the providers of this run; one that is configured by hand is left alone."""
        text = self.config.read_text(encoding="utf-8")
        configured = tomllib.loads(text).get("providers", {})
        added = [_provider(name, row) for name, row in providers.items() if name not in configured]
        write_private(self.effective, "\n".join([text, "# The providers of this run.", *added]))

    def write_report(self, report: Mapping[str, str]) -> None:
        """dev.json, for programs that want to call this run."""
        write_private(self.folder / "dev.json", json.dumps(report, indent=2) + "\n")

    def secret(self, name: str) -> str | None:
        """What is kept under this name, if anything."""
        path = self.folder / "secrets" / name
        return path.read_text(encoding="utf-8").strip() if path.exists() else None

    def keep_secret(self, name: str, value: str) -> None:
        """Keeps a secret for the next start."""
        write_private(self.folder / "secrets" / name, value + "\n")

    def _refuse_moved(self) -> None:
        try:
            written = tomllib.loads(self.config.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{self.config} is not valid TOML: {error}") from error
        state = written.get("server", {}).get("state_dir")
        if state is not None and Path(state) != self.folder:
            raise ConfigError(
                f"{self.config} was written for {state}: the folder was moved. Move it back, or change the paths in that file."
            )

    def _secret(self, name: str, make: Callable[[], str]) -> None:
        if self.secret(name) is None:
            self.keep_secret(name, make())


def write_private(path: Path, text: str) -> None:
    """Replaces a file at once (a reader sees the old or the new one), readable by its owner only."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def _provider(name: str, row: Mapping[str, object]) -> str:
    lines = [f"[providers.{name}]", *(f"{key} = {_toml(value)}" for key, value in row.items()), ""]
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return _quoted(str(value)) if isinstance(value, str) else str(value)


def _quoted(value: str) -> str:
    """A TOML basic string; its escapes are those of JSON."""
    return json.dumps(value, ensure_ascii=False)
